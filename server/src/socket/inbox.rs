//! The inbox of a reactor: all other threads send their commands through it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use bytes::Bytes;
use dormouse_protocol::{CloseCode, Join};
use mio::{Poll, Waker};
use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::sync::oneshot;

#[cfg(test)]
mod tests;
mod wake_flag;

/// The atomics of the wake flag, which a model replaces.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicBool, Ordering};
}

use self::wake_flag::WakeFlag;
use super::Accepted;
use super::history;
use super::page::{Page, PageRead};
use super::survey::{Census, Survey};
use crate::limits::Budget;
use crate::log::ObjectId;
use crate::object::input::Range;
use crate::object::presence::PresenceFrames;
use crate::object::{Address, Delivery, EventFrames, Opened, Refusal, SignalFrames, Sink};

/// Bytes of signals that may wait for a reactor. Further signals are dropped.
const SIGNAL_BYTES: usize = 8 << 20;

/// An object was opened for a join.
pub(super) struct JoinOpened {
    pub(super) joiner: Address,
    pub(super) join: Join,
    pub(super) opened: Opened,
}

/// A command to a reactor.
pub(super) enum Command {
    Accepted(Box<Accepted>),
    Delivery(Delivery),
    /// Deliveries of some objects did not fit: see [`Inbox::take_lagging`].
    Lagging,
    Opened(Box<JoinOpened>),
    Page(PageRead),
    /// A page of history, as a frame that carries the permit for its memory.
    History(Address, Result<Bytes, Refusal>),
    /// Counts the members of these objects.
    Census(Arc<[ObjectId]>, oneshot::Sender<Vec<Census>>),
    /// Counts the connections, and what is held for them.
    Survey(oneshot::Sender<Survey>),
    /// Closes the connections whose tokens are revoked, and says how many.
    CloseRevoked(oneshot::Sender<usize>),
    /// Closes connections that hold so many bytes, because memory is short.
    Shed(usize),
    /// Answers the requests in flight and closes every connection with this code.
    Drain(CloseCode),
    /// Ends the reactor at once.
    Stop,
}

/// The sending half, shared by all threads. Events, presence changes and signals are bounded in bytes.
pub(super) struct Inbox {
    commands: mpsc::Sender<Command>,
    waker: Waker,
    wake_flag: WakeFlag,
    event_bytes: AtomicUsize,
    /// The most of them.
    max_event_bytes: usize,
    signal_bytes: AtomicUsize,
    lagging: Mutex<Lagging>,
    signals_dropped: IntCounter,
    budget: Budget,
}

/// Objects of which a delivery did not fit.
#[derive(Default)]
pub(super) struct Lagging {
    /// With the offset of the newest event that did not fit in.
    pub(super) events: BTreeMap<ObjectId, u64>,
    pub(super) presence: BTreeSet<ObjectId>,
}

impl Inbox {
    fn new(
        waker: Waker,
        max_event_bytes: usize,
        budget: &Budget,
        signals_dropped: IntCounter,
    ) -> (Self, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel();
        let inbox = Self {
            commands,
            waker,
            wake_flag: WakeFlag::new(),
            event_bytes: AtomicUsize::new(0),
            max_event_bytes,
            signal_bytes: AtomicUsize::new(0),
            lagging: Mutex::default(),
            signals_dropped,
            budget: budget.clone(),
        };
        (inbox, receiver)
    }

    /// Sends a command. After the end of the reactor the command is dropped.
    pub(super) fn push(&self, command: Command) {
        let _ = self.commands.send(command);
        self.wake();
    }

    /// Wakes the reactor, unless it is being woken.
    pub(super) fn wake(&self) {
        if self.wake_flag.set()
            && let Err(error) = self.waker.wake()
        {
            self.wake_flag.clear();
            tracing::error!(%error, "a reactor can't be woken");
        }
    }

    /// The reactor is awake and will read the inbox. Until it calls [`Inbox::listen`], commands do not wake it.
    pub(super) fn hold(&self) {
        self.wake_flag.set();
    }

    /// Makes the next command wake the reactor. The reactor calls this before it finds the inbox empty.
    pub(super) fn listen(&self) {
        self.wake_flag.clear();
    }

    /// The events have left the inbox.
    pub(super) fn taken_events(&self, events: &EventFrames) {
        self.event_bytes.fetch_sub(events.size(), Ordering::Relaxed);
    }

    /// The changes of a roster have left the inbox.
    pub(super) fn taken_presence(&self, changes: &PresenceFrames) {
        self.event_bytes.fetch_sub(changes.size(), Ordering::Relaxed);
    }

    /// The signal has left the inbox.
    pub(super) fn taken_signal(&self, signal: &SignalFrames) {
        self.signal_bytes.fetch_sub(signal.size(), Ordering::Relaxed);
    }

    /// Objects of which a delivery did not fit since the last call.
    pub(super) fn take_lagging(&self) -> Lagging {
        std::mem::take(&mut *self.lagging.lock())
    }

    /// Counts so many bytes, if they fit.
    fn fits(&self, size: usize) -> bool {
        let fits =
            self.event_bytes.fetch_add(size, Ordering::Relaxed) + size <= self.max_event_bytes;
        if !fits {
            self.event_bytes.fetch_sub(size, Ordering::Relaxed);
        }
        fits
    }

    /// The same for signals.
    fn fits_signal(&self, size: usize) -> bool {
        let fits = self.signal_bytes.fetch_add(size, Ordering::Relaxed) + size <= SIGNAL_BYTES;
        if !fits {
            self.signal_bytes.fetch_sub(size, Ordering::Relaxed);
        }
        fits
    }

    fn lag(&self, note: impl FnOnce(&mut Lagging)) {
        let mut lagging = self.lagging.lock();
        let is_first = lagging.events.is_empty() && lagging.presence.is_empty();
        note(&mut lagging);
        if is_first {
            // Under the lock: no later delivery may arrive before the command that reports the gap.
            self.push(Command::Lagging);
        }
    }
}

impl Sink for Inbox {
    fn deliver(&self, delivery: Delivery) {
        match delivery {
            Delivery::Commit { answers, events } if !self.fits(events.size()) => {
                for answered in answers {
                    self.push(Command::Delivery(Delivery::Answer(answered)));
                }
                self.lag(|lagging| {
                    let last = lagging.events.entry(events.object).or_default();
                    *last = events.last.max(*last);
                });
            }
            Delivery::Presence(changes)
                if !self.budget.has_room(0) || !self.fits(changes.size()) =>
            {
                self.lag(|lagging| _ = lagging.presence.insert(changes.object));
            }
            Delivery::Signal(signal) if !self.fits_signal(signal.size()) => {
                self.signals_dropped.inc();
            }
            // Framed here, on the thread that has read the log, and not on the reactor.
            Delivery::Read(reply) => self.push(match reply.range {
                Range::After(after) => Command::Page(Page::frame(reply, after)),
                Range::Between { .. } => Command::History(reply.to, history::frame(reply)),
            }),
            _ => self.push(Command::Delivery(delivery)),
        }
    }
}

/// The parts of a reactor that exist before it runs: its poller, and the inbox that wakes it.
pub(super) struct ReactorBuilder {
    pub(super) poll: Poll,
    pub(super) inbox: Arc<Inbox>,
    pub(super) commands: mpsc::Receiver<Command>,
}

impl ReactorBuilder {
    pub(super) fn new(
        max_event_bytes: usize,
        budget: &Budget,
        signals_dropped: &IntCounter,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let (inbox, commands) = Inbox::new(waker, max_event_bytes, budget, signals_dropped.clone());
        Ok(Self { poll, inbox: Arc::new(inbox), commands })
    }
}

/// The token of the inbox; connections have their keys.
pub(super) const WAKER: mio::Token = mio::Token(usize::MAX);
