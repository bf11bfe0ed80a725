//! The mark of a batch that was written while something before it was not yet synced. Lives in `meta`; only its place in the
//! journal counts.
//!
//! A batch without it proves that all before it was on disk when it was written. So after a power loss one can tell what the disk
//! never had from what it has lost: see `journal.rs`.

/// Like no key of another keyspace: an event's has 16 bytes, and the others begin with an object's name, which has a slash.
pub(in crate::log) const KEY: &str = "unsynced";
