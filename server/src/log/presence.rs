//! Who is present, over restarts: rosters are stored as they are told, and read once, when the log is opened.
//!
//! Nobody is promised that they are on disk, so nothing waits for them and no fsync is made for them: they are durable
//! with the next commit of events.

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
    /// Whose connection it is.
    pub user: Box<str>,
    /// What it says of itself: a payload in its `MessagePack` form.
    pub data: Bytes,
}

/// What has changed in an object's roster.
#[derive(Debug)]
pub struct PresenceChange {
    /// Whose roster.
    pub object: ObjectName,
    /// Members that came, or say something else of themselves.
    pub put: Vec<PresenceRow>,
    /// Members that went.
    pub removed: Vec<u64>,
}

impl PresenceChange {
    /// What it has in memory, about.
    pub(super) fn bytes(&self) -> usize {
        const ROW: usize = 128;
        let data: usize = self.put.iter().map(|row| row.data.len()).sum();
        data + ROW * (1 + self.put.len() + self.removed.len())
    }
}

impl Store {
    /// All rosters. What can't be read is removed: it is worth no failed start.
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
                tracing::warn!("a stored member of a roster can't be read and is forgotten");
                self.presence.remove(key)?;
                self.unsynced.store(true, Ordering::Relaxed);
            }
        }
        Ok(rosters)
    }
}
