//! Pairs of keys and values, besides the events. The log stores them for the layers above and does not know their meaning.

use bytes::Bytes;

use super::ReadError;
use super::store::Store;

/// A set of pairs, sorted by key. The log creates it if it is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyspace {
    /// The members of rosters.
    Presence,
}

impl Keyspace {
    pub(super) const ALL: [Self; 1] = [Self::Presence];

    /// Its name on disk.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Presence => "presence",
        }
    }
}

/// A write to one pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The keyspace of the pair.
    pub keyspace: Keyspace,
    /// The pair's key.
    pub key: Bytes,
    /// The new value; `None` removes the pair.
    pub value: Option<Bytes>,
}

/// The memory of a change besides its bytes, in bytes; an upper estimate.
const OVERHEAD: usize = 128;

impl Change {
    /// Its approximate size in memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        OVERHEAD + self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

impl Store {
    /// All pairs, in the order of their keys.
    pub(super) fn pairs(&self, keyspace: Keyspace) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let pair = |guard: fjall::Guard| {
            let (key, value) = guard.into_inner()?;
            Ok((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)))
        };
        self.keyspaces[keyspace as usize].iter().map(pair).collect()
    }
}
