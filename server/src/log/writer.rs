//! The writer thread. It takes the queued tasks, writes them as one batch with one fsync, and calls their callbacks. While an fsync
//! runs, the queue collects the next batch. Under load the writer then waits as long as the commit took, and at least 200 µs. So the
//! other threads wake once for several events and not once for each.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

#[cfg(test)]
pub(crate) mod stepped;

use super::ObjectId;
use super::queue::{EVENT_OVERHEAD, Queued, Task};
use super::shared::Shared;

/// The number of objects whose head the writer keeps in memory to check the order of appends.
const CHECKED_OBJECTS: usize = 65_536;

/// The shortest and the longest wait between two commits under load. Without the shortest wait, a fast disk would commit each event
/// alone, and each event would wake the other threads.
const MIN_WINDOW: Duration = Duration::from_micros(200);
const MAX_WINDOW: Duration = Duration::from_millis(2);

/// Writes until the queue is closed and empty, or the log has failed.
pub(super) fn run(shared: &Shared) {
    let _end = End(shared);
    let mut heads = Heads::default();
    // Writes could fill the disk between two checks of the watch.
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
        // A single client that waits for each of its commits sees no wait: it has one event in each commit, and the queue is empty. A
        // full commit does not wait either, because it could not grow.
        if (events > 1 || !shared.queue.is_empty()) && !shared.queue.is_filled() {
            thread::sleep(took.clamp(MIN_WINDOW, MAX_WINDOW));
        }
    }
}

/// When the writer ends, also by a panic, every waiting callback is called.
struct End<'a>(&'a Shared);

impl Drop for End<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail("the writer panicked".into());
        }
        self.0.queue.discard();
    }
}

/// Writes the tasks as one batch. Returns the bytes that the batch takes in memory and in the journal.
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
                // The first append stores the object. It comes once: after a full trim the offsets continue from the tail, and after
                // a failed write the log accepts nothing more.
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

/// The newest offset of each object with recent appends. A hole or a repeat in a log is a fault of the caller, and must not reach the
/// disk.
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
