//! Reads of the log. Each one blocks on the disk, uses one snapshot, and does not wait for the writer.

use std::ops::Bound;
use std::sync::Arc;

use dormouse_protocol::{DecodeError, ObjectName};
use fjall::{Guard, Iter, Readable, Snapshot};

use super::keys::object::Record;
use super::keys::{event, object};
use super::store::Store;
use super::{Entry, Identity, ObjectId, Tail};

/// Why the log can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database failed.
    #[error("the log can't be read: {0}")]
    Storage(#[from] fjall::Error),
    /// What was read is not what this program stores.
    #[error("the log is damaged: {0}")]
    Damaged(&'static str),
    /// A stored event is not an event.
    #[error("the log is damaged: a stored event is not an event")]
    Event(#[from] DecodeError),
}

/// An object as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its identity.
    pub identity: Arc<Identity>,
    /// The end of its log.
    pub tail: Tail,
    /// Events up to this offset are no longer kept; 0 if all are.
    pub trimmed: u64,
    /// The size of the events that are kept, in bytes of their wire form.
    pub bytes: u64,
}

/// How much one read returns at most; at least one event, whatever its size, if there is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit {
    /// Events.
    pub events: usize,
    /// Bytes of events in wire form.
    pub bytes: usize,
}

/// A stretch of a log as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// In offset order, without holes.
    pub events: Vec<Entry>,
    /// The offset of the last of them, or where there is none the offset after which the page was to begin.
    pub last: u64,
    /// The newest offset that was on disk at that moment.
    pub head: u64,
    /// Events up to this offset are no longer kept. If it is beyond the offset after which the page was to begin,
    /// the events between the two are lost to the reader, and the page begins after it.
    pub trimmed: u64,
}

impl Page {
    /// The page as it would be if the log had ended at `head`.
    #[must_use]
    pub fn up_to(mut self, head: u64) -> Self {
        let beyond = self.last.saturating_sub(head);
        let kept = self.events.len() - (beyond as usize).min(self.events.len());
        self.events.truncate(kept);
        self.last = self.last.min(head);
        self.head = self.head.min(head);
        self
    }
}

/// A part of a log between two offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRange {
    /// In the order that was asked for.
    pub events: Vec<Entry>,
    /// Whether there are more events between the two offsets beyond these.
    pub more: bool,
}

impl Store {
    pub(super) fn find(&self, name: &ObjectName) -> Result<Option<Stored>, ReadError> {
        let snapshot = self.db.snapshot();
        let Some(record) = self.record(&snapshot, name)? else { return Ok(None) };
        self.stored(&snapshot, name.clone(), &record).map(Some)
    }

    pub(super) fn page(
        &self,
        identity: &Identity,
        after: u64,
        max: PageLimit,
    ) -> Result<Page, ReadError> {
        let snapshot = self.db.snapshot();
        let trimmed = self.trimmed(&snapshot, identity)?;
        let from = after.max(trimmed);
        let rest = self.events_between(&snapshot, identity.id, from, None);
        let (events, more) = collect(rest, Some(from), max)?;
        let last = if events.is_empty() { after } else { from + events.len() as u64 };
        let head = if more || events.is_empty() {
            let newest = self.events_between(&snapshot, identity.id, trimmed, None).next_back();
            newest.map_or(Ok(trimmed), |guard| Ok::<_, ReadError>(read(guard)?.0))?
        } else {
            last
        };
        Ok(Page { events, last, head, trimmed })
    }

    pub(super) fn range(
        &self,
        identity: &Identity,
        after: Option<u64>,
        before: Option<u64>,
        reverse: bool,
        max: PageLimit,
    ) -> Result<HistoryRange, ReadError> {
        let snapshot = self.db.snapshot();
        let trimmed = self.trimmed(&snapshot, identity)?;
        let from = after.unwrap_or(0).max(trimmed);
        let events = self.events_between(&snapshot, identity.id, from, before);
        let (events, more) = if reverse {
            collect(events.rev(), None, max)?
        } else {
            collect(events, Some(from), max)?
        };
        Ok(HistoryRange { events, more })
    }

    /// A kept event.
    pub(super) fn entry(&self, identity: &Identity, offset: u64) -> Result<Entry, ReadError> {
        let stored = self.events.get(event::encode_key(identity.id, offset))?;
        let stored = stored.ok_or(MISSING)?;
        Entry::from_stored(stored).ok_or(TOO_SHORT)
    }

    /// The objects after that name, in the order of their names, at most `limit`.
    pub(super) fn objects_after(
        &self,
        name: Option<&ObjectName>,
        limit: usize,
    ) -> Result<Vec<ObjectName>, ReadError> {
        let from = name.map_or(Bound::Unbounded, |name| Bound::Excluded(object::encode_key(name)));
        let objects = self.objects.range::<&[u8], _>((from, Bound::Unbounded)).take(limit);
        objects.map(|guard| object::decode_key(&guard.key()?).ok_or(BAD_NAME)).collect()
    }

    fn record(&self, snapshot: &Snapshot, name: &ObjectName) -> Result<Option<Record>, ReadError> {
        let value = snapshot.get(&self.objects, object::encode_key(name))?;
        value.map(|value| object::decode(&value).ok_or(BAD_RECORD)).transpose()
    }

    /// Where what is kept of the object begins; the beginning for an object that is not stored yet.
    fn trimmed(&self, snapshot: &Snapshot, identity: &Identity) -> Result<u64, ReadError> {
        let record = self.record(snapshot, &identity.name)?;
        let record = record.filter(|record| record.id() == identity.id);
        Ok(record.map_or(0, |record| record.trimmed().offset))
    }

    fn stored(
        &self,
        snapshot: &Snapshot,
        name: ObjectName,
        record: &Record,
    ) -> Result<Stored, ReadError> {
        let trimmed = record.trimmed();
        let newest = self.events_between(snapshot, record.id(), trimmed.offset, None).next_back();
        let tail = match newest {
            None => trimmed,
            Some(guard) => {
                let (offset, entry) = read(guard)?;
                entry.tail(offset)?
            }
        };
        let identity = Arc::new(record.identity(name));
        let bytes = tail.bytes.saturating_sub(trimmed.bytes);
        Ok(Stored { identity, tail, trimmed: trimmed.offset, bytes })
    }

    /// The events between two offsets, which are left out. Never reaches below what is trimmed if `after` doesn't, so
    /// that no read wades through removed events.
    fn events_between(
        &self,
        snapshot: &Snapshot,
        id: ObjectId,
        after: u64,
        before: Option<u64>,
    ) -> Iter {
        let from = after.saturating_add(1);
        let to = before.unwrap_or(u64::MAX).max(from);
        snapshot.range(&self.events, event::encode_key(id, from)..event::encode_key(id, to))
    }
}

impl Entry {
    /// The end of the log that had this event as its newest.
    pub(super) fn tail(&self, offset: u64) -> Result<Tail, ReadError> {
        let event = self.decode()?;
        if event.offset != offset {
            return Err(ReadError::Damaged("an event has the offset of another one"));
        }
        let tail = Tail { offset, time: event.time, bytes: self.bytes_with() };
        if !tail.is_possible() {
            return Err(ReadError::Damaged("an event has an offset, a time or a size beyond 2^53"));
        }
        Ok(tail)
    }
}

const MISSING: ReadError = ReadError::Damaged("an event is missing");
const TOO_SHORT: ReadError = ReadError::Damaged("a stored event is too short");
const BAD_NAME: ReadError = ReadError::Damaged("invalid object name");
const BAD_RECORD: ReadError = ReadError::Damaged("invalid object record");

fn read(guard: Guard) -> Result<(u64, Entry), ReadError> {
    let (key, value) = guard.into_inner()?;
    let (_, offset) = event::decode_key(&key).ok_or(ReadError::Damaged("invalid event key"))?;
    Ok((offset, Entry::from_stored(value).ok_or(TOO_SHORT)?))
}

/// Takes events up to the limit, and tells whether there are more. A hole between them, or between the offset ahead of
/// them and the first, is an error: no reader may be served a log that lacks something.
fn collect(
    events: impl Iterator<Item = Guard>,
    mut ahead: Option<u64>,
    max: PageLimit,
) -> Result<(Vec<Entry>, bool), ReadError> {
    let (mut taken, mut bytes) = (Vec::new(), 0);
    for guard in events {
        let (offset, entry) = read(guard)?;
        if ahead.replace(offset).is_some_and(|ahead| ahead.abs_diff(offset) != 1) {
            return Err(MISSING);
        }
        bytes += entry.wire().len();
        // One event is given however large it is, or a reader would never come past it.
        if taken.len() >= max.events || bytes > max.bytes && !taken.is_empty() {
            return Ok((taken, true));
        }
        taken.push(entry);
    }
    Ok((taken, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(after: u64, events: u64, trimmed: u64) -> Page {
        let entry = Entry::from_stored([0; 9].as_slice().into()).unwrap();
        let last = if events == 0 { after } else { after.max(trimmed) + events };
        Page { events: vec![entry; events as usize], last, head: last, trimmed }
    }

    /// Promise 5: a position from beyond the head would be refused as `ahead` when its member comes back.
    #[test]
    fn a_page_ends_at_the_head_though_the_disk_has_more() {
        for (page, head, kept, last) in [
            (page(0, 5, 0), 5, 5, 5),
            (page(0, 5, 0), 3, 3, 3),
            (page(2, 5, 4), 6, 2, 6),
            (page(3, 5, 0), 3, 0, 3),
            (page(7, 0, 0), 7, 0, 7),
        ] {
            let page = page.up_to(head);
            assert_eq!((page.events.len(), page.last, page.head), (kept, last, head));
        }
    }
}
