//! One object in use: how members' connections reach it, awake or asleep.
//!
//! The handle lives while anybody holds it: reactors with members, the instance, a commit under way. What changes its
//! [`Life`] is in [`super::control`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use dormouse_protocol::Encoding;
use parking_lot::Mutex;

use super::class::Class;
use super::life::Life;
use super::outlet::{Answer, Delivery, EventFrames, ReplyTo};
use super::presence;
use super::registry::Shared;
use crate::clock::now_ms;
use crate::log::{HistoryRange, Identity, ObjectId, Page, PageLimit, ReadError};

/// An object in use.
pub struct Handle {
    pub(super) identity: Arc<Identity>,
    pub(super) shared: Arc<Shared>,
    /// The newest event on disk. Locked until its delivery is in the outlets: see [`Handle::release`].
    head: Mutex<u64>,
    /// The newest event given to the log.
    appended: AtomicU64,
    /// For each encoding, a bit for each outlet with members that speak it.
    audience: [AtomicU64; 2],
    pub(super) presence: presence::Slot,
    /// Whether there is an instance, and the way to it.
    pub(super) life: Mutex<Life>,
}

impl Handle {
    pub(super) fn new(identity: Arc<Identity>, head: u64, shared: Arc<Shared>) -> Self {
        let life = Life::new(shared.settings.pinned.contains(&identity.name), now_ms());
        shared.metrics.count_in(life.state());
        Self {
            identity,
            shared,
            head: Mutex::new(head),
            appended: AtomicU64::new(head),
            audience: [AtomicU64::new(0), AtomicU64::new(0)],
            presence: presence::Slot::default(),
            life: Mutex::new(life),
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

    pub(super) fn class(&self) -> &Class {
        let class = self.shared.classes.get(self.identity.name.class());
        class.expect("only objects of known classes are opened to be used")
    }

    /// The newest event on disk. Who listens first and reads the head then misses no event: it is either
    /// below the head or delivered. Not to be called from within [`super::Outlet::deliver`].
    pub fn head(&self) -> u64 {
        *self.head.lock()
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

    /// Notes that events up to `offset` were given to the log.
    pub(super) fn note_appended(&self, offset: u64) {
        self.appended.store(offset, SeqCst);
    }

    pub(super) fn has_unfinished_appends(&self) -> bool {
        self.appended.load(SeqCst) != self.head()
    }

    /// The events of an append are on disk: moves the head, and delivers them to whoever listens, with the answers before them.
    ///
    /// The head moves first, so that whoever joins after an acknowledgement or a delivery finds it where those are. Nobody reads
    /// it before all is delivered: an outlet that reads the new events from the log gets them behind the answers.
    pub(super) fn release(&self, frames: &Arc<EventFrames>, mut answers: Vec<(ReplyTo, Answer)>) {
        let mut head = self.head.lock();
        *head = frames.last;
        for outlet in self.listeners() {
            let outlet = &self.shared.outlets[outlet];
            let here = answers.extract_if(.., |(reply, _)| reply.goes_through(outlet));
            let here = here.map(|(reply, answer)| reply.hand_over(answer)).collect();
            outlet.deliver(Delivery::Commit { answers: here, events: frames.clone() });
        }
        // Those who have left meanwhile.
        for (reply, answer) in answers {
            reply.send(answer);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.metrics.count_out(self.life.get_mut().state());
        self.shared.forget(&self.identity.name);
    }
}

#[cfg(test)]
mod tests;
