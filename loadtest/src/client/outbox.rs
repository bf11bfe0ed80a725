//! A publish that is not acknowledged yet.

use dormouse_protocol::{ClientMessage, Key, Kind, Payload, Publish};

use super::Object;

pub(super) struct Outgoing {
    pub(super) object: Object,
    pub(super) kind: Kind,
    pub(super) data: Payload,
    pub(super) key: Key,
    /// The request on the present connection.
    pub(super) id: Option<u32>,
    /// How often it was sent.
    pub(super) sent: u32,
}

impl Outgoing {
    /// The request, which counts as sent. `number` is the object's.
    pub(super) fn publish(&mut self, id: u32, number: u64) -> ClientMessage {
        self.id = Some(id);
        self.sent += 1;
        ClientMessage::Publish(Publish {
            id,
            object: number,
            kind: self.kind.clone(),
            data: self.data.clone(),
            key: Some(self.key.clone()),
            after: None,
        })
    }
}
