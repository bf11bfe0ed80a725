//! The handle of one object in use, awake or asleep.
//!
//! A sink with members, the instance and a commit in flight each keep the handle alive. Inputs arrive only through
//! [`Handle::post`] (`post.rs`); replies and events leave as [`Delivery`]s.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use dormouse_protocol::Encoding;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::class::{Class, Interests};
use super::delivery::{Answer, Delivery, EventFrames, Sink};
use super::lifecycle::{
    InstanceStart, Lifecycle, SleepAnswer, SleepReason, SleepRefusal, State, WakeCause,
};
use super::mailbox::Message;
use super::presence;
use super::registry::Shared;
use super::reply::ReplyTo;
use super::task::run;
use crate::log::{Identity, ObjectId};

/// An object in use.
pub struct Handle {
    pub(super) identity: Arc<Identity>,
    pub(super) shared: Arc<Shared>,
    pub(super) interests: Interests,
    /// The newest offset on disk. Locked until its delivery is in the sinks: see [`Handle::release`].
    pub(super) head: Mutex<u64>,
    /// The newest offset given to the log.
    appended: AtomicU64,
    /// For each encoding, a bit for each sink with members that use it.
    subscribed: [AtomicU64; 2],
    pub(super) presence: presence::RosterCell,
    /// The object's state and its mailbox.
    pub(super) lifecycle: Mutex<Lifecycle>,
}

impl Handle {
    pub(super) fn new(identity: Arc<Identity>, head: u64, shared: Arc<Shared>) -> Self {
        let class = shared.classes.get(identity.name.class());
        let interests = class.map(Class::interests).unwrap_or_default();
        let lifecycle = Lifecycle::new(
            shared.settings.pinned.contains(&identity.name),
            shared.settings.clock.now_ms(),
        );
        shared.metrics.count_in(lifecycle.state());
        Self {
            identity,
            shared,
            interests,
            head: Mutex::new(head),
            appended: AtomicU64::new(head),
            subscribed: [AtomicU64::new(0), AtomicU64::new(0)],
            presence: presence::RosterCell::default(),
            lifecycle: Mutex::new(lifecycle),
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.shared.settings.clock.now_ms()
    }

    /// The object's id.
    pub fn id(&self) -> ObjectId {
        self.identity.id
    }

    /// The object's identity.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    pub(super) fn class(&self) -> &Class {
        let class = self.shared.classes.get(self.identity.name.class());
        class.expect("only objects of known classes are opened to be used")
    }

    /// The newest offset on disk, for operators. Not to be called from within [`Sink::deliver`].
    pub fn head(&self) -> u64 {
        *self.head.lock()
    }

    pub(super) fn sink(&self, index: usize) -> &Arc<dyn Sink> {
        &self.shared.sinks[index]
    }

    /// Subscribes a sink: it has members that use `encoding`.
    pub(super) fn subscribe(&self, sink: usize, encoding: Encoding) {
        self.subscribed[encoding as usize].fetch_or(1 << sink, SeqCst);
    }

    /// Unsubscribes a sink: it has no more members that use `encoding`.
    pub(super) fn unsubscribe(&self, sink: usize, encoding: Encoding) {
        self.subscribed[encoding as usize].fetch_and(!(1 << sink), SeqCst);
    }

    /// Whether a sink has members that use `encoding`.
    pub(super) fn is_spoken(&self, encoding: Encoding) -> bool {
        self.subscribed[encoding as usize].load(SeqCst) != 0
    }

    /// The sinks with members.
    pub fn subscribed_sinks(&self) -> impl Iterator<Item = &Arc<dyn Sink>> {
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
        // Answers for sinks without members.
        for (reply, answer) in answers {
            reply.send(answer);
        }
    }
}

/// Its lifecycle: every step is counted.
impl Handle {
    /// Asks the object to sleep as soon as it is idle.
    pub fn sleep(&self) -> SleepAnswer {
        self.ask_to_sleep(SleepReason::Asked)
    }

    /// Asks the instance to panic as a fault of its class would. False if the object has none.
    pub fn crash(&self) -> bool {
        self.step(Lifecycle::ask_to_crash)
    }

    /// Whether the object has an instance.
    pub fn state(&self) -> State {
        self.lifecycle.lock().state()
    }

    /// Wakes an object that is pinned, unless the server ends.
    pub(super) fn wake_pinned(self: &Arc<Self>) {
        if self.shared.instances.is_closed() {
            return;
        }
        let capacity = self.shared.settings.mailbox;
        let start = self.step(|lifecycle| lifecycle.wake(WakeCause::Pin, capacity, self.now_ms()));
        self.begin(start);
    }

    /// Ends the instance after its waiting messages.
    pub(super) fn end(&self) {
        self.step(Lifecycle::end);
    }

    pub(super) fn ask_to_sleep(&self, reason: SleepReason) -> SleepAnswer {
        let answer = self.step(|lifecycle| lifecycle.ask_to_sleep(reason));
        if answer == SleepAnswer::Refused {
            self.refuse_sleep(SleepRefusal::Pinned);
        }
        answer
    }

    pub(super) fn is_pinned(&self) -> bool {
        self.lifecycle.lock().is_pinned()
    }

    /// When it was last used, if a request to sleep is possible and not pending.
    pub(super) fn evictable_since(&self) -> Option<Instant> {
        let lifecycle = self.lifecycle.lock();
        let may_be_asked = matches!(lifecycle.state(), State::Waking | State::Awake);
        lifecycle.last_use().filter(|_| may_be_asked && lifecycle.asked_to_sleep().is_none())
    }

    /// The instance is awake, `took` after the wake began.
    pub(super) fn woke(&self, took: Duration) {
        let cause = self.step(|lifecycle| {
            lifecycle.woke(took, self.now_ms());
            lifecycle.cause()
        });
        let metrics = &self.shared.metrics;
        metrics.wake_seconds.observe(took.as_secs_f64());
        if let Some(cause) = cause {
            metrics.woke(cause);
        }
    }

    /// The object cannot wake: closes the mailbox and returns its messages.
    pub(super) fn wake_failed(&self, mailbox: &mut mpsc::Receiver<Message>) -> Vec<Message> {
        self.step(|lifecycle| lifecycle.wake_failed(self.now_ms()));
        self.shared.metrics.slept(SleepReason::Failed);
        std::iter::from_fn(|| mailbox.try_recv().ok()).collect()
    }

    /// Records a use: see [`Lifecycle::used`].
    pub(super) fn used(&self, at: Instant, memory_bytes: usize) {
        self.lifecycle.lock().used(at, memory_bytes);
    }

    /// Why the instance should sleep now, if it should.
    pub(super) fn should_sleep(&self) -> Option<SleepReason> {
        let lifecycle = self.lifecycle.lock();
        let is_evictable = !lifecycle.is_pinned() && self.shared.awake.is_contended();
        lifecycle.asked_to_sleep().or_else(|| is_evictable.then_some(SleepReason::Evicted))
    }

    /// See [`Lifecycle::must_yield`].
    pub(super) fn must_yield(&self) -> bool {
        self.lifecycle.lock().must_yield()
    }

    /// Panics if the instance was asked to.
    pub(super) fn crash_if_asked(&self) {
        let is_to_crash = self.lifecycle.lock().is_to_crash();
        assert!(!is_to_crash, "an operator asked this instance to crash");
    }

    pub(super) fn fall_asleep(&self) {
        self.step(|lifecycle| lifecycle.fall_asleep(self.now_ms()));
    }

    pub(super) fn stay_awake(&self) {
        self.step(|lifecycle| lifecycle.stay_awake(self.now_ms()));
        self.refuse_sleep(SleepRefusal::Message);
    }

    /// The instance has ended. Returns whether the object wakes again at once. Senders take the same lock, so no message is lost in
    /// between.
    pub(super) fn instance_ended(
        &self,
        mailbox: &mpsc::Receiver<Message>,
        reason: SleepReason,
    ) -> bool {
        let wakes =
            self.step(|lifecycle| lifecycle.instance_ended(!mailbox.is_empty(), self.now_ms()));
        match (wakes, reason) {
            (false, _) => self.shared.metrics.slept(reason),
            (true, SleepReason::Failed) => {}
            (true, _) => self.refuse_sleep(SleepRefusal::Message),
        }
        wakes
    }

    pub(super) fn refuse_sleep(&self, refusal: SleepRefusal) {
        self.shared.metrics.refused_sleep(refusal);
    }

    pub(super) fn begin(self: &Arc<Self>, start: Option<InstanceStart>) {
        if let Some(start) = start {
            let instances = run(self.clone(), start, Instant::now());
            self.shared.instances.spawn_on(instances, &self.shared.runtime);
        }
    }

    /// Applies a lifecycle transition and updates the metrics of states.
    pub(super) fn step<T>(&self, change: impl FnOnce(&mut Lifecycle) -> T) -> T {
        let mut lifecycle = self.lifecycle.lock();
        let before = lifecycle.state();
        let result = change(&mut lifecycle);
        let after = lifecycle.state();
        if before != after {
            self.shared.metrics.count_out(before);
            self.shared.metrics.count_in(after);
        }
        result
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.metrics.count_out(self.lifecycle.get_mut().state());
        self.shared.forget(&self.identity.name);
    }
}

#[cfg(test)]
mod tests;
