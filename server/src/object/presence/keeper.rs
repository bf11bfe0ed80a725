//! The roster in its time: when a flush is due, when a lost member's time is over, and how long there is a roster at all.
//!
//! What is due at once is done by whoever comes; for what is due later there is a keeper, a task that ends when nothing
//! waits any more. An object at rest has none, and one in which nobody is and nobody looks has no roster either.

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
use crate::object::handle::Handle;
use crate::object::outlet::Delivery;

/// A handle's roster, if there is one.
#[derive(Default)]
pub(in crate::object) struct Slot(pub(super) Mutex<Place>);

/// What the lock guards.
#[derive(Default)]
pub(super) struct Place {
    pub(super) kept: Option<Box<Kept>>,
    /// The newest version that anybody was told: none may be less, even if the clock goes back.
    version: u64,
}

/// A roster, and what is around it.
pub(super) struct Kept {
    pub(super) roster: Roster,
    /// A bit for each outlet with members that watch.
    pub(super) watchers: u64,
    /// The first page of this version, while it is on its way to anybody.
    pub(super) first_page: Weak<RosterFrames>,
    /// When the last flush was.
    flushed: Option<Millis>,
    keeper: Option<Keeper>,
}

/// The task that waits for what is due.
struct Keeper {
    until: Millis,
    /// Something is due before that.
    sooner: Arc<Notify>,
}

impl Place {
    /// The roster, which is made if there is none.
    pub(super) fn keep(&mut self) -> &mut Kept {
        let version = self.version();
        self.kept.get_or_insert_with(|| {
            Box::new(Kept {
                roster: Roster::new(version),
                watchers: 0,
                first_page: Weak::new(),
                flushed: None,
                keeper: None,
            })
        })
    }

    /// The version that is told by now.
    pub(super) fn version(&mut self) -> u64 {
        let version = self.kept.as_ref().map(|kept| kept.roster.version);
        self.version = version.unwrap_or_else(|| self.version.max(now_ms()));
        self.version
    }

    /// Gives up a roster that nobody needs.
    fn tidy(&mut self) {
        self.version();
        let is_idle = |kept: &mut Box<Kept>| {
            kept.keeper.is_none() && kept.watchers == 0 && kept.roster.is_empty()
        };
        self.kept.take_if(is_idle);
    }
}

impl Kept {
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
        let mut place = self.presence.0.lock();
        let outcome = act(&mut place.keep().roster);
        self.attend(&mut place);
        outcome
    }

    /// Does what is due, and sees that somebody will do what is due later.
    pub(super) fn attend(self: &Arc<Self>, place: &mut Place) {
        if let Some(kept) = &mut place.kept
            && let Some(due) = self.do_due(kept)
        {
            match &mut kept.keeper {
                Some(keeper) if keeper.until <= due => {}
                Some(keeper) => {
                    keeper.until = due;
                    keeper.sooner.notify_one();
                }
                None if self.shared.presence.end.is_cancelled() => {}
                None => {
                    let sooner = Arc::new(Notify::new());
                    kept.keeper = Some(Keeper { until: due, sooner: sooner.clone() });
                    let keeper = keep(self.clone(), sooner);
                    self.shared.instances.spawn_on(keeper, &self.shared.runtime);
                }
            }
        }
        place.tidy();
    }

    /// Does what is due; returns when the next thing is.
    fn do_due(&self, kept: &mut Kept) -> Option<Millis> {
        let presence = &self.shared.presence;
        let (now, interval) = (presence.now(), presence.interval());
        kept.roster.expire(now);
        if kept.flushed.is_none_or(|at| at + interval <= now) {
            self.flush(kept, now);
        }
        kept.due(interval)
    }

    /// Under the roster's lock: whoever watches from now on gets a roster with these changes.
    fn flush(&self, kept: &mut Kept, now: Millis) {
        let before = i64::from(kept.roster.members);
        let Some(delta) = kept.roster.flush() else { return };
        kept.flushed = Some(now);
        let metrics = &self.shared.presence.metrics;
        metrics.flushes.inc();
        metrics.joins.inc_by(delta.join.len() as u64);
        metrics.updates.inc_by(delta.update.len() as u64);
        metrics.leaves.inc_by(delta.leave.len() as u64);
        metrics.members.add(i64::from(delta.members) - before);
        self.store(&delta);
        let frames = Arc::new(PresenceFrames::new(self.id(), delta, &self.shared.settings.budget));
        for (outlet, out) in self.shared.outlets.iter().enumerate() {
            if kept.watchers & 1 << outlet != 0 {
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

    /// What the keeper does before it waits; returns until when, or that nothing is left to wait for.
    fn keep_on(&self) -> Option<Millis> {
        let mut place = self.presence.0.lock();
        let kept = place.kept.as_mut()?;
        let due = self.do_due(kept);
        match (due, &mut kept.keeper) {
            (Some(due), Some(keeper)) => keeper.until = due,
            _ => kept.keeper = None,
        }
        place.tidy();
        due
    }

    /// At the server's end: tells what would have been told soon.
    fn flush_last(&self) {
        if let Some(kept) = &mut self.presence.0.lock().kept {
            self.flush(kept, self.shared.presence.now());
        }
    }
}

/// Waits for what is due until nothing is any more.
async fn keep(handle: Arc<Handle>, sooner: Arc<Notify>) {
    let presence = &handle.shared.presence;
    while let Some(until) = handle.keep_on() {
        // The end first: a deadline that has come by then makes no difference to anybody.
        tokio::select! {
            biased;
            () = presence.end.cancelled() => return handle.flush_last(),
            () = sooner.notified() => {}
            () = sleep_until(presence.instant(until)) => {}
        }
    }
}
