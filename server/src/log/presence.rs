//! Rosters on disk: each change is stored when it is sent to members, and all rosters are read once, when the log opens.
//!
//! Rosters are not promised to be durable. They cause no fsync of their own and become durable with the next commit of events.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use dormouse_protocol::ObjectName;

use super::keys::presence;
use super::store::Store;

/// A member in a roster, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceRow {
    /// Its number.
    pub member: u64,
    /// The user of its connection.
    pub user: Box<str>,
    /// Its presence: a payload in its `MessagePack` form.
    pub data: Bytes,
}

/// What has changed in an object's roster.
#[derive(Debug)]
pub struct PresenceChange {
    /// The object.
    pub object: ObjectName,
    /// Members that joined, or whose presence changed.
    pub put: Vec<PresenceRow>,
    /// Members that left.
    pub removed: Vec<u64>,
}

impl PresenceChange {
    /// Its approximate size in memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        const ROW: usize = 128;
        let data: usize = self.put.iter().map(|row| row.data.len()).sum();
        data + ROW * (1 + self.put.len() + self.removed.len())
    }
}

impl Store {
    /// All rosters. Removes rows that cannot be read: they must not keep the server from starting.
    pub(super) fn read_presence(
        &self,
    ) -> Result<HashMap<ObjectName, Vec<PresenceRow>>, fjall::Error> {
        let mut rosters: HashMap<_, Vec<_>> = HashMap::new();
        for guard in self.presence.iter() {
            let (key, value) = guard.into_inner()?;
            let row = presence::decode_key(&key)
                .and_then(|(object, member)| Some((object, presence::decode(member, &value)?)));
            if let Some((object, row)) = row {
                rosters.entry(object).or_default().push(row);
            } else {
                tracing::warn!("a stored member of a roster cannot be read and is removed");
                self.presence.remove(key)?;
                self.unsynced.store(true, Ordering::Relaxed);
            }
        }
        Ok(rosters)
    }
}
