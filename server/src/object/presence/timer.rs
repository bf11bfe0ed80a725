//! Schedules roster work: flushes, the expiry of lost members, and the removal of an idle roster.
//!
//! Each call runs the work that is due. A timer task runs later work and ends when no work remains. An idle object has no
//! timer. An object without members and watchers has no roster.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep_until;

use super::entry::{Millis, Seen};
use super::flush::Delta;
use super::frames::{PresenceFrames, RosterFrames};
use super::roster::Roster;
use super::stored::{self, Row};
use crate::clock::Clock;
use crate::object::delivery::Delivery;
use crate::object::handle::Handle;

/// The lock around a handle's roster.
#[derive(Default)]
pub(in crate::object) struct RosterCell(pub(super) Mutex<CellState>);

/// The roster, if there is one, and the last version of an earlier one.
#[derive(Default)]
pub(super) struct CellState {
    pub(super) active: Option<Box<ActiveRoster>>,
    /// The newest version that was delivered. Versions never decrease, even if the clock goes back.
    version: u64,
}

/// A roster with its watchers and its timer.
pub(super) struct ActiveRoster {
    pub(super) roster: Roster,
    /// A bit for each sink with members that watch.
    pub(super) watchers: u64,
    /// The first page of this version, while a sink still holds it.
    pub(super) first_page: Weak<RosterFrames>,
    /// The time of the last flush.
    flushed: Option<Millis>,
    timer: Option<FlushTimer>,
}

/// The task that waits for the next due time.
struct FlushTimer {
    until: Millis,
    /// Wakes the task when work is due before `until`.
    sooner: Arc<Notify>,
}

impl CellState {
    /// Returns the roster, creating it if there is none.
    pub(super) fn activate(&mut self, clock: &Clock) -> &mut ActiveRoster {
        let version = self.version(clock);
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

    /// The version that was delivered last.
    pub(super) fn version(&mut self, clock: &Clock) -> u64 {
        let version = self.active.as_ref().map(|active| active.roster.version);
        self.version = version.unwrap_or_else(|| self.version.max(clock.now_ms()));
        self.version
    }

    /// Drops a roster that has no member, watcher or timer.
    fn drop_if_idle(&mut self, clock: &Clock) {
        self.version(clock);
        let is_idle = |active: &mut Box<ActiveRoster>| {
            active.timer.is_none() && active.watchers == 0 && active.roster.is_empty()
        };
        self.active.take_if(is_idle);
    }
}

impl ActiveRoster {
    /// The time of the next flush or expiry.
    fn due(&self, interval: Millis) -> Option<Millis> {
        let flush = self.flushed.map_or(0, |at| at + interval);
        let flush = self.roster.has_changes().then_some(flush);
        [flush, self.roster.next_expiry()].into_iter().flatten().min()
    }
}

impl Handle {
    /// Applies a change to the roster, then runs due work.
    pub(super) fn with_roster<T>(self: &Arc<Self>, act: impl FnOnce(&mut Roster) -> T) -> T {
        let mut state = self.presence.0.lock();
        let outcome = act(&mut state.activate(&self.shared.presence.clock).roster);
        self.run_due_and_wait(&mut state);
        outcome
    }

    /// Runs due work, and starts or advances the timer for later work.
    pub(super) fn run_due_and_wait(self: &Arc<Self>, state: &mut CellState) {
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
                    active.timer = Some(FlushTimer { until: due, sooner: sooner.clone() });
                    let timer = wait_for_due(self.clone(), sooner);
                    self.shared.instances.spawn_on(timer, &self.shared.runtime);
                }
            }
        }
        state.drop_if_idle(&self.shared.presence.clock);
    }

    /// Runs due work; returns the next due time.
    fn run_due(&self, active: &mut ActiveRoster) -> Option<Millis> {
        let presence = &self.shared.presence;
        let (now, interval) = (presence.now(), presence.interval());
        active.roster.expire(now);
        if active.flushed.is_none_or(|at| at + interval <= now) {
            self.flush(active, now);
        }
        active.due(interval)
    }

    /// Requires the roster's lock: a later watcher gets a roster that includes these changes.
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
        let name = &self.identity.name;
        let put = |seen: &Seen| {
            let (owner, data) = (seen.owner.clone(), seen.data.shared());
            stored::put(name, &Row { member: seen.member, owner, data })
        };
        let joins = delta.join.iter().map(|arrival| put(&arrival.seen));
        let updates = delta.update.iter().map(put);
        let leaves = delta.leave.iter().map(|departure| stored::remove(name, departure.member));
        let changes = joins.chain(updates).chain(leaves).collect();
        self.shared.presence.store(&self.shared.log, changes);
    }

    /// Runs due work for the timer; returns the next due time, or `None` to end the timer.
    fn next_due(&self) -> Option<Millis> {
        let mut state = self.presence.0.lock();
        let active = state.active.as_mut()?;
        let due = self.run_due(active);
        match (due, &mut active.timer) {
            (Some(due), Some(timer)) => timer.until = due,
            _ => active.timer = None,
        }
        state.drop_if_idle(&self.shared.presence.clock);
        due
    }

    /// Flushes pending changes when the server stops.
    fn flush_last(&self) {
        if let Some(active) = &mut self.presence.0.lock().active {
            self.flush(active, self.shared.presence.now());
        }
    }
}

/// The timer task: waits for due times until none remains.
async fn wait_for_due(handle: Arc<Handle>, sooner: Arc<Notify>) {
    let presence = &handle.shared.presence;
    while let Some(until) = handle.next_due() {
        // Cancellation first: the last flush covers every deadline.
        tokio::select! {
            biased;
            () = presence.end.cancelled() => return handle.flush_last(),
            () = sooner.notified() => {}
            () = sleep_until(presence.instant(until)) => {}
        }
    }
}
