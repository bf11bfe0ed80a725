//! One object in use: its door for connections, awake or asleep.
//!
//! The handle lives while anything holds it: a sink with members, the instance, a commit under way. Inputs come in through
//! [`Handle::post`] (`post.rs`) and nothing else; what an object says goes out as [`Delivery`]s. What changes its [`Life`] is in
//! [`super::control`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use dormouse_protocol::Encoding;
use parking_lot::Mutex;

use super::class::{Class, Interests};
use super::delivery::{Answer, Delivery, EventFrames, Sink};
use super::life::Life;
use super::presence;
use super::registry::Shared;
use super::reply::ReplyTo;
use crate::clock::now_ms;
use crate::log::{Identity, ObjectId};

/// An object in use.
pub struct Handle {
    pub(super) identity: Arc<Identity>,
    pub(super) shared: Arc<Shared>,
    pub(super) interests: Interests,
    /// The newest event on disk. Locked until its delivery is in the sinks: see [`Handle::release`].
    pub(super) head: Mutex<u64>,
    /// The newest event given to the log.
    appended: AtomicU64,
    /// For each encoding, a bit for each sink with members that speak it.
    subscribed: [AtomicU64; 2],
    pub(super) presence: presence::Slot,
    /// Whether there is an instance, and the way to it.
    pub(super) life: Mutex<Life>,
}

impl Handle {
    pub(super) fn new(identity: Arc<Identity>, head: u64, shared: Arc<Shared>) -> Self {
        let class = shared.classes.get(identity.name.class());
        let interests = class.map(Class::interests).unwrap_or_default();
        let life = Life::new(shared.settings.pinned.contains(&identity.name), now_ms());
        shared.metrics.count_in(life.state());
        Self {
            identity,
            shared,
            interests,
            head: Mutex::new(head),
            appended: AtomicU64::new(head),
            subscribed: [AtomicU64::new(0), AtomicU64::new(0)],
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

    /// The newest event on disk, for operators. Not to be called from within [`Sink::deliver`].
    pub fn head(&self) -> u64 {
        *self.head.lock()
    }

    pub(super) fn sink(&self, index: usize) -> &Arc<dyn Sink> {
        &self.shared.sinks[index]
    }

    /// From now on a sink has members that speak `encoding`.
    pub(super) fn subscribe(&self, sink: usize, encoding: Encoding) {
        self.subscribed[encoding as usize].fetch_or(1 << sink, SeqCst);
    }

    /// A sink has no more members that speak `encoding`.
    pub(super) fn unsubscribe(&self, sink: usize, encoding: Encoding) {
        self.subscribed[encoding as usize].fetch_and(!(1 << sink), SeqCst);
    }

    /// Whether any sink has members that speak `encoding`.
    pub(super) fn is_spoken(&self, encoding: Encoding) -> bool {
        self.subscribed[encoding as usize].load(SeqCst) != 0
    }

    /// The sinks with members.
    pub(super) fn subscribed_sinks(&self) -> impl Iterator<Item = &Arc<dyn Sink>> {
        let mut bits = self.subscribed.iter().fold(0, |all, bits| all | bits.load(SeqCst));
        std::iter::from_fn(move || {
            let next = bits.trailing_zeros() as usize;
            bits &= bits.checked_sub(1)?;
            Some(self.sink(next))
        })
    }

    /// Notes that events up to `offset` were given to the log.
    pub(super) fn note_appended(&self, offset: u64) {
        self.appended.store(offset, SeqCst);
    }

    pub(super) fn has_unfinished_appends(&self) -> bool {
        self.appended.load(SeqCst) != self.head()
    }

    /// The events of an append are on disk: moves the head, and delivers them to all members, with the answers before them.
    ///
    /// The head moves first, so that a join after an acknowledgement or a delivery finds it there. It stays locked until all
    /// is delivered: a sink that reads the new events from the log gets them after the answers, and the answer to a join
    /// stands exactly before the first event after its head.
    pub(super) fn release(&self, frames: &Arc<EventFrames>, mut answers: Vec<(ReplyTo, Answer)>) {
        let mut head = self.head.lock();
        *head = frames.last;
        for sink in self.subscribed_sinks() {
            let here = answers.extract_if(.., |(reply, _)| reply.goes_through(sink));
            let here = here.map(|(reply, answer)| reply.hand_over(answer)).collect();
            sink.deliver(Delivery::Commit { answers: here, events: frames.clone() });
        }
        // Of connections whose sink has no members any more.
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
