//! The time of day, for what is stored; deadlines use monotonic clocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// A source of the time of day. Clones are the same clock. The default is the system's.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<AtomicU64>>);

/// The system's clock stands before the Unix epoch, where dates of HTTP and of the database's files do not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system's clock stands before 1970: set it, and start the server again")]
pub struct BeforeEpoch;

impl Clock {
    /// A clock that stands still until it is set.
    pub fn manual(now_ms: u64) -> Self {
        Self(Some(Arc::new(AtomicU64::new(now_ms))))
    }

    /// Sets a manual clock; the system's is left alone.
    pub fn set(&self, now_ms: u64) {
        if let Some(manual) = &self.0 {
            manual.store(now_ms, Relaxed);
        }
    }

    /// Milliseconds since the Unix epoch; 0 where the system's clock stands before it.
    pub fn now_ms(&self) -> u64 {
        if let Some(manual) = &self.0 {
            return manual.load(Relaxed);
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Looks whether the system's clock stands after the Unix epoch.
pub(crate) fn check() -> Result<(), BeforeEpoch> {
    SystemTime::now().duration_since(UNIX_EPOCH).map(drop).map_err(|_| BeforeEpoch)
}
