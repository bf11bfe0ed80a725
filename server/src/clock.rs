//! The time of day, for what is stored; deadlines use monotonic clocks.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch; 0 where the clock stands before it.
pub fn now_ms() -> u64 {
    #[cfg(test)]
    if let Some(now) = crate::simulated::now_ms() {
        return now;
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The system's clock stands before the Unix epoch, where dates of HTTP and of the database's files do not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system's clock stands before 1970: set it, and start the server again")]
pub struct BeforeEpoch;

/// Looks whether the system's clock stands after the Unix epoch.
pub(crate) fn check() -> Result<(), BeforeEpoch> {
    SystemTime::now().duration_since(UNIX_EPOCH).map(drop).map_err(|_| BeforeEpoch)
}
