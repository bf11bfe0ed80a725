//! The queue into the writer. It is bounded in bytes. Each event counts [`EVENT_OVERHEAD`] more than its own bytes, so the bound also
//! limits the number of events. While the queue is full, appends wait and lazy changes are left out. Trims need no room: at most one
//! waits at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};
use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::trim::Trim;
use super::{Change, Entry, Identity, Unavailable};
use crate::memory;

/// The memory of a queued event besides its stored bytes, in bytes; an upper estimate.
pub(super) const EVENT_OVERHEAD: u64 = 128;

/// The bounds of one commit. They are large enough that the cost of the fsync for each event is small, and small enough that neither
/// this commit nor the next one waits long.
const COMMIT_EVENTS: u32 = 4096;
const COMMIT_BYTES: usize = 4 << 20;

/// The writer thread calls it, in the order of commits. It must be quick and must not panic.
pub(super) type Callback = Box<dyn FnOnce(Result<(), Unavailable>) + Send>;

/// The queue has no room, or is closed.
#[derive(Debug)]
pub(super) struct Full;

/// Events and changes of one object, which one commit stores together.
pub struct Append {
    /// The object. The first append also stores the object itself.
    pub object: Arc<Identity>,
    /// The offset of the first entry: the one after the last entry that was appended to the object.
    pub first: u64,
    /// The entries that [`Tail::push`](super::Tail::push) returned, in order. Without entries and changes, `done` is called when all
    /// earlier tasks of the queue are on disk.
    pub entries: Vec<Entry>,
    /// Changes of pairs that belong to these events.
    pub changes: Vec<Change>,
    /// Called when the events are on disk, or when the log has failed and does not know whether they are. The writer thread calls it,
    /// in the order of commits. It must be quick, and must not panic, wait or close the log.
    pub done: Box<dyn FnOnce(Result<(), Unavailable>) + Send>,
}

/// A task of the writer.
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
    /// The number of events that the task stores.
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

/// A task with its callback, in the queue or at the writer. If it is dropped, the callback learns that the log is unavailable.
pub(super) struct Queued {
    pub(super) task: Task,
    waiter: Waiter,
    _room: Option<OwnedSemaphorePermit>,
}

impl Queued {
    /// Reports to the callback that the task is done.
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

    /// Queues an append, and waits for room. An append that is larger than the whole queue waits until the queue is empty.
    pub(super) async fn append(&self, append: Append) {
        let Append { object, first, entries, changes, done } = append;
        let weight = (weight(&entries) + change_bytes(&changes)).min(self.capacity);
        // It fails if the queue is closed, and then the push fails as well.
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
            // Unlock first: the drop calls the callback.
            drop(state);
            return drop(queued);
        }
        self.waiting_events.add(queued.task.events().into());
        state.queued.push_back(queued);
        self.filled.notify_one();
    }

    /// Waits for tasks, and takes as many as one commit may have. `None` if the queue is closed and empty.
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

    /// Whether the queued tasks fill one commit or the whole queue.
    pub(super) fn is_filled(&self) -> bool {
        let bytes = self.capacity - self.room.available_permits();
        self.waiting_events.get() >= COMMIT_EVENTS.into()
            || bytes >= self.capacity.min(COMMIT_BYTES)
    }

    /// Refuses further tasks. The writer still gets the queued ones.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.room.close();
        self.filled.notify_all();
    }

    /// Drops the queued tasks. Their callbacks learn that the log is unavailable.
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
            user: None,
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

        // A task at the writer still takes room in the queue; a finished one does not.
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
