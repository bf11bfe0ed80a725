//! What may happen thousands of times a second and is told in the log once in a while; the metrics tell how often it was.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

const PAUSE: Duration = Duration::from_secs(10);

/// When it was told last.
#[derive(Default)]
pub(super) struct LogThrottle(Mutex<Option<Instant>>);

impl LogThrottle {
    /// Whether it is to be told again; if so, it counts as told.
    pub(super) fn is_due(&self) -> bool {
        let mut told = self.0.lock();
        let is_due = told.is_none_or(|told| told.elapsed() >= PAUSE);
        if is_due {
            *told = Some(Instant::now());
        }
        is_due
    }
}
