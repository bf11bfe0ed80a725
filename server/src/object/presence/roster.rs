//! The roster: the members of an object as last published, and the changes since then.
//!
//! Pure: the caller passes in time and bounds. A flush publishes the changes (`flush.rs`). A read (`page.rs`) returns the last
//! published version, so all watchers see the same versions with the same content.

use std::collections::{BTreeMap, HashSet};

use super::entry::{Data, Entry, Holder, Millis, Owner, Seen, State};

/// The roster has reached its member limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the roster holds as many members as it may")]
pub struct RosterFull;

/// The members of one object.
pub(super) struct Roster {
    /// Grows by one with every flush.
    pub(super) version: u64,
    /// The oldest version from which changes can be listed.
    pub(super) floor: u64,
    /// Sorted by member number.
    pub(super) entries: Vec<Entry>,
    /// New data of published members, not yet flushed.
    pub(super) updates: BTreeMap<u64, Data>,
    /// Members as last published.
    pub(super) members: u32,
    /// Users as last published.
    pub(super) users: u32,
    /// Entries that are not yet published.
    pub(super) unpublished: u32,
    pub(super) leaving: u32,
    lost: u32,
    /// No lost member expires before this time.
    soonest: Millis,
}

/// The outcome of [`Roster::present`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Presented {
    pub(super) member: u64,
    /// A lost member came back.
    pub(super) returned: bool,
}

impl Roster {
    /// An empty roster.
    pub(super) fn new(version: u64) -> Self {
        Self {
            version,
            floor: version,
            entries: Vec::new(),
            updates: BTreeMap::new(),
            members: 0,
            users: 0,
            unpublished: 0,
            leaving: 0,
            lost: 0,
            soonest: Millis::MAX,
        }
    }

    /// Whether there is no member and no pending change.
    pub(super) fn is_empty(&self) -> bool {
        self.members == 0 && self.unpublished == 0
    }

    pub(super) fn has_changes(&self) -> bool {
        self.unpublished > 0 || self.leaving > 0 || !self.updates.is_empty()
    }

    /// When the next lost member may have to leave.
    pub(super) fn next_expiry(&self) -> Option<Millis> {
        (self.lost > 0).then_some(self.soonest)
    }

    /// Gives a connection an entry: the `asked` one if it belongs to `owner`; else a lost one of the owner, if the owner has no
    /// connected member; else a new one, if there are fewer than `max`. So a second tab of a session does not take the entry that the
    /// first may resume. An entry that a later connection holds stays with that connection.
    pub(super) fn present(
        &mut self,
        asked: Option<u64>,
        member: u64,
        owner: Owner,
        holder: Holder,
        data: Data,
        max: usize,
    ) -> Result<Presented, RosterFull> {
        let asked = asked.and_then(|asked| self.find_of(asked, &owner));
        let Some(at) = asked.or_else(|| self.lost_of(&owner)) else {
            self.insert(member, owner, holder, data, max)?;
            return Ok(Presented { member, returned: false });
        };
        if matches!(self.entries[at].state, State::Held(other) if other > holder) {
            // A newer connection of the client arrived first; it keeps the entry.
            return Ok(Presented { member: self.entries[at].member, returned: false });
        }
        let was = self.hold(at, holder, max)?;
        self.say(at, data);
        let returned = matches!(was, State::Lost(_));
        Ok(Presented { member: self.entries[at].member, returned })
    }

    /// Changes a member's data, or removes the member. An absent member is added under its number.
    /// A member that another connection holds does not change.
    pub(super) fn update(
        &mut self,
        member: u64,
        owner: Owner,
        holder: Holder,
        data: Option<Data>,
        max: usize,
    ) -> Result<(), RosterFull> {
        let Some(data) = data else {
            self.leave(member, holder);
            return Ok(());
        };
        let Ok(at) = self.find(member) else {
            return self.insert(member, owner, holder, data, max);
        };
        let entry = &self.entries[at];
        if entry.owner.session != owner.session {
            return Ok(());
        }
        match entry.state {
            State::Held(other) if other == holder => self.say(at, data),
            State::Held(_) | State::Lost(_) => {}
            State::Leaving => {
                self.hold(at, holder, max)?;
                self.say(at, data);
            }
            State::Gone => self.insert(member, owner, holder, data, max)?,
        }
        Ok(())
    }

    /// Removes a member; returns whether `holder` held it.
    pub(super) fn leave(&mut self, member: u64, holder: Holder) -> bool {
        let Some(at) = self.held(member, holder) else { return false };
        if self.entries[at].is_published() {
            self.set(at, State::Leaving);
            self.updates.remove(&member);
        } else {
            self.entries.remove(at);
            self.unpublished -= 1;
        }
        true
    }

    /// Marks a member lost until `until`; returns whether `holder` held it.
    pub(super) fn lose(&mut self, member: u64, holder: Holder, until: Millis) -> bool {
        let Some(at) = self.held(member, holder) else { return false };
        self.set(at, State::Lost(until));
        self.soonest = self.soonest.min(until);
        true
    }

    /// Adds the members stored before a restart, as published and lost.
    pub(super) fn restore(&mut self, seen: impl Iterator<Item = Seen>, until: Millis) {
        for Seen { member, owner, data } in seen {
            let Err(at) = self.find(member) else { continue };
            let state = State::Lost(until);
            self.entries.insert(at, Entry { member, changed: self.version, data, state, owner });
        }
        let users: HashSet<_> = self.entries.iter().map(|entry| entry.owner.person()).collect();
        self.users = users.len() as u32;
        self.members = self.entries.len() as u32;
        self.lost = self.members;
        self.soonest = until;
    }

    /// Removes lost members whose deadline has passed.
    pub(super) fn expire(&mut self, now: Millis) {
        if self.next_expiry().is_none_or(|soonest| soonest > now) {
            return;
        }
        self.soonest = Millis::MAX;
        let (mut over, mut unpublished) = (0, 0);
        self.entries.retain_mut(|entry| match entry.state {
            State::Lost(until) if until <= now => {
                over += 1;
                if !entry.is_published() {
                    unpublished += 1;
                    return false;
                }
                entry.state = State::Leaving;
                self.updates.remove(&entry.member);
                true
            }
            State::Lost(until) => {
                self.soonest = self.soonest.min(until);
                true
            }
            _ => true,
        });
        self.lost -= over;
        self.unpublished -= unpublished;
        self.leaving += over - unpublished;
    }

    pub(super) fn find(&self, member: u64) -> Result<usize, usize> {
        // Fast path: numbers grow, so most lookups are for a new member.
        if self.entries.last().is_none_or(|last| last.member < member) {
            return Err(self.entries.len());
        }
        self.entries.binary_search_by_key(&member, |entry| entry.member)
    }

    fn find_of(&self, member: u64, owner: &Owner) -> Option<usize> {
        let at = self.find(member).ok()?;
        let entry = &self.entries[at];
        (entry.owner == *owner && entry.state != State::Gone).then_some(at)
    }

    fn lost_of(&self, owner: &Owner) -> Option<usize> {
        if self.lost == 0 {
            return None;
        }
        let mut lost = None;
        let own = self.entries.iter().enumerate().filter(|(_, entry)| entry.owner == *owner);
        for (at, entry) in own {
            match entry.state {
                State::Held(_) => return None,
                State::Lost(_) => lost = lost.or(Some(at)),
                State::Leaving | State::Gone => {}
            }
        }
        lost
    }

    fn held(&self, member: u64, holder: Holder) -> Option<usize> {
        let at = self.find(member).ok()?;
        (self.entries[at].state == State::Held(holder)).then_some(at)
    }

    /// Members present now, published or not.
    fn present_count(&self) -> usize {
        (self.members + self.unpublished - self.leaving) as usize
    }

    fn insert(
        &mut self,
        member: u64,
        owner: Owner,
        holder: Holder,
        data: Data,
        max: usize,
    ) -> Result<(), RosterFull> {
        if self.present_count() >= max {
            return Err(RosterFull);
        }
        let entry = Entry { member, changed: 0, data, state: State::Held(holder), owner };
        match self.find(member) {
            Ok(gone) => {
                // The departure is overwritten: a reader that asks for changes from before it gets the whole roster.
                self.floor = self.version;
                self.entries[gone] = entry;
            }
            Err(at) => {
                if self.entries.len() == self.entries.capacity() {
                    self.entries.reserve_exact(self.entries.len() / 2 + 1);
                }
                self.entries.insert(at, entry);
            }
        }
        self.unpublished += 1;
        Ok(())
    }

    /// Makes the connection the holder; returns the previous state.
    fn hold(&mut self, at: usize, holder: Holder, max: usize) -> Result<State, RosterFull> {
        let was = self.entries[at].state;
        if was == State::Leaving && self.present_count() >= max {
            return Err(RosterFull);
        }
        self.set(at, State::Held(holder));
        Ok(was)
    }

    fn set(&mut self, at: usize, state: State) {
        let was = std::mem::replace(&mut self.entries[at].state, state);
        let is_lost = |state| u32::from(matches!(state, State::Lost(_)));
        let is_leaving = |state| u32::from(state == State::Leaving);
        self.lost = self.lost + is_lost(state) - is_lost(was);
        self.leaving = self.leaving + is_leaving(state) - is_leaving(was);
    }

    fn say(&mut self, at: usize, data: Data) {
        let entry = &mut self.entries[at];
        if !entry.is_published() {
            entry.data = data;
        } else if entry.data == data {
            self.updates.remove(&entry.member);
        } else {
            self.updates.insert(entry.member, data);
        }
    }
}
