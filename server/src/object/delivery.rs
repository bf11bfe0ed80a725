//! What objects have to say: the only way out.
//!
//! Deliveries are plain data, and go through a [`Sink`] in one order for each object and sink.

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

/// The owner of connections, as objects see it. Deliveries from one thread arrive in order.
pub trait Sink: Send + Sync {
    /// Takes a delivery without waiting; is called while the object is locked, so it must not post an input. A sink that has
    /// no room for events must remember [`EventFrames::last`], and read the events from the log.
    fn deliver(&self, delivery: Delivery);
}

/// What an object has to say to the connections of one sink.
#[derive(Debug)]
pub enum Delivery {
    /// The answer to an input. That to a join stands exactly before the first event after its head.
    Answer(Answered),
    /// What one append brought: first its answers for connections of this sink, then its events for the object's members on
    /// it. In one piece, so that a publisher's acknowledgement and its own event leave in one write.
    Commit {
        /// The answers, in the order of the inputs.
        answers: Vec<Answered>,
        /// The events.
        events: Arc<EventFrames>,
    },
    /// A signal, for the object's members on this sink.
    Signal(Arc<SignalFrames>),
    /// What has changed in the object's roster, for the members on this sink that watch.
    Presence(Arc<PresenceFrames>),
    /// A roster, for one member: the answer to its request, or what it gets first because it watches from now on. It stands
    /// exactly before those [`Delivery::Presence`] that follow on from its version.
    Roster {
        /// The connection and the request.
        to: Address,
        /// The roster.
        roster: Arc<RosterFrames>,
    },
    /// What was read from the log.
    Read(ReadReply),
}

/// The answer to an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The connection and the request.
    pub to: Address,
    /// What was asked for.
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
    /// Which connection it was under that key.
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
    /// It is done.
    Done,
    /// It was refused; nothing changed.
    Refused(Refusal),
}

/// Why an input was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code that clients get.
    pub code: ErrorCode,
    /// What is wrong, and what to do.
    pub message: Box<str>,
}

impl Refusal {
    /// A refusal with a code and a text for the client.
    pub fn new(code: ErrorCode, message: impl Into<Box<str>>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What was read from an object's log, or why it could not be.
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
    /// For the entries and what is encoded of them.
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
    /// Of several with the same sender and key, a slow member may get only the latest.
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
