//! A flush: publishes all changes since the last flush as one version.

use std::collections::HashMap;

use super::entry::{Data, Owner, Person, Seen, State};
use super::roster::Roster;

/// Departures that a roster of any size keeps for reads of changes.
const DEPARTURES: usize = 4;

/// The changes from the previous version to this one.
#[derive(Debug)]
pub(super) struct Delta {
    pub(super) version: u64,
    pub(super) members: u32,
    pub(super) users: u32,
    pub(super) join: Vec<Arrival>,
    pub(super) update: Vec<Seen>,
    pub(super) leave: Vec<Departure>,
}

#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) seen: Seen,
    /// The user had no member before.
    pub(super) first: bool,
}

#[derive(Debug)]
pub(super) struct Departure {
    pub(super) member: u64,
    pub(super) owner: Owner,
    /// The user has no member left.
    pub(super) last: bool,
}

/// Counts of a user's members in one flush.
#[derive(Default)]
struct Touched {
    before: u32,
    joins: u32,
    leaves: u32,
}

impl Touched {
    fn after(&self) -> u32 {
        self.before + self.joins - self.leaves
    }
}

impl Roster {
    /// Publishes all pending changes as the next version; `None` if there are none.
    pub(super) fn flush(&mut self) -> Option<Delta> {
        if !self.has_changes() {
            return None;
        }
        self.version += 1;
        let users = self.touched_users();
        for touched in users.values() {
            let (before, after) = (touched.before > 0, touched.after() > 0);
            self.users = self.users + u32::from(after) - u32::from(before);
        }
        self.members = self.members + self.unpublished - self.leaving;
        let mut delta = Delta {
            version: self.version,
            members: self.members,
            users: self.users,
            join: Vec::with_capacity(self.unpublished as usize),
            update: Vec::with_capacity(self.updates.len()),
            leave: Vec::with_capacity(self.leaving as usize),
        };
        let mut updates = std::mem::take(&mut self.updates).into_iter().peekable();
        for entry in &mut self.entries {
            // Only present, published members have updates, so none is skipped.
            let update = updates.next_if(|(member, _)| *member == entry.member);
            if !entry.is_published() {
                entry.changed = self.version;
                delta.join.push(Arrival { seen: entry.seen(), first: false });
            } else if entry.state == State::Leaving {
                entry.changed = self.version;
                entry.state = State::Gone;
                entry.data = Data::default();
                let (member, owner) = (entry.member, entry.owner.clone());
                delta.leave.push(Departure { member, owner, last: false });
            } else if let Some((_, data)) = update {
                entry.changed = self.version;
                entry.data = data;
                delta.update.push(entry.seen());
            }
        }
        (self.unpublished, self.leaving) = (0, 0);
        mark(&mut delta, users);
        if !delta.leave.is_empty() {
            self.forget_departures();
        }
        Some(delta)
    }

    /// The users with members that join or leave in this flush.
    fn touched_users(&self) -> HashMap<Person, Touched> {
        let mut users: HashMap<_, Touched> = HashMap::new();
        if self.unpublished + self.leaving == 0 {
            return users;
        }
        for entry in &self.entries {
            if !entry.is_published() {
                users.entry(entry.owner.person()).or_default().joins += 1;
            } else if entry.state == State::Leaving {
                users.entry(entry.owner.person()).or_default().leaves += 1;
            }
        }
        for entry in self.entries.iter().filter(|entry| entry.is_seen()) {
            if let Some(touched) = users.get_mut(&entry.owner.person()) {
                touched.before += 1;
            }
        }
        users
    }

    /// Keeps only the newest departures, and no more memory than the roster needs.
    fn forget_departures(&mut self) {
        let most = DEPARTURES.max(self.members as usize / 4);
        let gone = self.entries.iter().filter(|entry| entry.state == State::Gone);
        let mut versions: Vec<_> = gone.map(|entry| entry.changed).collect();
        if versions.len() > most {
            let surplus = versions.len() - most;
            let (_, floor, _) = versions.select_nth_unstable(surplus - 1);
            self.floor = self.floor.max(*floor);
            let floor = self.floor;
            self.entries.retain(|entry| entry.state != State::Gone || entry.changed > floor);
        }
        if self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() / 2 * 3);
        }
    }
}

/// Marks each user's first arrival and last departure.
fn mark(delta: &mut Delta, mut users: HashMap<Person, Touched>) {
    for arrival in &mut delta.join {
        if let Some(touched) = users.get_mut(&arrival.seen.owner.person()) {
            arrival.first = touched.before == 0;
            // A further arrival in the same flush is not the first.
            touched.before += 1;
        }
    }
    for departure in &mut delta.leave {
        if let Some(touched) = users.get_mut(&departure.owner.person()) {
            touched.before -= 1;
            departure.last = touched.before == 0;
        }
    }
}
