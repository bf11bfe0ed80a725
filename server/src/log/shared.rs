//! The state that the handles and the threads of one log share, in particular its failure.

use std::collections::HashMap;

use tokio::sync::SetOnce;

use super::delay::Delay;
use super::metrics::Metrics;
use super::queue::Queue;
use super::retention::{Noted, Retention};
use super::store::Store;
use super::watch::Watch;
use crate::clock::Clock;

/// The log takes no events: it has failed or is closed.
///
/// A queued event may be on disk nevertheless. The next start of the server finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log takes no events at present")]
pub struct Unavailable;

/// Why the log has failed. A log that has failed stays failed until the server starts again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the log failed: {cause}")]
pub struct Failure {
    cause: String,
}

pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) queue: Queue,
    pub(super) metrics: Metrics,
    pub(super) failure: SetOnce<Failure>,
    /// The limits of each class that has any.
    pub(super) retention: HashMap<String, Retention>,
    /// The objects that the next sweep checks.
    pub(super) noted: Noted,
    /// The wait of the writer before each commit.
    pub(super) delay: Delay,
    pub(super) watch: Watch,
    /// See [`Options`](super::Options).
    pub(super) memtable_bytes: Option<u64>,
    pub(super) clock: Clock,
}

impl Shared {
    /// Marks the log as failed, for the rest of this process. After a failed fsync the contents of the disk are unknown, and another
    /// attempt could acknowledge an event that is not there.
    pub(super) fn fail(&self, cause: String) {
        tracing::error!(%cause, "the log failed and takes no more events");
        self.metrics.failed.set(1);
        // Later causes follow from the first one.
        let _ = self.failure.set(Failure { cause });
        self.queue.close();
    }
}
