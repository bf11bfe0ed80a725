//! How far to trim a log. Each stored event has its time and the cumulative size of the log, and neither decreases. So arithmetic and
//! a binary search with point reads find the cut, without a scan of the log.

use std::sync::Arc;

use super::retention::Retention;
use super::store::Store;
use super::{Entry, Identity, ReadError, Stored, Tail};

/// The maximum number of events that one trim removes, so that appends do not wait long for it.
const TRIM_EVENTS: u64 = 1000;

/// The removal of the oldest kept events of an object: those after `from` up to `to`.
///
/// One batch has the removals and the record with the new start of the log. A crash leaves all of it or nothing; the next sweep
/// continues.
pub(super) struct Trim {
    pub(super) object: Arc<Identity>,
    pub(super) from: u64,
    pub(super) to: Tail,
}

impl Trim {
    pub(super) fn events(&self) -> u64 {
        self.to.offset - self.from
    }
}

/// The next trim that the limits require, if any.
pub(super) fn next(
    store: &Store,
    stored: &Stored,
    limits: &Retention,
    now_ms: u64,
) -> Result<Option<Trim>, ReadError> {
    let cut = cut(store, stored, limits, now_ms)?;
    let to = cut.min(stored.trimmed + TRIM_EVENTS);
    if to <= stored.trimmed {
        return Ok(None);
    }
    let entry = store.entry(&stored.identity, to)?;
    let to = entry.tail(to)?;
    Ok(Some(Trim { object: Arc::clone(&stored.identity), from: stored.trimmed, to }))
}

/// The newest offset beyond the limits, or any offset up to `trimmed` if there is none.
fn cut(store: &Store, stored: &Stored, limits: &Retention, now_ms: u64) -> Result<u64, ReadError> {
    let Stored { identity, tail, trimmed, .. } = stored;
    let last_where = |surplus: &dyn Fn(u64, &Entry) -> Result<bool, ReadError>| {
        let (mut gone, mut kept) = (*trimmed, tail.offset + 1);
        while kept - gone > 1 {
            let middle = gone + (kept - gone) / 2;
            if surplus(middle, &store.entry(identity, middle)?)? {
                gone = middle;
            } else {
                kept = middle;
            }
        }
        Ok::<_, ReadError>(gone)
    };
    let mut cut = *trimmed;
    if let Some(max) = limits.max_events {
        cut = cut.max(tail.offset.saturating_sub(max));
    }
    if let Some(max) = limits.max_bytes {
        let surplus = |_, entry: &Entry| Ok(tail.bytes.saturating_sub(entry.bytes_before()) > max);
        cut = cut.max(last_where(&surplus)?);
    }
    if let Some(max) = limits.max_age {
        let oldest = now_ms.saturating_sub(max.as_millis() as u64);
        let old = |offset, entry: &Entry| Ok(entry.tail(offset)?.time < oldest);
        // Usually no event is too old. One read of the oldest event shows it.
        let first = trimmed + 1;
        if first <= tail.offset && old(first, &store.entry(identity, first)?)? {
            cut = cut.max(last_where(&old)?);
        }
    }
    Ok(cut)
}
