//! Reading a roster: as it was told last, whole in pages, or what has changed.

use super::entry::{Entry, Seen, State};
use super::roster::Roster;

/// Bytes of what members say of themselves in one page. One member is given however large it is.
const PAGE_BYTES: usize = 128 * 1024;
/// The most that a page holds, with what a list of members adds to it.
pub(super) const MOST_BYTES: usize = 192 * 1024;

/// What is wanted of a roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    /// Only what has changed since this version, if it can be told and fits one page.
    pub(super) since: Option<u64>,
    /// Otherwise the members after this one.
    pub(super) after: Option<u64>,
    /// At most so many; with 0 only the counts.
    pub(super) limit: usize,
}

/// A part of a roster.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) version: u64,
    pub(super) members: u32,
    pub(super) users: u32,
    pub(super) since: Option<u64>,
    pub(super) present: Vec<Seen>,
    pub(super) left: Vec<u64>,
    pub(super) more: bool,
}

impl Page {
    /// A roster without members.
    pub(super) fn empty(version: u64) -> Self {
        let (present, left) = (Vec::new(), Vec::new());
        Self { version, members: 0, users: 0, since: None, present, left, more: false }
    }
}

impl Roster {
    /// Reads what was told last.
    pub(super) fn page(&self, range: Range) -> Page {
        let changes = range.since.and_then(|since| self.changes(since, range.limit));
        changes.unwrap_or_else(|| self.members_after(range.after, range.limit))
    }

    fn members_after(&self, after: Option<u64>, limit: usize) -> Page {
        let start =
            after.map_or(0, |after| self.entries.partition_point(|entry| entry.member <= after));
        let mut seen = self.entries[start..].iter().filter(|entry| entry.is_seen()).peekable();
        let (mut present, mut bytes) = (Vec::new(), 0);
        while present.len() < limit
            && let Some(entry) = seen.next_if(|entry| {
                bytes += entry.data.bytes().len();
                present.is_empty() || bytes <= PAGE_BYTES
            })
        {
            present.push(entry.seen());
        }
        let more = seen.peek().is_some();
        Page { present, more, ..self.counts() }
    }

    /// `None` if it can't be told or has more than `limit` members.
    pub(super) fn changes(&self, since: u64, limit: usize) -> Option<Page> {
        if limit == 0 || !(self.floor..=self.version).contains(&since) {
            return None;
        }
        let (mut present, mut left, mut bytes) = (Vec::new(), Vec::new(), 0);
        let changed = |entry: &&Entry| entry.is_told() && entry.changed > since;
        for entry in self.entries.iter().filter(changed) {
            bytes += entry.data.bytes().len();
            if entry.state == State::Gone {
                left.push(entry.member);
            } else {
                present.push(entry.seen());
            }
            if present.len() + left.len() > limit || bytes > PAGE_BYTES {
                return None;
            }
        }
        Some(Page { since: Some(since), present, left, ..self.counts() })
    }

    fn counts(&self) -> Page {
        Page { members: self.members, users: self.users, ..Page::empty(self.version) }
    }
}
