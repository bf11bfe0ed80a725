//! Deliveries: the messages from objects to connections, and the only way out.
//!
//! Plain data. Each sink gets an object's deliveries in one order.

use std::sync::{Arc, OnceLock};

use dormouse_protocol::{
    Encoding, ErrorCode, Key, Payload, ServerMessage, SignalItem, Signals, encode_events,
};

use super::encoded::Encoded;
use super::input::{Range, Verb};
use super::presence::{PresenceFrames, RosterFrames};
use crate::limits::Permit;
use crate::log::{Entry, HistoryRange, ObjectId, Page};
use crate::session::SessionId;

/// The owner of connections. Deliveries from one thread arrive in order.
pub trait Sink: Send + Sync {
    /// Takes a delivery without waiting. The caller holds the object's lock, so the sink must not post an input. A full
    /// sink must keep [`EventFrames::last`] and read the events from the log.
    fn deliver(&self, delivery: Delivery);
}

/// A message from an object to the connections of one sink.
#[derive(Debug)]
pub enum Delivery {
    /// The answer to an input. The answer to a join comes exactly before the first event after its head.
    Answer(Answered),
    /// The result of one append: the answers for this sink's connections, then the events for its members. One delivery, so
    /// a publisher's acknowledgement and its own event leave in one write.
    Commit {
        /// The answers, in the order of the inputs.
        answers: Vec<Answered>,
        /// The events.
        events: Arc<EventFrames>,
    },
    /// A signal, for the object's members on this sink.
    Signal(Arc<SignalFrames>),
    /// Changes of the object's roster, for the watching members on this sink.
    Presence(Arc<PresenceFrames>),
    /// A roster for one member: the answer to its request, or the start of its watch. It comes exactly before each
    /// [`Delivery::Presence`] that follows its version.
    Roster {
        /// The connection and the request.
        to: Address,
        /// The roster.
        roster: Arc<RosterFrames>,
    },
    /// The result of a read of the log.
    Read(ReadReply),
}

/// The answer to an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The connection and the request.
    pub to: Address,
    /// The verb of the input.
    pub verb: Verb,
    /// Bytes that the request has held until now.
    pub held: u32,
    /// The answer.
    pub answer: Answer,
}

/// A connection and one of its requests. A connection's key may be used again, its generation is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    /// The connection's key in its sink.
    pub connection: u32,
    /// Distinguishes connections that used the same key.
    pub generation: u32,
    /// The request.
    pub request: u32,
}

/// How an input ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The connection is a member.
    Joined {
        /// The member's number.
        member: u64,
        /// The newest event on disk. Every later one is delivered after this.
        head: u64,
    },
    /// The event is on disk.
    Published {
        /// The event's offset.
        offset: u64,
        /// When it was stored, in milliseconds since the Unix epoch.
        time: u64,
        /// It was stored by an earlier publish with the same key.
        duplicate: bool,
    },
    /// The object carried it out.
    Done,
    /// It was refused; nothing changed.
    Refused(Refusal),
}

/// Why an input was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code that clients get.
    pub code: ErrorCode,
    /// The problem, and what the client can do.
    pub message: Box<str>,
}

impl Refusal {
    /// A refusal with a code and a text for the client.
    pub fn new(code: ErrorCode, message: impl Into<Box<str>>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Events read from an object's log, or the refusal.
#[derive(Debug)]
pub struct ReadReply {
    /// The connection and the request.
    pub to: Address,
    /// The tag of the read.
    pub tag: u32,
    /// The range that was to be read.
    pub range: Range,
    /// The object.
    pub object: ObjectId,
    /// The incarnation of its log.
    pub epoch: u32,
    /// The events.
    pub outcome: Result<EventsRead, Refusal>,
    /// For [`Read::bytes`](super::input::Read::bytes) of memory, unless nothing was read.
    pub permit: Option<Permit>,
}

/// Events that were read, by the range that was asked for.
#[derive(Debug)]
pub enum EventsRead {
    /// Of a [`Range::After`].
    Page(Page),
    /// Of a [`Range::Between`].
    Range(HistoryRange),
}

/// The events of one append, encoded once for all members in each encoding that any of them speaks.
#[derive(Debug)]
pub struct EventFrames {
    /// The object of the events.
    pub object: ObjectId,
    /// The first event's offset.
    pub first: u64,
    /// The last event's offset.
    pub last: u64,
    entries: Vec<Entry>,
    /// For the entries and their encodings.
    _permit: Option<Permit>,
    /// By encoding.
    encoded: [OnceLock<Encoded>; 2],
}

impl EventFrames {
    /// The events of an object, the last of them at the offset `last`.
    pub(super) fn new(
        object: ObjectId,
        last: u64,
        entries: Vec<Entry>,
        permit: Option<Permit>,
    ) -> Self {
        let first = last + 1 - entries.len() as u64;
        Self { object, first, last, entries, _permit: permit, encoded: Default::default() }
    }

    /// The `events` message in an encoding, which is encoded at the first call.
    pub fn encoded(&self, encoding: Encoding) -> &Encoded {
        self.encoded[encoding as usize].get_or_init(|| {
            let message = encode_events(encoding, self.object.0, &self.entries);
            message.expect("events were encoded from checked parts").into()
        })
    }

    /// Bytes of the events as they are stored.
    pub fn size(&self) -> usize {
        self.entries.iter().map(|entry| entry.wire().len()).sum()
    }
}

/// A signal, encoded once for all members in each encoding that any of them speaks.
#[derive(Debug)]
pub struct SignalFrames {
    /// The object whose members get it.
    pub object: ObjectId,
    /// The session that sends.
    pub sender: SessionId,
    /// A slow member may get only the latest signal of each sender and key.
    pub key: Option<Key>,
    message: ServerMessage,
    size: usize,
    /// For the message and what is encoded of it.
    _permit: Permit,
    /// By encoding.
    encoded: [OnceLock<Encoded>; 2],
}

impl SignalFrames {
    pub(super) fn new(
        object: ObjectId,
        sender: SessionId,
        data: Payload,
        key: Option<Key>,
        permit: Permit,
    ) -> Self {
        let size = data.as_msgpack().len();
        let item = SignalItem { sender: (&*sender).into(), data, key: key.clone() };
        let message = ServerMessage::Signals(Signals { object: object.0, signals: vec![item] });
        Self { object, sender, key, message, size, _permit: permit, encoded: Default::default() }
    }

    /// The `signals` message in an encoding, which is encoded at the first call.
    pub fn encoded(&self, encoding: Encoding) -> &Encoded {
        self.encoded[encoding as usize].get_or_init(|| encoding.encode_server(&self.message).into())
    }

    /// Bytes of its content.
    pub fn size(&self) -> usize {
        self.size
    }
}
