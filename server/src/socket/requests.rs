//! What a client asks for, from its bytes to the part that does it.

use dormouse_protocol::{ClientMessage, ErrorCode};

use super::reactor::Reactor;

impl Reactor {
    /// A whole message has arrived.
    pub(super) fn request(&mut self, key: usize, bytes: &[u8]) {
        self.common.metrics.messages_in.inc();
        let (memberships, connections) = (&mut self.memberships, &mut self.connections);
        let encoding = connections[key].format.encoding;
        if !connections.admit_message(key, bytes.len(), || encoding.request_id(bytes)) {
            return;
        }
        let message = match encoding.decode_client(bytes) {
            Ok(message) => message,
            Err(error) => {
                let id = encoding.request_id(bytes);
                return connections.refuse(key, id, ErrorCode::BadRequest, &error.to_string());
            }
        };
        match message {
            ClientMessage::Signal(signal) => memberships.signal(connections, key, signal),
            ClientMessage::Auth(auth) => self.authenticate(key, &auth),
            ClientMessage::Ping(ping) => connections.done(key, ping.id),
            ClientMessage::Leave(leave) => memberships.leave_request(connections, key, &leave),
            ClientMessage::Join(join) => memberships.join(connections, key, join),
            ClientMessage::History(history) => memberships.history(connections, key, &history),
            ClientMessage::PresenceSet(set) => memberships.set_presence(connections, key, set),
            ClientMessage::PresenceGet(get) => memberships.read_roster(connections, key, &get),
            ClientMessage::Publish(publish) => {
                memberships.publish(connections, key, publish, bytes.len());
            }
        }
    }
}
