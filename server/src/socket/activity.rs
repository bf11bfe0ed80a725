//! What is under way on a connection. At rest that is nothing, and takes no memory.

use std::ops::Deref;

use bytes::Bytes;
use dormouse_protocol::Key;

use super::decoder::Decoder;
use super::outbox::Outbox;
use super::wheel::Tick;
use crate::limits::{Budget, Held, Purpose};
use crate::log::ObjectId;
use crate::object::Input;
use crate::session::SessionId;

/// The work of one connection: read as if it were always there, and allocated only where something begins.
#[derive(Default)]
pub(super) struct Activity(Option<Box<ActiveState>>);

/// What a connection that is not at rest has besides its socket.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own about the socket or the requests"
)]
#[derive(Default)]
pub(super) struct ActiveState {
    /// A message of which only a part has arrived.
    pub(super) decoder: Decoder,
    /// When that began, or its connection last had to wait.
    pub(super) message_begun: Tick,
    /// Bytes that were read and not looked at, because the connection is paused.
    pub(super) unread: Unread,
    pub(super) outbox: Outbox,
    /// Requests that wait for their reply.
    pub(super) in_flight: u32,
    /// Bytes that those hold.
    pub(super) in_flight_bytes: usize,
    /// One of those reads the log (a join, a page of history) or a roster: what the client sends behind it waits in its socket.
    pub(super) reading_log: bool,
    /// A page of catch-up is being read for this connection.
    pub(super) reading_page: bool,
    /// It watches who is here in some object and has missed a change.
    pub(super) missed_presence: bool,
    /// The socket took less than it was given; it will tell when it takes more.
    pub(super) blocked: bool,
    /// When the socket last took something, or was first full.
    pub(super) progress: Tick,
    /// An input that its object had no room for.
    pub(super) stalled: Option<Box<Stalled>>,
    /// Signals kept while the socket takes nothing, the newest for each sender and key.
    pub(super) signals: Vec<KeptSignal>,
    /// It waits for memory, and is in the line for that.
    pub(super) starved: bool,
    /// For what waits for the socket and is nobody else's.
    held: Held,
}

static NOTHING: ActiveState = ActiveState {
    decoder: Decoder::NEW,
    message_begun: 0,
    unread: Unread::NEW,
    outbox: Outbox::NEW,
    in_flight: 0,
    in_flight_bytes: 0,
    reading_log: false,
    reading_page: false,
    missed_presence: false,
    blocked: false,
    progress: 0,
    stalled: None,
    signals: Vec::new(),
    starved: false,
    held: Held::NOTHING,
};

impl Deref for Activity {
    type Target = ActiveState;

    fn deref(&self) -> &ActiveState {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl Activity {
    /// The work to add to.
    pub(super) fn begin(&mut self) -> &mut ActiveState {
        self.0.get_or_insert_default()
    }

    /// The work to go on with, if there is any.
    pub(super) fn go_on(&mut self) -> Option<&mut ActiveState> {
        self.0.as_deref_mut()
    }

    /// Whether there is memory for what waits for the socket: asked before more is added to it.
    pub(super) fn has_memory(&mut self, budget: &Budget) -> bool {
        self.go_on().is_none_or(|work| work.has_memory(budget))
    }

    /// Forgets what has arrived and was not carried out.
    pub(super) fn forget_input(&mut self) {
        if let Some(work) = self.go_on() {
            work.decoder = Decoder::NEW;
            work.unread = Unread::NEW;
        }
    }

    /// Whether nothing is under way.
    pub(super) fn is_at_rest(&self) -> bool {
        self.0.is_none()
    }

    /// Comes to rest if nothing is left to do.
    pub(super) fn rest(&mut self) {
        if self.0.as_deref().is_some_and(ActiveState::is_done) {
            self.0 = None;
        }
    }
}

impl ActiveState {
    fn is_done(&self) -> bool {
        self.decoder.is_idle()
            && self.unread.is_empty()
            && self.outbox.is_empty()
            && self.in_flight == 0
            && !self.reading_page
            && !self.missed_presence
            && self.signals.is_empty()
            && !self.starved
    }

    pub(super) fn has_memory(&mut self, budget: &Budget) -> bool {
        let bytes = self.own_bytes();
        self.held.try_hold(budget, Purpose::Output, bytes)
    }

    /// Counts what waits for the socket, after that has taken some.
    pub(super) fn count_memory(&mut self, budget: &Budget) {
        let bytes = self.own_bytes();
        self.held.hold(budget, bytes);
    }

    fn own_bytes(&self) -> usize {
        self.outbox.own_bytes() + self.signals.len() * KeptSignal::COST
    }
}

/// Bytes that were read and have to wait.
#[derive(Default)]
pub(super) struct Unread {
    bytes: Vec<u8>,
    /// How many of them are done with.
    done: usize,
    _held: Held,
}

impl Unread {
    const NEW: Self = Self { bytes: Vec::new(), done: 0, _held: Held::NOTHING };

    /// Keeps bytes for which there was room before they were read.
    pub(super) fn new(bytes: &[u8], budget: &Budget) -> Self {
        let mut held = Held::NOTHING;
        held.hold(budget, bytes.len());
        Self { bytes: bytes.to_vec(), done: 0, _held: held }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes[self.done..]
    }

    /// Only so many at the end still have to wait.
    pub(super) fn keep(&mut self, left: usize) {
        self.done = self.bytes.len() - left;
        if left == 0 {
            *self = Self::default();
        }
    }
}

/// An input that waits for room in an object's mailbox.
pub(super) struct Stalled {
    pub(super) input: Input,
    pub(super) object: ObjectId,
    /// When waiting ends with a refusal.
    pub(super) until: Tick,
}

/// A signal that waits for the socket.
pub(super) struct KeptSignal {
    pub(super) object: ObjectId,
    pub(super) sender: SessionId,
    pub(super) key: Key,
    pub(super) frame: Bytes,
}

impl KeptSignal {
    /// What one takes besides its frame, roughly.
    const COST: usize = 192;
}
