//! The roster as one member that watches has been told it, and whether each change follows from the last. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use dormouse_protocol::{Presence, Roster, Watch};

/// Who is here, by the members' numbers.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// It is told only how many are here.
    counts: bool,
    version: Option<u64>,
    users: BTreeMap<u64, Box<str>>,
}

impl Watched {
    /// Of a member that nothing was told yet.
    pub(super) fn new(watch: Watch) -> Self {
        Self { counts: watch == Watch::Count, ..Self::default() }
    }

    /// A roster that answers no request: it replaces the one before, or tells what has changed since.
    pub(super) fn roster(&mut self, roster: &Roster) -> Result<()> {
        ensure!(!roster.more || self.counts, "a roster of more than a page");
        ensure!(
            self.version.is_none_or(|version| version <= roster.version),
            "version {} after {:?}",
            roster.version,
            self.version
        );
        match roster.since {
            Some(since) => ensure!(self.version == Some(since), "changes since another version"),
            None => self.users.clear(),
        }
        for left in &roster.left {
            self.users.remove(left);
        }
        self.users.extend(roster.present.iter().map(|here| (here.member, here.user.clone())));
        self.version = Some(roster.version);
        self.count(roster.members, roster.users)
    }

    /// Changes.
    pub(super) fn presence(&mut self, presence: &Presence) -> Result<()> {
        let Presence { version, members, users, join, update, leave, .. } = presence;
        ensure!(
            self.version.is_some_and(|before| before + 1 == *version),
            "version {version} after {:?}",
            self.version
        );
        self.version = Some(*version);
        let before = self.distinct();
        for left in leave {
            let known = self.users.remove(&left.member);
            ensure!(known.as_ref() == Some(&left.user), "{} left and was not here", left.member);
        }
        for update in update {
            ensure!(self.users.contains_key(&update.member), "an update of {}", update.member);
        }
        for came in join {
            let known = self.users.insert(came.member, came.user.clone());
            ensure!(known.is_none(), "{} came and was here", came.member);
        }
        let after = self.distinct();
        let first = join.iter().filter(|came| came.first).map(|came| came.user.clone());
        let last = leave.iter().filter(|left| left.last).map(|left| left.user.clone());
        ensure!(first.eq_set(after.difference(&before)), "who is first: {presence:?}");
        ensure!(last.eq_set(before.difference(&after)), "who was last: {presence:?}");
        self.count(*members, *users)
    }

    fn distinct(&self) -> BTreeSet<Box<str>> {
        self.users.values().cloned().collect()
    }

    fn count(&self, members: u32, users: u32) -> Result<()> {
        if self.counts {
            ensure!(self.users.is_empty(), "names, where only counts were asked for");
            return Ok(());
        }
        let (known, distinct) = (self.users.len(), self.distinct().len());
        ensure!(
            known == members as usize && distinct == users as usize,
            "{members} members and {users} users are told, and {known} and {distinct} are known"
        );
        Ok(())
    }
}

trait EqSet: Iterator<Item = Box<str>> + Sized {
    /// Each once, in any order.
    fn eq_set<'a>(self, expected: impl Iterator<Item = &'a Box<str>>) -> bool {
        let mut told = self.collect::<Vec<_>>();
        told.sort_unstable();
        told.iter().eq(expected)
    }
}

impl<I: Iterator<Item = Box<str>>> EqSet for I {}

#[cfg(test)]
mod tests {
    use dormouse_protocol::{Arrival, Departure, Payload, Present, Update};

    use super::*;

    fn nothing() -> Payload {
        Payload::of(&0).unwrap()
    }

    fn here(member: u64, user: &str) -> Present {
        Present { member, user: user.into(), data: nothing() }
    }

    fn roster(version: u64, present: Vec<Present>, users: u32) -> Roster {
        let members = present.len() as u32;
        let (id, since, left) = (None, None, Vec::new());
        Roster { id, object: 1, version, members, users, since, present, left, more: false }
    }

    fn change(version: u64, members: u32, users: u32) -> Presence {
        let (join, update, leave) = Default::default();
        Presence { object: 1, version, members, users, join, update, leave }
    }

    fn came(member: u64, user: &str, first: bool) -> Arrival {
        Arrival { member, user: user.into(), data: nothing(), first }
    }

    fn left(member: u64, user: &str, last: bool) -> Departure {
        Departure { member, user: user.into(), last }
    }

    /// Whether a change follows from a roster of a, with two members, and b.
    fn follows(change: &Presence) -> bool {
        let mut watched = Watched::new(Watch::Roster);
        let present = vec![here(1, "a"), here(2, "a"), here(3, "b")];
        watched.roster(&roster(10, present, 2)).unwrap();
        watched.presence(change).is_ok()
    }

    #[test]
    fn each_change_follows_from_the_version_before() {
        assert!(follows(&change(11, 3, 2)));
        assert!(!follows(&change(12, 3, 2)), "one was missed");
        assert!(!follows(&change(10, 3, 2)));
        assert!(!follows(&change(11, 4, 2)), "a member nobody knows");
        let update = vec![Update { member: 3, data: nothing() }];
        assert!(follows(&Presence { update, ..change(11, 3, 2) }));
        let update = vec![Update { member: 4, data: nothing() }];
        assert!(!follows(&Presence { update, ..change(11, 3, 2) }));
    }

    #[test]
    fn the_first_and_the_last_of_a_user_are_told() {
        for (join, members, users, is_right) in [
            (came(4, "c", true), 4, 3, true),
            (came(4, "c", false), 4, 3, false),
            (came(4, "a", false), 4, 2, true),
            (came(4, "a", true), 4, 2, false),
            (came(3, "b", false), 3, 2, false),
        ] {
            let change = Presence { join: vec![join], ..change(11, members, users) };
            assert_eq!(follows(&change), is_right, "{change:?}");
        }
        for (leave, members, users, is_right) in [
            (left(3, "b", true), 2, 1, true),
            (left(3, "b", false), 2, 1, false),
            (left(1, "a", false), 2, 2, true),
            (left(1, "a", true), 2, 2, false),
            (left(4, "a", false), 3, 2, false),
        ] {
            let change = Presence { leave: vec![leave], ..change(11, members, users) };
            assert_eq!(follows(&change), is_right, "{change:?}");
        }
        // Who goes and comes at once was here and is here.
        let (join, leave) = (vec![came(4, "b", false)], vec![left(3, "b", false)]);
        assert!(follows(&Presence { join, leave, ..change(11, 3, 2) }));
    }

    #[test]
    fn a_whole_roster_replaces_and_a_later_one_adds() {
        let mut watched = Watched::new(Watch::Roster);
        watched.roster(&roster(10, vec![here(1, "a"), here(2, "b")], 2)).unwrap();
        watched.roster(&roster(20, vec![here(3, "c")], 1)).unwrap();
        let since = |since| Roster {
            since: Some(since),
            left: vec![3],
            ..roster(22, vec![here(4, "d")], 1)
        };
        assert!(watched.roster(&since(19)).is_err(), "from a version that is not ours");
        watched.roster(&since(20)).unwrap();
        watched.presence(&change(23, 1, 1)).unwrap();
        assert!(watched.roster(&roster(9, Vec::new(), 0)).is_err(), "versions only grow");
    }

    #[test]
    fn counts_come_without_names() {
        let mut watched = Watched::new(Watch::Count);
        let counts = Roster { members: 5, users: 4, more: true, ..roster(10, Vec::new(), 4) };
        watched.roster(&counts).unwrap();
        watched.presence(&change(11, 7, 6)).unwrap();
        assert!(watched.presence(&change(13, 7, 6)).is_err());
        assert!(watched.roster(&roster(14, vec![here(1, "a")], 1)).is_err());
    }
}
