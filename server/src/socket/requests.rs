//! What a client asks for, from its bytes to the part that does it.

use std::time::Duration;

use dormouse_protocol::{ClientMessage, Done, ErrorCode, ErrorReply, Publish, ServerMessage};

use super::activity::Stalled;
use super::admit::Demand;
use super::reactor::Reactor;
use crate::log::ObjectId;
use crate::object::input::{self, Action};
use crate::object::{Busy, Input, Refusal, Source};

/// How long an input waits for room in its object's mailbox.
const STALL: Duration = Duration::from_secs(5);

impl Reactor {
    /// A whole message has arrived.
    pub(super) fn request(&mut self, key: usize, bytes: &[u8]) {
        self.common.metrics.messages_in.inc();
        let connection = &mut self.connections[key];
        let encoding = connection.format.encoding;
        let message = match encoding.decode_client(bytes) {
            Ok(message) => message,
            Err(error) => {
                let id = encoding.request_id(bytes);
                return self.refuse(key, id, ErrorCode::BadRequest, &error.to_string());
            }
        };
        match message {
            ClientMessage::Signal(signal) => self.signal(key, signal),
            ClientMessage::Ping(ping) => self.done(key, ping.id),
            ClientMessage::Leave(leave) => self.leave_request(key, &leave),
            ClientMessage::Join(join) => self.join(key, join),
            ClientMessage::History(history) => self.history(key, &history),
            ClientMessage::PresenceSet(set) => self.set_presence(key, set),
            ClientMessage::PresenceGet(get) => self.read_roster(key, &get),
            ClientMessage::Publish(publish) => self.publish(key, publish, bytes.len()),
        }
    }

    fn publish(&mut self, key: usize, publish: Publish, size: usize) {
        let Some(joined) = self.member(key, publish.object, Some(publish.id)) else { return };
        if !self.admit(key, Some(publish.id), &Demand::Publish) {
            return;
        }
        let connection = &mut self.connections[key];
        let work = connection.activity.begin();
        work.in_flight += 1;
        work.in_flight_bytes += size;
        let action = Action::Publish(input::Publish {
            sender: connection.session,
            kind: publish.kind,
            data: publish.data,
            key: publish.key,
            after: publish.after,
            held: size as u32,
        });
        self.post(key, publish.id, joined.object, action);
    }

    /// Posts an input to an object, and lets the connection wait where the object has no room for it: to refuse the input
    /// and take the next one would change the client's order.
    pub(super) fn post(&mut self, key: usize, request: u32, object: ObjectId, action: Action) {
        let address = self.connections[key].address(key, request);
        let input = Input { source: Source { sink: self.index, address }, action };
        let Some(&subscribers) = self.subscribers_of.get(&object) else { return };
        if let Err(Busy(input)) = self.subscribers[subscribers as usize].handle.post(input) {
            let until = self.wheel.after(STALL);
            let stalled = Stalled { input, object, until };
            self.connections[key].activity.begin().stalled = Some(Box::new(stalled));
            self.stalled.push(address);
            self.common.metrics.stalls.inc();
        }
    }

    /// Tries again to post an input that found no room. True when the connection can go on.
    pub(super) fn retry_stalled(&mut self, key: usize) -> bool {
        let connection = &mut self.connections[key];
        let Some(stalled) = connection.activity.go_on().and_then(|work| work.stalled.take()) else {
            return true;
        };
        let Stalled { input, object, until } = *stalled;
        let posted = match self.subscribers_of.get(&object) {
            Some(&subscribers) => self.subscribers[subscribers as usize].handle.post(input),
            None => Err(Busy(input)),
        };
        match posted {
            Ok(()) => true,
            Err(Busy(input)) if self.wheel.now() < until => {
                let stalled = Stalled { input, object, until };
                self.connections[key].activity.begin().stalled = Some(Box::new(stalled));
                false
            }
            Err(Busy(input)) => {
                let why = "the object has more to do than it can; try again later";
                self.answer(input.refused(Refusal::new(ErrorCode::Overloaded, why)));
                true
            }
        }
    }

    pub(super) fn retry_all_stalled(&mut self) {
        for address in std::mem::take(&mut self.stalled) {
            let Some(key) = self.find(address) else { continue };
            if self.retry_stalled(key) {
                self.go_on(key);
            } else {
                self.stalled.push(address);
            }
        }
    }

    /// The request that read the log or a roster has its reply.
    pub(super) fn finish_reading(&mut self, key: usize) {
        self.connections[key].activity.begin().reading_log = false;
        self.finish_request(key);
        self.go_on(key);
    }

    /// A request has its reply.
    pub(super) fn finish_request(&mut self, key: usize) {
        let work = self.connections[key].activity.begin();
        work.in_flight -= 1;
        if let Some(code) = self.draining
            && work.in_flight == 0
        {
            self.close(key, code);
        }
    }

    /// Replies to a request that has no result.
    pub(super) fn done(&mut self, key: usize, id: u32) {
        self.connections[key].queue(&ServerMessage::Done(Done { id }));
        self.queue_write(key);
    }

    /// Refuses a request.
    pub(super) fn refuse(&mut self, key: usize, id: Option<u32>, code: ErrorCode, why: &str) {
        self.common.metrics.count_error(code);
        let message = ServerMessage::Error(ErrorReply { id, code, message: why.into() });
        self.connections[key].queue(&message);
        self.queue_write(key);
    }
}
