//! The log: every object's events on disk, in order, committed in groups.
//!
//! Owns the fjall database and the only thread that writes to it. Readers use snapshots and never wait for the
//! writer. Knows no socket, no class and no roster: an object is here its identity and the end of its log, and everything else that
//! is stored is pairs of bytes.

mod blocking;
mod delay;
mod entry;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod handle;
mod identity;
mod inspect;
mod keys;
mod metrics;
mod open;
mod pairs;
mod queue;
mod read;
mod retention;
mod shared;
mod store;
mod trim;
mod watch;
mod writer;

#[cfg(test)]
mod tests;

pub use blocking::{Job, ReadPool, Reading};
pub use entry::{Entry, MAX_NUMBER, Tail};
#[cfg(any(test, fuzzing))]
pub use fuzz::storage;
pub use handle::{Log, Options};
pub use identity::{Identity, ObjectId};
pub use metrics::Metrics;
pub use open::OpenError;
pub use pairs::{Change, Keyspace};
pub use queue::Append;
pub use read::{HistoryRange, Page, PageLimit, ReadError, Stored};
pub use retention::Retention;
pub use shared::{Failure, Unavailable};
#[cfg(test)]
pub(crate) use writer::stepped;
