//! The members that were present when the server ended, of objects that were not opened since.

use std::collections::HashMap;
use std::sync::Arc;

use dormouse_protocol::ObjectName;
use parking_lot::Mutex;

use super::entry::{Data, Seen};
use crate::log::{PresenceChange, PresenceRow};
use crate::object::handle::Handle;
use crate::object::registry;
use crate::session::SessionId;

type Rows = HashMap<ObjectName, Vec<PresenceRow>>;

/// Members of before the start, until their objects are opened or their time is over.
pub(super) struct Restored(Mutex<Rows>);

impl Restored {
    pub(super) fn new(rows: Rows) -> Self {
        Self(Mutex::new(rows))
    }

    /// The greatest number that a member has.
    pub(super) fn last_member(&self) -> Option<u64> {
        self.0.lock().values().flatten().map(|row| row.member).max()
    }
}

impl registry::Shared {
    /// Removes the members of before the start whose objects were not opened within the grace period.
    pub(in crate::object) fn forget_absent(self: &Arc<Self>) {
        if self.presence.restored.0.lock().is_empty() {
            return;
        }
        let shared = self.clone();
        let forget = async move {
            let presence = &shared.presence;
            tokio::select! {
                biased;
                // They stay for the next start.
                () = presence.end.cancelled() => return,
                () = tokio::time::sleep_until(presence.instant(presence.grace())) => {}
            }
            let absent = std::mem::take(&mut *presence.restored.0.lock());
            for (object, rows) in absent {
                let removed = rows.iter().map(|row| row.member).collect();
                shared.log.store_presence(PresenceChange { object, put: Vec::new(), removed });
            }
        };
        self.instances.spawn_on(forget, &self.runtime);
    }
}

impl Handle {
    /// Restores the members of before the start, as lost ones and without a new version.
    pub(in crate::object) fn restore_presence(self: &Arc<Self>) {
        let presence = &self.shared.presence;
        let rows = presence.restored.0.lock().remove(&self.identity.name);
        let Some(rows) = rows else { return };
        let until = presence.grace();
        self.with_roster(|roster| {
            let seen = rows.into_iter().filter_map(|row| {
                let user = SessionId::from_text(&row.user)?;
                Some(Seen {
                    member: row.member,
                    user,
                    data: Data::stored(&row.data, &self.shared.settings.budget),
                })
            });
            roster.restore(seen, until);
            presence.metrics.members.add(roster.members.into());
        });
    }
}
