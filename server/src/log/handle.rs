//! The handle to the log, through which everything else uses it, and the log's threads.

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

/// How the log is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is kept of the objects of a class, by the class's name; of a class that is not named, everything.
    pub retention: HashMap<String, Retention>,
    /// How often the objects that were appended to are looked at.
    pub sweep_every: Duration,
    /// The events that wait for a commit or are in it, in bytes with 128 for each on top. Appends wait beyond it.
    pub queue_bytes: usize,
    /// The cache of what was read from disk, in bytes.
    pub cache_bytes: u64,
    /// So many bytes of events may be in memory before they are written out to a table, where that is less than the 32 MiB that it
    /// always is.
    pub memtable_bytes: Option<u64>,
    /// Tables that stay open between two reads.
    pub open_tables: usize,
    /// With less than this left on its disk, in bytes, the log says that it is full.
    pub min_free: u64,
    /// Tells the age of events.
    pub clock: Clock,
}

impl Default for Options {
    /// Keeps everything; 16 MiB of queue (several commits of the largest size), 64 MiB of cache, 256 open tables; no room is
    /// kept free.
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

/// A handle to the log; cloning it is cheap. When the last one is gone, the log finishes what is queued and closes in
/// the background.
#[derive(Clone)]
pub struct Log(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    /// The source of new epochs.
    pub(super) epochs: Mutex<StdRng>,
    pub(super) threads: Mutex<Vec<JoinHandle<()>>>,
    /// Dropped to stop the threads that wait for time to pass.
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

    /// The object of that name, if an event of it was ever stored. Blocks.
    pub fn find(&self, name: &ObjectName) -> Result<Option<Stored>, ReadError> {
        self.counted(self.0.shared.store.find(name))
    }

    /// Who an object is to be that [`Log::find`] does not find: an id that no object has and an epoch of its own. In
    /// memory only, until its first append is committed.
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

    /// The events between two offsets, both left out, from the oldest on, or with `reverse` from the newest on. Blocks.
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

    /// Queues events for the next commit, waiting while the queue is full.
    ///
    /// `done` runs exactly once, unless this is cancelled: then nothing was queued.
    pub async fn append(&self, append: Append) {
        self.0.shared.queue.append(append).await;
    }

    /// All pairs of a keyspace, in the order of their keys. Blocks.
    pub fn pairs(&self, keyspace: Keyspace) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.counted(self.0.shared.store.pairs(keyspace))
    }

    /// Queues changes to be written with the next commit, all or none of them; never waits, and causes no fsync. False if they are
    /// left out, because the queue or the disk is full or the log takes nothing any more.
    pub fn change_lazily(&self, changes: Vec<Change>) -> bool {
        !self.is_full() && self.0.shared.queue.change(changes).is_ok()
    }

    /// Makes the writer wait so long before every commit of events, as a slow disk would; the wait under way changes too.
    pub fn delay_commits(&self, time: Duration) {
        self.0.shared.delay.set(time);
    }

    /// Whether less room is left on the disk than is to be kept free. What is appended nevertheless is stored as long as it fits:
    /// callers should ask before they append.
    pub fn is_full(&self) -> bool {
        self.0.shared.watch.is_full()
    }

    /// Whether the log has failed: see [`Log::failed`].
    pub fn has_failed(&self) -> bool {
        self.0.shared.failure.initialized()
    }

    /// Waits until the log fails. It takes no events from then on; reads go on as far as they can.
    pub async fn failed(&self) -> Failure {
        self.0.shared.failure.wait().await.clone()
    }

    /// Takes no more events, stores those that are queued and ends the threads. Blocks; not for use in `done`.
    pub fn close(&self) {
        self.0.stop();
        for thread in self.0.threads.lock().drain(..) {
            // A panic was seen by the thread's own guard.
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
