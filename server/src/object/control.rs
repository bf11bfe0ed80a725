//! What may be asked of an object in use, and what its instances tell: every step of its [`Life`], counted.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::handle::Handle;
use super::life::{Begun, Life, SleepAnswer, SleepReason, SleepRefusal, State, WakeCause};
use super::mailbox::Message;
use super::run::run;
use crate::clock::now_ms;

/// For everybody.
impl Handle {
    /// Asks the object to sleep as soon as it has nothing to do.
    pub fn sleep(&self) -> SleepAnswer {
        self.ask_to_sleep(SleepReason::Asked)
    }

    /// Asks the instance to panic as a fault of its class would. False if the object has none.
    pub fn crash(&self) -> bool {
        self.step(Life::ask_to_crash)
    }

    /// Whether the object has an instance.
    pub fn state(&self) -> State {
        self.life.lock().state()
    }
}

/// For the other objects.
impl Handle {
    /// Wakes an object that is pinned, unless the server ends.
    pub(super) fn wake_pinned(self: &Arc<Self>) {
        if self.shared.instances.is_closed() {
            return;
        }
        let capacity = self.shared.settings.mailbox;
        let begun = self.step(|life| life.wake(WakeCause::Pin, capacity, now_ms()));
        self.begin(begun);
    }

    /// Ends the instance once it has done what waits for it.
    pub(super) fn end(&self) {
        self.step(Life::end);
    }

    pub(super) fn ask_to_sleep(&self, reason: SleepReason) -> SleepAnswer {
        let answer = self.step(|life| life.ask_to_sleep(reason));
        if answer == SleepAnswer::Refused {
            self.refuse_sleep(SleepRefusal::Pinned);
        }
        answer
    }

    pub(super) fn is_pinned(&self) -> bool {
        self.life.lock().is_pinned()
    }

    /// When it was last used, if it may be asked to sleep and was not.
    pub(super) fn unasked_since(&self) -> Option<Instant> {
        let life = self.life.lock();
        let may_be_asked = matches!(life.state(), State::Waking | State::Awake);
        life.last_use().filter(|_| may_be_asked && life.asked_to_sleep().is_none())
    }
}

/// For the task that runs its instances.
impl Handle {
    /// The instance takes messages, so long after it was wanted.
    pub(super) fn woke(&self, took: Duration) {
        let cause = self.step(|life| {
            life.woke(took, now_ms());
            life.cause()
        });
        let metrics = &self.shared.metrics;
        metrics.wake_seconds.observe(took.as_secs_f64());
        if let Some(cause) = cause {
            metrics.woke(cause);
        }
    }

    /// The object can't wake: closes the mailbox and gives back what waits in it.
    pub(super) fn can_not_wake(&self, mailbox: &mut mpsc::Receiver<Message>) -> Vec<Message> {
        self.step(|life| life.can_not_wake(now_ms()));
        self.shared.metrics.slept(SleepReason::Failed);
        std::iter::from_fn(|| mailbox.try_recv().ok()).collect()
    }

    /// Notes a turn of the instance, which holds so many bytes, or that it has got its place.
    pub(super) fn used(&self, at: Instant, memory_bytes: usize) {
        self.life.lock().used(at, memory_bytes);
    }

    /// Why the instance should sleep now, if it should.
    pub(super) fn should_sleep(&self) -> Option<SleepReason> {
        let life = self.life.lock();
        let is_in_the_way = !life.is_pinned() && self.shared.awake.is_crowded();
        life.asked_to_sleep().or_else(|| is_in_the_way.then_some(SleepReason::Evicted))
    }

    /// See [`Life::must_yield`].
    pub(super) fn must_yield(&self) -> bool {
        self.life.lock().must_yield()
    }

    /// Panics if the instance was asked to.
    pub(super) fn crash_if_asked(&self) {
        let is_to_crash = self.life.lock().is_to_crash();
        assert!(!is_to_crash, "an operator asked this instance to crash");
    }

    pub(super) fn fall_asleep(&self) {
        self.step(|life| life.fall_asleep(now_ms()));
    }

    pub(super) fn stay_awake(&self) {
        self.step(|life| life.stay_awake(now_ms()));
        self.refuse_sleep(SleepRefusal::Message);
    }

    /// The instance has ended. Whether the object wakes again at once; decided under the lock that senders take, so no
    /// message is lost in between.
    pub(super) fn gone(&self, mailbox: &mpsc::Receiver<Message>, reason: SleepReason) -> bool {
        let wakes = self.step(|life| life.gone(!mailbox.is_empty(), now_ms()));
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
}

impl Handle {
    pub(super) fn begin(self: &Arc<Self>, begun: Option<Begun>) {
        if let Some(begun) = begun {
            let instances = run(self.clone(), begun, Instant::now());
            self.shared.instances.spawn_on(instances, &self.shared.runtime);
        }
    }

    /// Every change of the object's life goes through here, so that the states are counted right.
    pub(super) fn step<T>(&self, change: impl FnOnce(&mut Life) -> T) -> T {
        let mut life = self.life.lock();
        let before = life.state();
        let result = change(&mut life);
        let after = life.state();
        if before != after {
            self.shared.metrics.count_out(before);
            self.shared.metrics.count_in(after);
        }
        result
    }
}
