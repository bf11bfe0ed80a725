//! What the handles, the writer and the retention thread of one log have in common, its failure above all.

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
/// An event that was queued may be on disk nevertheless; the next start of the server tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log takes no events at present")]
pub struct Unavailable;

/// Why the log has failed. It stays so until the server is started again.
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
    /// What the next sweep looks at.
    pub(super) noted: Noted,
    /// What the writer waits before each commit.
    pub(super) delay: Delay,
    pub(super) watch: Watch,
    /// See [`Options`](super::Options).
    pub(super) memtable_bytes: Option<u64>,
    pub(super) clock: Clock,
}

impl Shared {
    /// Marks the log as failed, for good: after a failed fsync nobody knows what is on disk, and trying again could
    /// acknowledge what is not.
    pub(super) fn fail(&self, cause: String) {
        tracing::error!(%cause, "the log failed and takes no more events");
        self.metrics.failed.set(1);
        // The first cause is the one that matters: the later ones follow from it.
        let _ = self.failure.set(Failure { cause });
        self.queue.close();
    }
}
