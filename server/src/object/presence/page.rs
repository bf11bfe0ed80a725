//! Reads the last published roster: its members in pages, or the changes since a version.

use super::entry::{Entry, Seen, State};
use super::roster::Roster;

/// Bytes of member data in one page. A page holds at least one member of any size.
const PAGE_BYTES: usize = 128 * 1024;
/// Most bytes in a page, including the overhead of the member list.
pub(super) const MOST_BYTES: usize = 192 * 1024;

/// The part of a roster to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RosterRange {
    /// Only what has changed since this version, if the roster still knows it and it fits one page.
    pub(super) since: Option<u64>,
    /// Otherwise the members after this one.
    pub(super) after: Option<u64>,
    /// At most so many; with 0 only the counts.
    pub(super) limit: usize,
}

/// A part of a roster.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RosterPage {
    pub(super) version: u64,
    pub(super) members: u32,
    pub(super) users: u32,
    pub(super) since: Option<u64>,
    pub(super) present: Vec<Seen>,
    pub(super) left: Vec<u64>,
    pub(super) more: bool,
}

impl RosterPage {
    /// The roster of an object without members.
    pub(super) fn empty(version: u64) -> Self {
        let (present, left) = (Vec::new(), Vec::new());
        Self { version, members: 0, users: 0, since: None, present, left, more: false }
    }
}

impl Roster {
    /// Reads the last published version.
    pub(super) fn page(&self, range: RosterRange) -> RosterPage {
        let changes = range.since.and_then(|since| self.changes(since, range.limit));
        changes.unwrap_or_else(|| self.members_after(range.after, range.limit))
    }

    fn members_after(&self, after: Option<u64>, limit: usize) -> RosterPage {
        let start =
            after.map_or(0, |after| self.entries.partition_point(|entry| entry.member <= after));
        let mut seen = self.entries[start..].iter().filter(|entry| entry.is_seen()).peekable();
        let (mut present, mut bytes) = (Vec::new(), 0);
        while present.len() < limit
            && let Some(entry) = seen.next_if(|entry| {
                bytes += entry.data.bytes().len() + entry.owner.name_bytes();
                present.is_empty() || bytes <= PAGE_BYTES
            })
        {
            present.push(entry.seen());
        }
        let more = seen.peek().is_some();
        RosterPage { present, more, ..self.counts() }
    }

    /// `None` if the changes are no longer known or do not fit one page.
    pub(super) fn changes(&self, since: u64, limit: usize) -> Option<RosterPage> {
        if limit == 0 || !(self.floor..=self.version).contains(&since) {
            return None;
        }
        let (mut present, mut left, mut bytes) = (Vec::new(), Vec::new(), 0);
        let changed = |entry: &&Entry| entry.is_published() && entry.changed > since;
        for entry in self.entries.iter().filter(changed) {
            bytes += entry.data.bytes().len() + entry.owner.name_bytes();
            if entry.state == State::Gone {
                left.push(entry.member);
            } else {
                present.push(entry.seen());
            }
            if present.len() + left.len() > limit || bytes > PAGE_BYTES {
                return None;
            }
        }
        Some(RosterPage { since: Some(since), present, left, ..self.counts() })
    }

    fn counts(&self) -> RosterPage {
        RosterPage { members: self.members, users: self.users, ..RosterPage::empty(self.version) }
    }
}
