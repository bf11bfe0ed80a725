//! The state of a connection that is not at rest. A connection at rest has none, and needs no memory for it.

use std::ops::Deref;

use bytes::Bytes;
use dormouse_protocol::Key;

use super::outbox::Outbox;
use super::wheel::Tick;
use crate::limits::{Budget, Held, Purpose};
use crate::log::ObjectId;
use crate::object::Input;
use crate::session::SessionId;
use crate::socket::decoder::Decoder;

/// The activity of one connection. It reads as if it always existed, and is allocated when something begins.
#[derive(Default)]
pub(in crate::socket) struct Activity(Option<Box<ActiveState>>);

/// What a connection has besides its socket while it is not at rest.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own about the socket or the requests"
)]
#[derive(Default)]
pub(in crate::socket) struct ActiveState {
    /// The decoder, with a message that has arrived in part.
    pub(in crate::socket) decoder: Decoder,
    /// When that message began, or when the connection was last paused.
    pub(in crate::socket) message_begun: Tick,
    /// Bytes that were read and not decoded yet, because the connection is paused.
    pub(in crate::socket) unread: Unread,
    pub(in crate::socket) outbox: Outbox,
    /// Requests without a reply so far.
    pub(in crate::socket) in_flight: u32,
    /// Bytes of these requests.
    pub(in crate::socket) in_flight_bytes: usize,
    /// A request reads the log (a join, a page of history) or a roster. Later requests of the client wait in its socket.
    pub(in crate::socket) reading_log: bool,
    /// A page of catch-up is being read for this connection.
    pub(in crate::socket) reading_page: bool,
    /// A member of this connection watches a roster and has missed a change.
    pub(in crate::socket) missed_presence: bool,
    /// The socket accepted only a part of the bytes. The poller reports when it accepts more.
    pub(in crate::socket) blocked: bool,
    /// When the socket last accepted bytes, or was first full.
    pub(in crate::socket) progress: Tick,
    /// An input that its object had no room for.
    pub(in crate::socket) stalled: Option<Stalled>,
    /// Signals kept while the socket is full: the latest for each sender and key.
    pub(in crate::socket) signals: Vec<KeptSignal>,
    /// The connection waits in the queue for memory.
    pub(in crate::socket) starved: bool,
    /// For the queued bytes that no other connection shares.
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
    /// The state, which is allocated if there is none.
    pub(in crate::socket) fn begin(&mut self) -> &mut ActiveState {
        self.0.get_or_insert_default()
    }

    /// The state, if there is any.
    pub(in crate::socket) fn go_on(&mut self) -> Option<&mut ActiveState> {
        self.0.as_deref_mut()
    }

    /// Whether the budget has room for more queued bytes.
    pub(in crate::socket) fn has_memory(&mut self, budget: &Budget) -> bool {
        self.go_on().is_none_or(|work| work.has_memory(budget))
    }

    /// Drops the input that was not executed yet.
    pub(in crate::socket) fn forget_input(&mut self) {
        if let Some(work) = self.go_on() {
            work.decoder = Decoder::NEW;
            work.unread = Unread::NEW;
        }
    }

    /// Whether the connection is at rest.
    pub(in crate::socket) fn is_at_rest(&self) -> bool {
        self.0.is_none()
    }

    /// Frees the state if nothing is left to do.
    pub(in crate::socket) fn rest(&mut self) {
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
            && !self.blocked
    }

    pub(in crate::socket) fn has_memory(&mut self, budget: &Budget) -> bool {
        let bytes = self.own_bytes();
        self.held.try_hold(budget, Purpose::Output, bytes)
    }

    /// Adjusts the permit after the socket has accepted bytes.
    pub(in crate::socket) fn count_memory(&mut self, budget: &Budget) {
        let bytes = self.own_bytes();
        self.held.hold(budget, bytes);
    }

    fn own_bytes(&self) -> usize {
        self.outbox.own_bytes() + self.signals.len() * KeptSignal::COST
    }
}

/// Bytes that were read and wait to be decoded.
#[derive(Default)]
pub(in crate::socket) struct Unread {
    bytes: Vec<u8>,
    /// How many of them are decoded.
    done: usize,
    _held: Held,
}

impl Unread {
    const NEW: Self = Self { bytes: Vec::new(), done: 0, _held: Held::NOTHING };

    /// Keeps bytes; the budget had room for them before they were read.
    pub(in crate::socket) fn new(bytes: &[u8], budget: &Budget) -> Self {
        let mut held = Held::NOTHING;
        held.hold(budget, bytes.len());
        Self { bytes: bytes.to_vec(), done: 0, _held: held }
    }

    pub(in crate::socket) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(in crate::socket) fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    pub(in crate::socket) fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes[self.done..]
    }

    /// Keeps only the last `left` bytes.
    pub(in crate::socket) fn keep(&mut self, left: usize) {
        self.done = self.bytes.len() - left;
        if left == 0 {
            *self = Self::default();
        }
    }
}

/// An input that waits for room in an object's mailbox.
pub(in crate::socket) struct Stalled {
    pub(in crate::socket) input: Box<Input>,
    pub(in crate::socket) object: ObjectId,
    /// When the input is refused.
    pub(in crate::socket) until: Tick,
}

/// A signal that waits for the socket.
pub(in crate::socket) struct KeptSignal {
    pub(in crate::socket) object: ObjectId,
    pub(in crate::socket) sender: SessionId,
    pub(in crate::socket) key: Key,
    pub(in crate::socket) frame: Bytes,
}

impl KeptSignal {
    /// The approximate memory of one besides its frame.
    const COST: usize = 192;
}
