//! What is stored, a file for each kind of key: this folder is the schema of format 1.
//!
//! | keyspace | key | value | lives |
//! |---|---|---|---|
//! | `meta` | `format` | format version, u32 | for ever |
//! | `meta` | `next_id` | an id beyond all stored objects', u64 | from the first object, for ever |
//! | `meta` | `unsynced` | nothing: [`unsynced`] marks a batch in the journal | from the first such batch |
//! | `objects` | object name | [`object::Record`] | from the object's first event, for ever |
//! | `events` | object id u64, offset u64 | [`Entry`](super::Entry) | until retention trims it |
//! | a [`Keyspace`](super::Keyspace) | of the layer above | of the layer above | until that layer removes it |
//!
//! The keyspace `presence` and `unsynced` came later. They are made where they are missing, and a program that doesn't know them leaves them
//! alone, so the format is the same: rosters left behind are those of members that were lost.
//!
//! Numbers in keys and values are big-endian.

pub(super) mod event;
pub(super) mod format;
pub(super) mod next_id;
pub(super) mod object;
pub(super) mod unsynced;
