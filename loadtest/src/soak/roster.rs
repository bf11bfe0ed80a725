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
