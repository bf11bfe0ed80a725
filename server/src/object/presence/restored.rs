//! Members stored before the last stop, of objects that are not yet opened.

use std::collections::HashMap;
use std::sync::Arc;

use dormouse_protocol::ObjectName;
use parking_lot::Mutex;

use super::entry::{Data, Seen};
use super::stored::{self, Row, StoredRosters};
use crate::object::handle::Handle;
use crate::object::registry;

type Rows = HashMap<ObjectName, Vec<Row>>;

/// Members stored before the start, until their object opens or the grace period ends.
pub(super) struct Restored(Mutex<Rows>);

impl Restored {
    pub(super) fn new(rosters: StoredRosters) -> Self {
        Self(Mutex::new(rosters.0))
    }

    /// The greatest number that a member has.
    pub(super) fn last_member(&self) -> Option<u64> {
        self.0.lock().values().flatten().map(|row| row.member).max()
    }
}

impl registry::Shared {
    /// Removes restored members whose object does not open within the grace period.
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
                let removals = rows.iter().map(|row| stored::remove(&object, row.member));
                presence.store(&shared.log, removals.collect());
            }
        };
        self.instances.spawn_on(forget, &self.runtime);
    }
}

impl Handle {
    /// Restores the members stored before the start as lost, without delivering them.
    pub(in crate::object) fn restore_presence(self: &Arc<Self>) {
        let presence = &self.shared.presence;
        let rows = presence.restored.0.lock().remove(&self.identity.name);
        let Some(rows) = rows else { return };
        let until = presence.grace();
        self.with_roster(|roster| {
            let seen = rows.into_iter().map(|Row { member, owner, data }| {
                let data = Data::stored(&data, &self.shared.settings.budget);
                Seen { member, owner, data }
            });
            roster.restore(seen, until);
            presence.metrics.members.add(roster.members.into());
        });
    }
}
