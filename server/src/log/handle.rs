//! The handle to the log, which all other parts use, and the log's threads.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use dormouse_protocol::ObjectName;
use parking_lot::Mutex;
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::sync::SetOnce;

use super::delay::Delay;
use super::queue::Queue;
use super::retention::{self, Noted};
use super::shared::Shared;
use super::store::Store;
use super::watch::{self, Watch};
use super::{
    Append, Change, Failure, HistoryRange, Identity, Keyspace, Metrics, OpenError, Page, PageLimit,
    ReadError, Retention, Stored, writer,
};
use crate::clock::Clock;

/// Configuration of the log.
#[derive(Debug, Clone)]
pub struct Options {
    /// The limits of each class, by its name. Objects of other classes keep all events.
    pub retention: HashMap<String, Retention>,
    /// The time between two sweeps of the objects with new events.
    pub sweep_every: Duration,
    /// The bytes of the events in the queue and in the commit under way; each event counts 128 bytes more. Further appends wait.
    pub queue_bytes: usize,
    /// The size of the cache of disk reads, in bytes.
    pub cache_bytes: u64,
    /// The bytes of events in memory before the log writes them to a table, if less than 32 MiB; 32 MiB otherwise.
    pub memtable_bytes: Option<u64>,
    /// The number of tables that stay open between two reads.
    pub open_tables: usize,
    /// The free bytes on the disk below which the log counts as full.
    pub min_free: u64,
    /// The clock for the age of events.
    pub clock: Clock,
}

impl Default for Options {
    /// No retention; a queue of 16 MiB (several commits of the largest size), a cache of 64 MiB, 256 open tables, and no minimum of
    /// free space.
    fn default() -> Self {
        Self {
            retention: HashMap::new(),
            sweep_every: Duration::from_secs(10),
            queue_bytes: 16 << 20,
            cache_bytes: 64 << 20,
            memtable_bytes: None,
            open_tables: 256,
            min_free: 0,
            clock: Clock::default(),
        }
    }
}

/// A handle to the log. Cloning it is cheap. When the last one is dropped, the log writes the queued tasks and closes in the
/// background.
#[derive(Clone)]
pub struct Log(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    /// The source of new epochs.
    pub(super) epochs: Mutex<StdRng>,
    pub(super) threads: Mutex<Vec<JoinHandle<()>>>,
    /// Dropping them stops the threads that wait for a time.
    pub(super) alive: Mutex<Vec<mpsc::Sender<()>>>,
}

impl Log {
    /// Creates or opens the log in a directory, and starts its writer, its retention thread and its watch. Blocks: a start after
    /// a crash replays the journal.
    pub fn open(dir: &Path, options: Options, metrics: Metrics) -> Result<Self, OpenError> {
        let store = Store::open(dir, &options)?;
        let storage = |source| OpenError::Storage { dir: dir.into(), source };
        let shared = Arc::new(Shared {
            store,
            queue: Queue::new(options.queue_bytes, metrics.queue_events.clone()),
            metrics,
            failure: SetOnce::new(),
            retention: options.retention,
            noted: Noted::default(),
            delay: Delay::default(),
            watch: Watch::new(dir, options.min_free),
            memtable_bytes: options.memtable_bytes,
            clock: options.clock,
        });
        shared.watch.look(&shared.metrics);
        let (sweeping, stop_sweeping) = mpsc::channel();
        let (watching, stop_watching) = mpsc::channel();
        let inner = Inner {
            shared: Arc::clone(&shared),
            epochs: Mutex::new(rand::make_rng()),
            threads: Mutex::default(),
            alive: Mutex::new(vec![sweeping, watching]),
        };
        let spawn = |name: &str, body: Box<dyn FnOnce(&Shared) + Send>| {
            let shared = Arc::clone(&shared);
            let thread = thread::Builder::new().name(name.into()).spawn(move || body(&shared))?;
            inner.threads.lock().push(thread);
            Ok::<_, io::Error>(())
        };
        let sweep_every = options.sweep_every;
        spawn("log-writer", Box::new(writer::run))
            .and_then(|()| {
                let sweep =
                    move |shared: &Shared| retention::run(shared, sweep_every, &stop_sweeping);
                spawn("log-retention", Box::new(sweep))
            })
            .and_then(|()| {
                spawn("log-watch", Box::new(move |shared| watch::run(shared, &stop_watching)))
            })
            .map_err(|error| storage(error.into()))?;
        Ok(Self(Arc::new(inner)))
    }

    /// The object of this name, if the log has stored it. Blocks.
    pub fn find(&self, name: &ObjectName) -> Result<Option<Stored>, ReadError> {
        self.counted(self.0.shared.store.find(name))
    }

    /// The identity of a new object: an id that no other object has, and a new epoch. It is in memory only, until the first append of
    /// the object is committed.
    pub fn new_identity(&self, name: ObjectName) -> Arc<Identity> {
        Arc::new(Identity {
            id: self.0.shared.store.new_id(),
            epoch: self.0.epochs.lock().random(),
            name,
        })
    }

    /// The events after an offset, in offset order. Blocks.
    pub fn page(&self, object: &Identity, after: u64, max: PageLimit) -> Result<Page, ReadError> {
        self.counted(self.0.shared.store.page(object, after, max))
    }

    /// The events between two offsets, without the events at these offsets. The oldest is first, or with `reverse` the newest. Blocks.
    pub fn range(
        &self,
        object: &Identity,
        after: Option<u64>,
        before: Option<u64>,
        reverse: bool,
        max: PageLimit,
    ) -> Result<HistoryRange, ReadError> {
        self.counted(self.0.shared.store.range(object, after, before, reverse, max))
    }

    fn counted<T>(&self, read: Result<T, ReadError>) -> Result<T, ReadError> {
        read.inspect_err(|_| self.0.shared.metrics.read_errors.inc())
    }

    /// Queues an append for the next commit, and waits while the queue is full.
    ///
    /// `done` is called exactly once. If this future is dropped before it is ready, nothing was queued.
    pub async fn append(&self, append: Append) {
        self.0.shared.queue.append(append).await;
    }

    /// All pairs of a keyspace, in the order of their keys. Blocks.
    pub fn pairs(&self, keyspace: Keyspace) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.counted(self.0.shared.store.pairs(keyspace))
    }

    /// Queues changes for the next commit, all or none of them. Never waits, and causes no fsync. False if the log leaves them out,
    /// because the queue or the disk is full, or because the log has failed or is closed.
    pub fn change_lazily(&self, changes: Vec<Change>) -> bool {
        !self.is_full() && self.0.shared.queue.change(changes).is_ok()
    }

    /// Makes the writer wait before each commit of events, like a slow disk. A wait under way changes too.
    pub fn delay_commits(&self, time: Duration) {
        self.0.shared.delay.set(time);
    }

    /// Whether the disk has less free space than [`Options::min_free`]. The log still stores appends while they fit, so callers check
    /// this before they append.
    pub fn is_full(&self) -> bool {
        self.0.shared.watch.is_full()
    }

    /// Whether the log has failed: see [`Log::failed`].
    pub fn has_failed(&self) -> bool {
        self.0.shared.failure.initialized()
    }

    /// Waits until the log fails. It then accepts no more events; reads continue as far as possible.
    pub async fn failed(&self) -> Failure {
        self.0.shared.failure.wait().await.clone()
    }

    /// Accepts no more events, stores the queued ones, and ends the threads. Blocks. Must not be called in `done`.
    pub fn close(&self) {
        self.0.stop();
        for thread in self.0.threads.lock().drain(..) {
            // The thread's own guard has handled a panic.
            let _ = thread.join();
        }
    }
}

impl Inner {
    fn stop(&self) {
        self.shared.queue.close();
        self.shared.delay.set(Duration::ZERO);
        self.alive.lock().clear();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}
