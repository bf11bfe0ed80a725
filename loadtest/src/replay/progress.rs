//! How far a replay has come: for its members, for the progress bar and for noticing that nothing moves.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// Counts what was acknowledged and delivered.
#[derive(Debug, Default)]
pub struct Progress {
    acknowledged: watch::Sender<u64>,
    newest: AtomicU64,
    delivered: AtomicU64,
    resting: AtomicUsize,
}

/// An agent waits for the recorded time of its next transaction while this lives.
pub(super) struct Rest<'a>(&'a AtomicUsize);

impl Progress {
    /// How many transactions are acknowledged.
    pub fn acknowledged(&self) -> watch::Receiver<u64> {
        self.acknowledged.subscribe()
    }

    /// How many events were delivered, over all members.
    pub(super) fn deliveries(&self) -> u64 {
        self.delivered.load(Relaxed)
    }

    /// The highest offset that was acknowledged.
    pub(super) fn newest(&self) -> u64 {
        self.newest.load(Relaxed)
    }

    pub(super) fn acknowledge(&self, offset: u64) {
        self.newest.fetch_max(offset, Relaxed);
        self.acknowledged.send_modify(|count| *count += 1);
    }

    pub(super) fn delivered(&self, count: u64) {
        self.delivered.fetch_add(count, Relaxed);
    }

    pub(super) fn rest(&self) -> Rest<'_> {
        self.resting.fetch_add(1, Relaxed);
        Rest(&self.resting)
    }

    /// Returns when nothing was acknowledged or delivered for so long, although no agent rests.
    pub(super) async fn stalled(&self, patience: Duration) {
        let mut last = (0, 0);
        let mut since = Instant::now();
        while since.elapsed() < patience {
            sleep(patience / 50).await;
            let now = (*self.acknowledged.borrow(), self.deliveries());
            if now != last || self.resting.load(Relaxed) > 0 {
                last = now;
                since = Instant::now();
            }
        }
    }
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
