//! The queue into the writer: bounded in bytes, each event counting [`EVENT_OVERHEAD`] on top of its own, so that the
//! number of events is bounded too. Appends wait while it is full, lazy changes are left out; trims, of which one
//! waits at a time, need no room.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};
use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::trim::Trim;
use super::{Change, Entry, Identity, Unavailable};
use crate::memory;

/// What an event costs in the queue beyond its stored bytes, generously.
pub(super) const EVENT_OVERHEAD: u64 = 128;

/// The bounds of one commit: enough for the fsync to cost next to nothing for each event, and little enough that those who
/// wait for this commit or for the next one don't wait long.
const COMMIT_EVENTS: u32 = 4096;
const COMMIT_BYTES: usize = 4 << 20;

/// Runs on the writer thread, in the order of commits; must be quick and must not panic.
pub(super) type Callback = Box<dyn FnOnce(Result<(), Unavailable>) + Send>;

/// The queue has no room, or is closed.
#[derive(Debug)]
pub(super) struct Full;

/// What is to be stored of one object: all of it in one commit.
pub struct Append {
    /// The object. Its first append stores it as well.
    pub object: Arc<Identity>,
    /// The offset of the first entry: the one after the last entry that was appended to the object.
    pub first: u64,
    /// What [`Tail::push`](super::Tail::push) returned, in order. Without entries and changes, `done` is called when all that was
    /// queued before is on disk.
    pub entries: Vec<Entry>,
    /// Changes of pairs that come with the events.
    pub changes: Vec<Change>,
    /// Told when the events are on disk, or that the log failed before it knew. Runs on the writer thread,
    /// in the order of commits: must be quick and must not panic, wait or close the log.
    pub done: Box<dyn FnOnce(Result<(), Unavailable>) + Send>,
}

/// What the writer is to write.
pub(super) enum Task {
    Append {
        object: Arc<Identity>,
        first: u64,
        entries: Vec<Entry>,
        changes: Vec<Change>,
    },
    Trim(Trim),
    /// Changes of pairs that need not be durable at once.
    Changes(Vec<Change>),
}

impl Task {
    /// Events to be stored.
    pub(super) fn events(&self) -> u32 {
        match self {
            Self::Append { entries, .. } => entries.len() as u32,
            Self::Trim(_) | Self::Changes(_) => 0,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Append { entries, changes, .. } => weight(entries) + change_bytes(changes),
            Self::Trim(_) => 0,
            Self::Changes(changes) => change_bytes(changes),
        }
    }
}

fn weight(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| entry.stored().len() + EVENT_OVERHEAD as usize).sum()
}

fn change_bytes(changes: &[Change]) -> usize {
    changes.iter().map(Change::bytes).sum()
}

/// The callback of a task. Reports a failure if it is dropped.
struct Waiter(Option<Callback>);

impl Waiter {
    fn tell(&mut self, result: Result<(), Unavailable>) {
        if let Some(done) = self.0.take() {
            done(result);
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.tell(Err(Unavailable));
    }
}

/// A task in the queue or in the writer's hands. Dropping it tells its waiter that the log is unavailable.
pub(super) struct Queued {
    pub(super) task: Task,
    waiter: Waiter,
    _room: Option<OwnedSemaphorePermit>,
}

impl Queued {
    /// Tells the waiter that the task is done.
    pub(super) fn finish(mut self) {
        self.waiter.tell(Ok(()));
    }
}

pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    /// The bytes that are free.
    room: Arc<Semaphore>,
    capacity: usize,
    waiting_events: IntGauge,
}

#[derive(Default)]
struct State {
    queued: VecDeque<Queued>,
    closed: bool,
}

impl Queue {
    pub(super) fn new(capacity: usize, waiting_events: IntGauge) -> Self {
        // A semaphore hands out at most u32::MAX at once.
        let capacity = capacity.min(u32::MAX as usize);
        Self {
            state: Mutex::default(),
            filled: Condvar::new(),
            room: Arc::new(Semaphore::new(capacity)),
            capacity,
            waiting_events,
        }
    }

    /// Queues an append, waiting for room. One that is larger than the whole queue waits until the queue is empty.
    pub(super) async fn append(&self, append: Append) {
        let Append { object, first, entries, changes, done } = append;
        let weight = (weight(&entries) + change_bytes(&changes)).min(self.capacity);
        // It is refused when the queue is closed; then so is the push.
        let room = Arc::clone(&self.room).acquire_many_owned(weight as u32).await.ok();
        self.push(Task::Append { object, first, entries, changes }, done, room);
    }

    pub(super) fn trim(&self, trim: Trim, done: Callback) {
        self.push(Task::Trim(trim), done, None);
    }

    /// Queues changes that need not be durable at once, if there is room for them.
    pub(super) fn change(&self, changes: Vec<Change>) -> Result<(), Full> {
        let weight = change_bytes(&changes).min(self.capacity);
        let room = Arc::clone(&self.room).try_acquire_many_owned(weight as u32);
        let room = room.map_err(|_| Full)?;
        self.push(Task::Changes(changes), Box::new(|_| ()), Some(room));
        Ok(())
    }

    fn push(&self, task: Task, done: Callback, room: Option<OwnedSemaphorePermit>) {
        let queued = Queued { task, waiter: Waiter(Some(done)), _room: room };
        let mut state = self.state.lock();
        if state.closed {
            // Unlocked first, since dropping it reports the failure to its waiter.
            drop(state);
            return drop(queued);
        }
        self.waiting_events.add(queued.task.events().into());
        state.queued.push_back(queued);
        self.filled.notify_one();
    }

    /// What is queued, as far as one commit goes; waits for something. `None` once the queue is closed and empty.
    pub(super) fn take(&self) -> Option<Vec<Queued>> {
        let mut tidy = false;
        let mut state = self.state.lock();
        while state.queued.is_empty() {
            if state.closed {
                return None;
            }
            if tidy {
                self.filled.wait(&mut state);
            } else if self.filled.wait_for(&mut state, memory::EVERY).timed_out() {
                tidy = true;
                MutexGuard::unlocked(&mut state, memory::give_back);
            }
        }
        let (mut taken, mut events, mut bytes) = (Vec::new(), 0, 0);
        while let Some(queued) = state.queued.front() {
            events += queued.task.events();
            bytes += queued.task.bytes();
            if !taken.is_empty() && (events > COMMIT_EVENTS || bytes > COMMIT_BYTES) {
                break;
            }
            self.waiting_events.sub(queued.task.events().into());
            taken.extend(state.queued.pop_front());
        }
        Some(taken)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().queued.is_empty()
    }

    /// Whether as much is queued as one commit takes or the queue holds.
    pub(super) fn is_filled(&self) -> bool {
        let bytes = self.capacity - self.room.available_permits();
        self.waiting_events.get() >= COMMIT_EVENTS.into()
            || bytes >= self.capacity.min(COMMIT_BYTES)
    }

    /// Takes no more; what is queued stays for the writer.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.room.close();
        self.filled.notify_all();
    }

    /// Drops the queue. Its waiters learn that the log is unavailable.
    pub(super) fn discard(&self) {
        let queued = std::mem::take(&mut self.state.lock().queued);
        for queued in queued {
            self.waiting_events.sub(queued.task.events().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use dormouse_protocol::{Event, Payload};
    use futures_util::FutureExt;

    use super::*;
    use crate::log::{ObjectId, Tail};

    /// An append of that many events, each of 50 to 100 stored bytes.
    fn append(events: usize) -> Append {
        let mut event = Event {
            offset: 0,
            time: 0,
            sender: "s".into(),
            kind: "message".parse().unwrap(),
            data: Payload::of(&"x".repeat(40)).unwrap(),
            key: None,
        };
        let mut tail = Tail::default();
        let name = "room/a".parse().unwrap();
        Append {
            object: Arc::new(Identity { id: ObjectId(1), epoch: 1, name }),
            first: 1,
            entries: (0..events).map(|_| tail.push(&mut event, 1)).collect(),
            changes: Vec::new(),
            done: Box::new(|_| ()),
        }
    }

    fn queue(capacity: usize) -> Queue {
        Queue::new(capacity, IntGauge::new("waiting", "waiting").unwrap())
    }

    #[test]
    fn it_is_filled_when_it_has_enough_for_a_commit_or_has_no_room() {
        let large = queue(COMMIT_BYTES);
        large.append(append(3)).now_or_never().unwrap();
        assert!(!large.is_filled());
        large.append(append(COMMIT_EVENTS as usize)).now_or_never().unwrap();
        assert!(large.is_filled(), "as many events as a commit takes");
        let small = queue(1000);
        small.append(append(3)).now_or_never().unwrap();
        assert!(!small.is_filled());
        let mut next = Box::pin(small.append(append(100)));
        assert_eq!(next.as_mut().now_or_never(), None);
        assert!(small.is_filled(), "somebody waits for room");
    }

    #[test]
    fn appends_wait_in_their_order_while_the_queue_is_full() {
        let queue = queue(1000);
        assert_eq!(queue.append(append(3)).now_or_never(), Some(()));
        let mut large = Box::pin(queue.append(append(100)));
        assert_eq!(large.as_mut().now_or_never(), None);
        let mut small = Box::pin(queue.append(append(1)));
        assert_eq!(small.as_mut().now_or_never(), None);
        assert_eq!(queue.waiting_events.get(), 3);

        // What the writer has in its hands still counts; what it has finished does not.
        let commit = queue.take().unwrap();
        assert_eq!(large.as_mut().now_or_never(), None);
        commit.into_iter().for_each(Queued::finish);
        assert_eq!(large.now_or_never(), Some(()));
        assert_eq!(small.as_mut().now_or_never(), None);
        queue.close();
        assert_eq!(small.now_or_never(), Some(()), "it is refused");
        assert_eq!(queue.take().unwrap().len(), 1);
        assert!(queue.take().is_none());
    }

    #[test]
    fn a_commit_has_a_bound() {
        let queue = queue(16 << 20);
        for events in [COMMIT_EVENTS as usize - 1, 1, 1, 2 * COMMIT_EVENTS as usize] {
            assert_eq!(queue.append(append(events)).now_or_never(), Some(()));
        }
        let commits = [(); 3].map(|()| queue.take().unwrap().len());
        assert_eq!(commits, [2, 1, 1]);
        assert_eq!(queue.waiting_events.get(), 0);
    }
}
