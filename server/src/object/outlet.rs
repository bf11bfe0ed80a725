//! The way out of an object: to the reactors that have members, and to the one that asked.

use std::fmt;
use std::sync::{Arc, OnceLock};

use dormouse_protocol::{Encoding, ErrorCode, encode_events};

use super::encoded::Encoded;
use super::presence::{PresenceFrames, RosterFrames};
use crate::limits::Permit;
use crate::log::{Entry, ObjectId};

/// A reactor as objects see it. Deliveries from one thread arrive in order.
pub trait Outlet: Send + Sync {
    /// Takes a delivery without waiting. Where events can't be taken, the outlet must learn from
    /// [`super::Handle::head`] that there are some, and read them from the log.
    fn deliver(&self, delivery: Delivery);
}

/// What an object has to say to one reactor.
#[derive(Debug)]
pub enum Delivery {
    /// The answer to a request.
    Answer(Answered),
    /// What one append brought: first its answers for connections of this reactor, then its events for the object's members on
    /// it. In one piece, so that a publisher's acknowledgement and its own event leave in one write.
    Commit {
        /// The answers, in the order of the requests.
        answers: Vec<Answered>,
        /// The events.
        events: Arc<EventFrames>,
    },
    /// What has changed in the object's roster, for the members on this reactor that watch.
    Presence(Arc<PresenceFrames>),
    /// A roster, for one member: the reply to its request, or what it gets first because it watches from now on. It stands
    /// before exactly those [`Delivery::Presence`] that follow on from its version.
    Roster {
        /// Who gets it.
        to: Address,
        /// The roster.
        roster: Arc<RosterFrames>,
    },
}

/// An answer on its way.
#[derive(Debug)]
pub struct Answered {
    /// Who asked.
    pub to: Address,
    /// Bytes that the request has held until now.
    pub held: u32,
    /// The answer.
    pub answer: Answer,
}

/// The events of one append, encoded once for all members in each encoding that any of them speaks.
#[derive(Debug)]
pub struct EventFrames {
    /// Whose events.
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
        let encoded = Default::default();
        Self { object, first, last, entries, _permit: permit, encoded }
    }

    /// The `events` message in an encoding. Whoever asks first encodes it.
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

/// Where an answer goes. A connection's key may be used again, its generation is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The connection's place in its reactor.
    pub connection: u32,
    /// Which connection it was in that place.
    pub generation: u32,
    /// The request.
    pub request: u32,
}

/// How a publish ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The event is on disk.
    Published {
        /// Where.
        offset: u64,
        /// Since when, in milliseconds since the Unix epoch.
        time: u64,
        /// Since an earlier publish with the same key.
        duplicate: bool,
    },
    /// It was refused; nothing changed.
    Refused(ErrorCode, Box<str>),
}

/// The duty to answer one request: exactly one answer is given, if need be by dropping it.
pub struct ReplyTo {
    outlet: Option<Arc<dyn Outlet>>,
    address: Address,
    held: u32,
}

impl ReplyTo {
    /// The duty to answer the request at `address`, which holds so many bytes, through `outlet`.
    pub fn new(outlet: Arc<dyn Outlet>, address: Address, held: u32) -> Self {
        Self { outlet: Some(outlet), address, held }
    }

    /// Answers.
    pub fn send(mut self, answer: Answer) {
        self.deliver(answer);
    }

    /// Answers with a refusal.
    pub fn refuse(self, code: ErrorCode, why: &str) {
        self.send(Answer::Refused(code, why.into()));
    }

    /// Whether the answer goes through this outlet.
    pub(super) fn goes_through(&self, outlet: &Arc<dyn Outlet>) -> bool {
        self.outlet.as_ref().is_some_and(|own| Arc::ptr_eq(own, outlet))
    }

    /// Gives the duty to whoever delivers what is returned.
    pub(super) fn hand_over(mut self, answer: Answer) -> Answered {
        self.outlet = None;
        self.answered(answer)
    }

    fn answered(&self, answer: Answer) -> Answered {
        Answered { to: self.address, held: self.held, answer }
    }

    fn deliver(&mut self, answer: Answer) {
        if let Some(outlet) = self.outlet.take() {
            outlet.deliver(Delivery::Answer(self.answered(answer)));
        }
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        let message = "the object failed before it could answer; try again with the same key";
        self.deliver(Answer::Refused(ErrorCode::Internal, message.into()));
    }
}

impl fmt::Debug for ReplyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReplyTo").field(&self.address).finish()
    }
}
