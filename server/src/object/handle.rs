//! One object in use: how members' connections reach it, awake or asleep.
//!
//! The handle lives while anybody holds it: reactors with members, the instance, a commit under way. It guards
//! promise 1: the mailbox's lock decides whether there is an instance, so two never run at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use dormouse_protocol::Encoding;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::class::Message;
use super::instance;
use super::outlet::{Delivery, EventFrames};
use super::presence;
use super::registry::Shared;
use crate::log::{HistoryRange, Identity, ObjectId, Page, PageLimit, ReadError};

/// The object has as many messages waiting as it may; the message comes back.
#[derive(Debug)]
pub struct Busy(pub Message);

/// An object in use.
pub struct Handle {
    pub(super) identity: Arc<Identity>,
    pub(super) shared: Arc<Shared>,
    /// The newest event on disk.
    head: AtomicU64,
    /// The newest event given to the log.
    appended: AtomicU64,
    /// For each encoding, a bit for each outlet with members that speak it.
    audience: [AtomicU64; 2],
    /// The way to the instance; none while asleep.
    mailbox: Mutex<Option<mpsc::Sender<Message>>>,
    /// When the instance last had a turn, by the clock of [`super::awake`].
    last_use: AtomicU64,
    /// Another object needs the instance's place.
    asked_to_sleep: AtomicBool,
    pub(super) asked: Notify,
    pub(super) presence: presence::Slot,
}

impl Handle {
    pub(super) fn new(identity: Arc<Identity>, head: u64, shared: Arc<Shared>) -> Self {
        Self {
            identity,
            shared,
            head: AtomicU64::new(head),
            appended: AtomicU64::new(head),
            audience: [AtomicU64::new(0), AtomicU64::new(0)],
            mailbox: Mutex::new(None),
            last_use: AtomicU64::new(0),
            asked_to_sleep: AtomicBool::new(false),
            asked: Notify::new(),
            presence: presence::Slot::default(),
        }
    }

    /// The object's id.
    pub fn id(&self) -> ObjectId {
        self.identity.id
    }

    /// Who the object is.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// The newest event on disk. Who listens first and reads the head then misses no event: it is either
    /// below the head or delivered.
    pub fn head(&self) -> u64 {
        self.head.load(SeqCst)
    }

    /// From now on an outlet has members that speak `encoding`.
    pub fn listen(&self, outlet: usize, encoding: Encoding) {
        self.audience[encoding as usize].fetch_or(1 << outlet, SeqCst);
    }

    /// An outlet has no more members that speak `encoding`.
    pub fn unlisten(&self, outlet: usize, encoding: Encoding) {
        self.audience[encoding as usize].fetch_and(!(1 << outlet), SeqCst);
    }

    /// Whether any outlet has members that speak `encoding`.
    pub fn is_heard_in(&self, encoding: Encoding) -> bool {
        self.audience[encoding as usize].load(SeqCst) != 0
    }

    /// The outlets with members.
    pub fn listeners(&self) -> impl Iterator<Item = usize> + use<> {
        let mut bits = self.audience.iter().fold(0, |all, bits| all | bits.load(SeqCst));
        std::iter::from_fn(move || {
            let next = bits.trailing_zeros() as usize;
            bits &= bits.checked_sub(1)?;
            Some(next)
        })
    }

    /// The events after an offset, up to the head; blocks. The log may hold more already: a commit is about to move
    /// the head, and a member that had an event from beyond it would come back with a position that is ahead.
    pub fn page(&self, after: u64, max: PageLimit) -> Result<Page, ReadError> {
        let head = self.head();
        let page = self.shared.log.page(&self.identity, after, max)?;
        Ok(page.up_to(head))
    }

    /// The events between two offsets, both left out, up to the head; blocks.
    pub fn history(
        &self,
        after: Option<u64>,
        before: Option<u64>,
        reverse: bool,
        max: PageLimit,
    ) -> Result<HistoryRange, ReadError> {
        let end = self.head() + 1;
        let before = before.map_or(end, |before| before.min(end));
        self.shared.log.range(&self.identity, after, Some(before), reverse, max)
    }

    /// Hands a message to the instance, waking the object if it sleeps.
    pub fn send(self: &Arc<Self>, message: Message) -> Result<(), Busy> {
        let mut mailbox = self.mailbox.lock();
        let message = match mailbox.as_ref() {
            None => message,
            Some(sender) => match sender.try_send(message) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(message)) => return Err(Busy(message)),
                // The runtime has dropped the instance's task.
                Err(TrySendError::Closed(message)) => message,
            },
        };
        let (sender, receiver) = mpsc::channel(self.shared.settings.mailbox);
        sender.try_send(message).map_err(|e| Busy(e.into_inner()))?;
        *mailbox = Some(sender);
        let instances = instance::run(self.clone(), receiver);
        self.shared.instances.spawn_on(instances, &self.shared.runtime);
        Ok(())
    }

    /// Leaves the object asleep once its instance is gone, unless a message has arrived. Decided under the lock that
    /// senders take, so no message is lost in between.
    pub(super) fn retire(&self, mailbox: &mpsc::Receiver<Message>) -> bool {
        let mut sender = self.mailbox.lock();
        if !mailbox.is_empty() {
            return false;
        }
        *sender = None;
        true
    }

    /// Ends the instance once it has done what waits for it.
    pub(super) fn end(&self) {
        *self.mailbox.lock() = None;
    }

    /// Closes the mailbox of an instance that could not wake and gives back what waits in it.
    pub(super) fn refuse_all(&self, mailbox: &mut mpsc::Receiver<Message>) -> Vec<Message> {
        *self.mailbox.lock() = None;
        std::iter::from_fn(|| mailbox.try_recv().ok()).collect()
    }

    /// Notes a turn of the instance, or that it begins.
    pub(super) fn use_at(&self, now: u64) {
        self.last_use.store(now, Relaxed);
    }

    pub(super) fn last_use(&self) -> u64 {
        self.last_use.load(Relaxed)
    }

    /// Asks the instance to sleep as soon as it has nothing to do.
    pub(super) fn ask_to_sleep(&self) {
        self.asked_to_sleep.store(true, Relaxed);
        self.asked.notify_one();
    }

    pub(super) fn is_asked_to_sleep(&self) -> bool {
        self.asked_to_sleep.load(Relaxed)
    }

    /// A new instance has not been asked anything.
    pub(super) fn forget_being_asked(&self) {
        self.asked_to_sleep.store(false, Relaxed);
    }

    /// Notes that events up to `offset` were given to the log.
    pub(super) fn note_appended(&self, offset: u64) {
        self.appended.store(offset, SeqCst);
    }

    pub(super) fn has_unfinished_appends(&self) -> bool {
        self.appended.load(SeqCst) != self.head()
    }

    /// Events up to `offset` are on disk. Comes before anybody is told, so that whoever joins after an
    /// acknowledgement or a delivery finds the head where those are.
    pub(super) fn note_durable(&self, offset: u64) {
        self.head.store(offset, SeqCst);
    }

    /// Delivers events to whoever listens.
    pub(super) fn deliver(&self, frames: &Arc<EventFrames>) {
        for outlet in self.listeners() {
            self.shared.outlets[outlet].deliver(Delivery::Events(frames.clone()));
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.forget(&self.identity.name);
    }
}
