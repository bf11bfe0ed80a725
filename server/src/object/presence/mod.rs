//! Presence: the members of each object, with their presence data.
//!
//! A roster belongs to the object's handle and needs no instance (promise 6). A flush delivers all pending changes, at most
//! once per interval, so many joins cost each member few messages (promise 8). Every flush makes one version.
//! Flushes and full rosters are delivered under the roster's lock. So a sink gets a roster exactly before the changes that
//! follow it.
//!
//! `roster.rs`, `flush.rs` and `page.rs` are pure; `timer.rs` reads the clock; connections call `handle.rs`.

mod entry;
mod flush;
mod frames;
mod handle;
mod metrics;
mod page;
mod restored;
mod roster;
mod stored;
mod timer;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::log::{Change, Log};

use entry::Millis;
pub use entry::{Data, Holder, Owner};
pub use frames::{PresenceFrames, RosterFrames, View};
pub use handle::{Departing, Entrant};
pub(super) use metrics::Metrics;
use restored::Restored;
pub use roster::RosterFull;
pub use stored::StoredRosters;
#[cfg(any(test, fuzzing))]
pub use stored::fuzz as stored_rosters;
pub(super) use timer::RosterCell;

/// Configuration of presence.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The shortest time between two flushes of one roster, at least a millisecond: versions must not overtake the clock,
    /// which gives a roster its first version.
    pub interval: Duration,
    /// How long a member whose connection was lost may stay away. Zero: it leaves at once.
    pub grace: Duration,
    /// Members that one roster may hold.
    pub max_members: usize,
    /// Members in one page of a roster.
    pub page_members: usize,
}

/// State that the rosters of all objects share.
pub(super) struct Shared {
    settings: Settings,
    pub(super) metrics: Metrics,
    clock: Clock,
    start: Instant,
    /// The next membership's number. One counter serves all objects and starts from the clock, so no number repeats, even after a restart.
    next_member: AtomicU64,
    restored: Restored,
    end: CancellationToken,
}

impl Shared {
    pub(super) fn new(
        settings: Settings,
        stored: StoredRosters,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        assert!(settings.interval >= Duration::from_millis(1), "a version is at least 1 ms");
        let restored = Restored::new(stored);
        let beyond_stored = restored.last_member().map_or(0, |last| last + 1);
        Self {
            settings,
            metrics,
            start: Instant::now(),
            next_member: AtomicU64::new(beyond_stored.max(clock.now_ms() * 1000)),
            clock,
            restored,
            end: CancellationToken::new(),
        }
    }

    /// Flushes pending changes and ends the timers. Rosters stay stored for the next start.
    pub(super) fn end(&self) {
        self.end.cancel();
    }

    /// Stores changes of rosters, as far as nobody has to wait for it: a roster on disk may be wrong by a change that was left out.
    fn store(&self, log: &Log, changes: Vec<Change>) {
        if !log.change_lazily(changes) {
            self.metrics.skipped.inc();
        }
    }

    fn new_member(&self) -> u64 {
        self.next_member.fetch_add(1, Relaxed)
    }

    fn now(&self) -> Millis {
        self.start.elapsed().as_millis() as Millis
    }

    fn instant(&self, at: Millis) -> Instant {
        self.start + Duration::from_millis(at)
    }

    fn interval(&self) -> Millis {
        self.settings.interval.as_millis() as Millis
    }

    fn grace(&self) -> Millis {
        self.settings.grace.as_millis() as Millis
    }
}
