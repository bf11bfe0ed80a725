//! The way into a reactor for all other threads.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use bytes::Bytes;
use dormouse_protocol::{CloseCode, ErrorCode, Key};
use mio::{Poll, Waker};
use parking_lot::Mutex;

mod bell;
#[cfg(test)]
mod tests;

/// What the bell is made of.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicBool, Ordering};
}

use self::bell::Bell;
use super::Accepted;
use super::catch_up::PageRead;
use super::census::Question;
use super::form::Form;
use super::framing::Framed;
use super::join::JoinOpened;
use crate::limits::Budget;
use crate::log::ObjectId;
use crate::object::presence::PresenceFrames;
use crate::object::{Address, Delivery, EventFrames, Outlet};
use crate::session::SessionId;

/// Bytes of events and of presence that may wait for a reactor. What does not fit is read again from the log and the roster.
const EVENT_BYTES: usize = if cfg!(test) { 1 << 10 } else { 32 << 20 };
/// Bytes of signals that may wait for a reactor. What does not fit is dropped.
const SIGNAL_BYTES: usize = 8 << 20;

/// What others want of a reactor.
pub(super) enum Letter {
    Accepted(Box<Accepted>),
    Delivery(Delivery),
    /// What some objects had to say did not fit: see [`Inbox::take_lagging`].
    Lagging,
    Signal(Arc<SignalFrames>),
    Opened(Box<JoinOpened>),
    Page(PageRead),
    /// The reply to a request that was worked on elsewhere.
    Reply(Address, Reply),
    /// Someone wants to know something.
    Question(Question),
    /// Memory is short: close connections for which so many bytes are held.
    Shed(usize),
    /// Finish what was begun and close every connection with this code.
    Drain(CloseCode),
    /// End now.
    Stop,
}

/// The reply to a request that read the log.
pub(super) enum Reply {
    /// A frame that carries the permit for its memory.
    History(Bytes),
    Refused(ErrorCode, &'static str),
}

/// A signal, encoded once for the members on all reactors.
pub(super) struct SignalFrames {
    pub(super) object: ObjectId,
    pub(super) sender: SessionId,
    pub(super) key: Option<Key>,
    /// WebSocket frames, by encoding.
    pub(super) frames: [Option<Framed>; 2],
}

impl SignalFrames {
    pub(super) fn frame(&self, form: Form) -> Option<&Bytes> {
        Some(self.frames[form.encoding as usize].as_ref()?.in_form(form))
    }

    pub(super) fn size(&self) -> usize {
        self.frames.iter().flatten().map(Framed::len).sum()
    }
}

/// The sending half: shared by all threads, bounded where others decide how much comes in.
pub(super) struct Inbox {
    letters: mpsc::Sender<Letter>,
    waker: Waker,
    bell: Bell,
    event_bytes: AtomicUsize,
    signal_bytes: AtomicUsize,
    lagging: Mutex<Lagging>,
    budget: Budget,
}

/// Objects of which something did not fit.
#[derive(Default)]
pub(super) struct Lagging {
    pub(super) events: BTreeSet<ObjectId>,
    pub(super) presence: BTreeSet<ObjectId>,
}

impl Inbox {
    fn new(waker: Waker, budget: &Budget) -> (Self, mpsc::Receiver<Letter>) {
        let (letters, receiver) = mpsc::channel();
        let inbox = Self {
            letters,
            waker,
            bell: Bell::new(),
            event_bytes: AtomicUsize::new(0),
            signal_bytes: AtomicUsize::new(0),
            lagging: Mutex::default(),
            budget: budget.clone(),
        };
        (inbox, receiver)
    }

    /// Puts a letter in. After the reactor's end it is dropped, which is an answer too.
    pub(super) fn push(&self, letter: Letter) {
        let _ = self.letters.send(letter);
        self.wake();
    }

    /// Wakes the reactor, unless that is under way.
    pub(super) fn wake(&self) {
        if self.bell.ring()
            && let Err(error) = self.waker.wake()
        {
            self.bell.listen();
            tracing::error!(%error, "a reactor can't be woken");
        }
    }

    /// False if the signal did not fit.
    pub(super) fn push_signal(&self, signal: Arc<SignalFrames>) -> bool {
        let size = signal.size();
        if self.signal_bytes.fetch_add(size, Ordering::Relaxed) + size > SIGNAL_BYTES {
            self.signal_bytes.fetch_sub(size, Ordering::Relaxed);
            return false;
        }
        self.push(Letter::Signal(signal));
        true
    }

    /// Makes the next letter wake the reactor. The reactor calls this before it looks into the inbox.
    pub(super) fn listen(&self) {
        self.bell.listen();
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

    /// Objects of which something did not fit since this was last asked.
    pub(super) fn take_lagging(&self) -> Lagging {
        std::mem::take(&mut *self.lagging.lock())
    }

    /// Whether so many more bytes fit; then they count.
    fn fits(&self, size: usize) -> bool {
        let fits = self.event_bytes.fetch_add(size, Ordering::Relaxed) + size <= EVENT_BYTES;
        if !fits {
            self.event_bytes.fetch_sub(size, Ordering::Relaxed);
        }
        fits
    }

    fn lag(&self, note: impl FnOnce(&mut Lagging)) {
        let mut lagging = self.lagging.lock();
        let is_first = lagging.events.is_empty() && lagging.presence.is_empty();
        note(&mut lagging);
        if is_first {
            // Under the lock: another object's next delivery must not come before the letter that tells of what it lacks.
            self.push(Letter::Lagging);
        }
    }
}

impl Outlet for Inbox {
    fn deliver(&self, delivery: Delivery) {
        match delivery {
            Delivery::Commit { answers, events } if !self.fits(events.size()) => {
                for answered in answers {
                    self.push(Letter::Delivery(Delivery::Answer(answered)));
                }
                self.lag(|lagging| _ = lagging.events.insert(events.object));
            }
            Delivery::Presence(changes)
                if !self.budget.has_room(0) || !self.fits(changes.size()) =>
            {
                self.lag(|lagging| _ = lagging.presence.insert(changes.object));
            }
            _ => self.push(Letter::Delivery(delivery)),
        }
    }
}

/// Where a reactor is to sit: its poller, and the inbox that wakes it.
pub(super) struct Seat {
    pub(super) poll: Poll,
    pub(super) inbox: Arc<Inbox>,
    pub(super) letters: mpsc::Receiver<Letter>,
}

impl Seat {
    pub(super) fn new(budget: &Budget) -> io::Result<Self> {
        let poll = Poll::new()?;
        let (inbox, letters) = Inbox::new(Waker::new(poll.registry(), WAKER)?, budget);
        Ok(Self { poll, inbox: Arc::new(inbox), letters })
    }
}

/// The token of the inbox; connections have their keys.
pub(super) const WAKER: mio::Token = mio::Token(usize::MAX);
