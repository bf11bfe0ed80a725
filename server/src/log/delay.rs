//! A wait before every commit, to rehearse a slow disk.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// How long the writer waits before a commit; zero unless it is set.
#[derive(Default)]
pub(super) struct Delay {
    time: Mutex<Duration>,
    changed: Condvar,
}

impl Delay {
    /// Changes the wait, the one under way too.
    pub(super) fn set(&self, time: Duration) {
        *self.time.lock() = time;
        self.changed.notify_all();
    }

    /// Waits.
    pub(super) fn pass(&self) {
        let began = Instant::now();
        let mut time = self.time.lock();
        while let Some(left) = time.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
            self.changed.wait_for(&mut time, left);
        }
    }
}
