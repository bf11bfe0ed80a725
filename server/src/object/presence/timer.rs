//! The roster in its time: when a flush is due, when a lost member's time is over, and how long there is a roster at all.
//!
//! The caller does what is due at once. For what is due later there is a timer, a task that ends when nothing
//! waits any more. An object at rest has no timer, and an object without members and watchers has no roster.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep_until;

use super::entry::{Millis, Seen};
use super::flush::Delta;
use super::frames::{PresenceFrames, RosterFrames};
use super::roster::Roster;
use crate::clock::now_ms;
use crate::log::{PresenceChange, PresenceRow};
use crate::object::delivery::Delivery;
use crate::object::handle::Handle;

/// A handle's roster, if there is one.
#[derive(Default)]
pub(in crate::object) struct Presence(pub(super) Mutex<State>);

/// What the lock guards.
#[derive(Default)]
pub(super) struct State {
    pub(super) active: Option<Box<ActiveRoster>>,
    /// The newest version that was sent. No later version may be less, even if the clock goes back.
    version: u64,
}

/// A roster, and what is around it.
pub(super) struct ActiveRoster {
    pub(super) roster: Roster,
    /// A bit for each sink with members that watch.
    pub(super) watchers: u64,
    /// The first page of this version, while a delivery holds it.
    pub(super) first_page: Weak<RosterFrames>,
    /// When the last flush was.
    flushed: Option<Millis>,
    timer: Option<Timer>,
}

/// The task that waits for what is due.
struct Timer {
    until: Millis,
    /// Something is due before that.
    sooner: Arc<Notify>,
}

impl State {
    /// The roster, which is made if there is none.
    pub(super) fn activate(&mut self) -> &mut ActiveRoster {
        let version = self.version();
        self.active.get_or_insert_with(|| {
            Box::new(ActiveRoster {
                roster: Roster::new(version),
                watchers: 0,
                first_page: Weak::new(),
                flushed: None,
                timer: None,
            })
        })
    }

    /// The version that is told by now.
    pub(super) fn version(&mut self) -> u64 {
        let version = self.active.as_ref().map(|active| active.roster.version);
        self.version = version.unwrap_or_else(|| self.version.max(now_ms()));
        self.version
    }

    /// Drops a roster without members and watchers.
    fn tidy(&mut self) {
        self.version();
        let is_idle = |active: &mut Box<ActiveRoster>| {
            active.timer.is_none() && active.watchers == 0 && active.roster.is_empty()
        };
        self.active.take_if(is_idle);
    }
}

impl ActiveRoster {
    /// When there is something to do.
    fn due(&self, interval: Millis) -> Option<Millis> {
        let flush = self.flushed.map_or(0, |at| at + interval);
        let flush = self.roster.has_changes().then_some(flush);
        [flush, self.roster.next_expiry()].into_iter().flatten().min()
    }
}

impl Handle {
    /// Does something with the roster, and then what is due.
    pub(super) fn with_roster<T>(self: &Arc<Self>, act: impl FnOnce(&mut Roster) -> T) -> T {
        let mut state = self.presence.0.lock();
        let outcome = act(&mut state.activate().roster);
        self.run_due_and_wait(&mut state);
        outcome
    }

    /// Does what is due, and starts the timer for what is due later.
    pub(super) fn run_due_and_wait(self: &Arc<Self>, state: &mut State) {
        if let Some(active) = &mut state.active
            && let Some(due) = self.run_due(active)
        {
            match &mut active.timer {
                Some(timer) if timer.until <= due => {}
                Some(timer) => {
                    timer.until = due;
                    timer.sooner.notify_one();
                }
                None if self.shared.presence.end.is_cancelled() => {}
                None => {
                    let sooner = Arc::new(Notify::new());
                    active.timer = Some(Timer { until: due, sooner: sooner.clone() });
                    let timer = wait_for_due(self.clone(), sooner);
                    self.shared.instances.spawn_on(timer, &self.shared.runtime);
                }
            }
        }
        state.tidy();
    }

    /// Does what is due; returns when the next thing is.
    fn run_due(&self, active: &mut ActiveRoster) -> Option<Millis> {
        let presence = &self.shared.presence;
        let (now, interval) = (presence.now(), presence.interval());
        active.roster.expire(now);
        if active.flushed.is_none_or(|at| at + interval <= now) {
            self.flush(active, now);
        }
        active.due(interval)
    }

    /// Under the roster's lock: a later watcher gets a roster with these changes.
    fn flush(&self, active: &mut ActiveRoster, now: Millis) {
        let before = i64::from(active.roster.members);
        let Some(delta) = active.roster.flush() else { return };
        active.flushed = Some(now);
        let metrics = &self.shared.presence.metrics;
        metrics.flushes.inc();
        metrics.joins.inc_by(delta.join.len() as u64);
        metrics.updates.inc_by(delta.update.len() as u64);
        metrics.leaves.inc_by(delta.leave.len() as u64);
        metrics.members.add(i64::from(delta.members) - before);
        self.store(&delta);
        let frames = Arc::new(PresenceFrames::new(self.id(), delta, &self.shared.settings.budget));
        for (sink, out) in self.shared.sinks.iter().enumerate() {
            if active.watchers & 1 << sink != 0 {
                out.deliver(Delivery::Presence(frames.clone()));
            }
        }
    }

    fn store(&self, delta: &Delta) {
        let row = |seen: &Seen| PresenceRow {
            member: seen.member,
            user: (&*seen.user).into(),
            data: seen.data.shared(),
        };
        let joined = delta.join.iter().map(|arrival| row(&arrival.seen));
        self.shared.log.store_presence(PresenceChange {
            object: self.identity.name.clone(),
            put: joined.chain(delta.update.iter().map(row)).collect(),
            removed: delta.leave.iter().map(|departure| departure.member).collect(),
        });
    }

    /// What the timer does before it waits; returns until when, or that nothing is left to wait for.
    fn next_due(&self) -> Option<Millis> {
        let mut state = self.presence.0.lock();
        let active = state.active.as_mut()?;
        let due = self.run_due(active);
        match (due, &mut active.timer) {
            (Some(due), Some(timer)) => timer.until = due,
            _ => active.timer = None,
        }
        state.tidy();
        due
    }

    /// At the server's end: tells what would have been told soon.
    fn flush_last(&self) {
        if let Some(active) = &mut self.presence.0.lock().active {
            self.flush(active, self.shared.presence.now());
        }
    }
}

/// Waits for what is due until nothing is any more.
async fn wait_for_due(handle: Arc<Handle>, sooner: Arc<Notify>) {
    let presence = &handle.shared.presence;
    while let Some(until) = handle.next_due() {
        // The end first: a deadline that has passed makes no difference then.
        tokio::select! {
            biased;
            () = presence.end.cancelled() => return handle.flush_last(),
            () = sooner.notified() => {}
            () = sleep_until(presence.instant(until)) => {}
        }
    }
}
