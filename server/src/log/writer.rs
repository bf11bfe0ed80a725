//! The writer thread: takes what is queued, writes it as one batch with one fsync, tells those who wait; while one
//! fsync runs, the next batch gathers in the queue. Under load it gathers for as long again, and for 200 µs at least, so that the
//! threads around the log are woken for several events and not for each.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

#[cfg(test)]
pub(crate) mod stepped;

use super::ObjectId;
use super::queue::{EVENT_OVERHEAD, Queued, Task};
use super::shared::Shared;

/// How many objects' heads the writer remembers to check the order of appends.
const CHECKED_OBJECTS: usize = 65_536;

/// The times for which events gather between two commits under load. With less than the shortest, a fast disk would make a commit of
/// each event, and the threads around the log would be woken for each.
const MIN_WINDOW: Duration = Duration::from_micros(200);
const MAX_WINDOW: Duration = Duration::from_millis(2);

/// Writes until the queue is closed and empty, or the log has failed.
pub(super) fn run(shared: &Shared) {
    let _end = End(shared);
    let mut heads = Heads::default();
    // A fast disk could be filled between two looks of the watch.
    let look_every_bytes = (shared.watch.min_free() / 8).max(1 << 20);
    let mut unwatched = 0;
    let mut in_memory = shared.store.memtable_bytes();
    while let Some(queued) = shared.queue.take() {
        let events = queued.iter().map(|queued| queued.task.events()).sum::<u32>();
        if events > 0 {
            shared.delay.pass();
        }
        let started = Instant::now();
        let under_way = shared.watch.commit_begins();
        match commit(shared, &mut heads, &queued) {
            Ok(bytes) => {
                unwatched += bytes;
                in_memory += bytes;
            }
            Err(error) => return shared.fail(format!("a commit failed: {error}")),
        }
        drop(under_way);
        let took = started.elapsed();
        if unwatched > look_every_bytes {
            shared.watch.look(&shared.metrics);
            unwatched = 0;
        }
        queued.into_iter().for_each(Queued::finish);
        if shared.memtable_bytes.is_some_and(|most| in_memory > most) {
            in_memory = 0;
            if let Err(error) = shared.store.write_out() {
                return shared.fail(format!("events can't be written out: {error}"));
            }
        }
        // A client that waits alone for each of its commits finds no other event here and is not held up; nor is a full commit,
        // which could not grow.
        if (events > 1 || !shared.queue.is_empty()) && !shared.queue.is_filled() {
            thread::sleep(took.clamp(MIN_WINDOW, MAX_WINDOW));
        }
    }
}

/// However the writer ends, also by a panic, all waiters are told.
struct End<'a>(&'a Shared);

impl Drop for End<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail("the writer panicked".into());
        }
        self.0.queue.discard();
    }
}

/// Returns what it takes in memory and in the journal, in bytes.
fn commit(shared: &Shared, heads: &mut Heads, queued: &[Queued]) -> Result<u64, fjall::Error> {
    let started = Instant::now();
    let mut batch = shared.store.batch();
    let (mut stored, mut bytes, mut removed) = (0_u32, 0, 0);
    let mut is_durable = false;
    for queued in queued {
        match &queued.task {
            Task::Append { object, first, entries, changes } => {
                is_durable |= !entries.is_empty() || !changes.is_empty();
                batch.change(changes);
                if entries.is_empty() {
                    continue;
                }
                heads.advance(object.id, *first, entries.len());
                // A log begins once: after a full trim it goes on from its tail, and after a failed write nothing
                // is written any more.
                if *first == 1 {
                    batch.create(object);
                }
                batch.append(object.id, *first, entries);
                stored += entries.len() as u32;
                bytes += entries.iter().map(|entry| entry.wire().len() as u64).sum::<u64>();
            }
            Task::Changes(changes) => batch.change(changes),
            Task::Trim(trim) => {
                batch.trim(trim);
                removed += trim.events();
            }
        }
    }
    if is_durable {
        batch.commit_durably()?;
        let metrics = &shared.metrics;
        metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
        metrics.commits.inc();
        metrics.events.inc_by(stored.into());
        metrics.bytes.inc_by(bytes);
        metrics.events_per_commit.observe(stored.into());
    } else {
        batch.commit_lazily()?;
    }
    shared.metrics.trimmed_events.inc_by(removed);
    for queued in queued {
        if let Task::Append { object, .. } = &queued.task {
            shared.note(object);
        }
    }
    Ok(bytes + (u64::from(stored) + removed) * EVENT_OVERHEAD)
}

/// The newest offsets of the objects that were appended to lately. A hole or a repeat in a log is a bug in the caller
/// that must not reach the disk.
#[derive(Default)]
struct Heads(HashMap<ObjectId, u64>);

impl Heads {
    fn advance(&mut self, id: ObjectId, first: u64, events: usize) {
        assert!(first > 0 && events > 0, "an append stores events from offset 1 on");
        if self.0.len() >= CHECKED_OBJECTS {
            self.0.clear();
        }
        let head = self.0.insert(id, first - 1 + events as u64);
        assert!(
            head.is_none_or(|head| head + 1 == first),
            "object {} is appended to at {first} where it ends at {head:?}",
            id.0,
        );
    }
}
