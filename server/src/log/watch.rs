//! The watch: a thread that checks four times a second how much space the disk has left, and whether a commit takes too long. It only
//! records the result. The code that appends reads it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;
use parking_lot::Mutex;

use super::metrics::Metrics;
use super::shared::Shared;

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Commits take a few milliseconds. If one takes this long, something is wrong with the disk.
const SLOW: Duration = Duration::from_secs(3);

pub(super) struct Watch {
    dir: PathBuf,
    min_free: u64,
    is_full: AtomicBool,
    commit: Mutex<Option<Commit>>,
}

/// The commit under way.
struct Commit {
    since: Instant,
    is_slow: bool,
}

/// Ends the commit under way when it is dropped.
pub(super) struct CommitUnderWay<'a>(&'a Watch);

impl Drop for CommitUnderWay<'_> {
    fn drop(&mut self) {
        if let Some(Commit { since, is_slow: true }) = self.0.commit.lock().take() {
            tracing::warn!(took = ?since.elapsed(), "the slow commit has ended");
        }
    }
}

/// Checks until `stop` is dropped.
///
/// If it panics, the log fails. Without the watch, a disk that was full once would count as full forever.
pub(super) fn run(shared: &Shared, stop: &Receiver<()>) {
    let _end = FailOnPanic(shared);
    while stop.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
        shared.watch.look(&shared.metrics);
    }
}

struct FailOnPanic<'a>(&'a Shared);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("the watch of the disk has panicked".into());
        }
    }
}

impl Watch {
    pub(super) fn new(dir: &Path, min_free: u64) -> Self {
        let (is_full, commit) = Default::default();
        Self { dir: dir.into(), min_free, is_full, commit }
    }

    pub(super) fn min_free(&self) -> u64 {
        self.min_free
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Notes a commit under way, until the returned value is dropped.
    pub(super) fn commit_begins(&self) -> CommitUnderWay<'_> {
        *self.commit.lock() = Some(Commit { since: Instant::now(), is_slow: false });
        CommitUnderWay(self)
    }

    pub(super) fn look(&self, metrics: &Metrics) {
        self.look_at_commit(metrics);
        match statvfs(&self.dir) {
            Ok(disk) => {
                // Some systems use narrower integers here.
                #[allow(clippy::useless_conversion, reason = "not everywhere")]
                let free = u64::from(disk.blocks_available()) * u64::from(disk.fragment_size());
                self.note_free(free, metrics);
            }
            // If the disk has a fault, the next commit reports it.
            Err(error) => tracing::debug!(%error, "the free space is not known"),
        }
    }

    fn look_at_commit(&self, metrics: &Metrics) {
        let mut commit = self.commit.lock();
        let Some(Commit { since, is_slow }) = &mut *commit else { return };
        if !*is_slow && since.elapsed() > SLOW {
            *is_slow = true;
            metrics.slow_commits.inc();
            tracing::warn!("a commit is under way for {SLOW:?}: the disk is very slow, or hangs");
        }
    }

    fn note_free(&self, free: u64, metrics: &Metrics) {
        let was_full = self.is_full();
        // The disk counts as full until a quarter more is free, so that the state does not change at every check.
        let wanted =
            if was_full { self.min_free.saturating_add(self.min_free / 4) } else { self.min_free };
        let is_full = free < wanted;
        self.is_full.store(is_full, Ordering::Relaxed);
        metrics.free_bytes.set(i64::try_from(free).unwrap_or(i64::MAX));
        metrics.full.set(is_full.into());
        let (dir, min_free) = (self.dir.display(), self.min_free);
        match (was_full, is_full) {
            (false, true) => tracing::error!(
                %dir, free, min_free, "the disk is full: publishes are refused until there is room"
            ),
            (true, false) => tracing::info!(%dir, free, "the disk has room again"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_fails_is_no_longer_under_way() {
        let watch = Watch::new(Path::new("/"), 0);
        let commit = |fails: bool| {
            let _under_way = watch.commit_begins();
            if fails { Err(()) } else { Ok(()) }
        };
        assert!(commit(true).is_err() && watch.commit.lock().is_none());
    }

    #[test]
    fn a_disk_has_room_again_when_there_is_a_quarter_more() {
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let watch = Watch::new(Path::new("/"), 100);
        for (free, full) in [(100, 0), (99, 1), (124, 1), (125, 0), (100, 0)] {
            watch.note_free(free, &metrics);
            assert_eq!(watch.is_full(), full == 1, "{free}");
            assert_eq!(
                (metrics.free_bytes.get().cast_unsigned(), metrics.full.get()),
                (free, full)
            );
        }
        let unbounded = Watch::new(Path::new("/"), 0);
        unbounded.note_free(0, &metrics);
        assert!(!unbounded.is_full());
    }
}
