//! The log in steps, for the simulation: the real store, and the real commits, one by one and in their parts. What is on disk
//! stays there when everything else is dropped, as after a crash.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dormouse_protocol::{Event, ObjectName};
use parking_lot::Mutex;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::SetOnce;

use super::{Heads, commit};
use crate::clock::Clock;
use crate::log::delay::Delay;
use crate::log::handle::Inner;
use crate::log::keys::next_id;
use crate::log::queue::{Queue, Queued, Task};
use crate::log::retention::Noted;
use crate::log::shared::Shared;
use crate::log::store::Store;
use crate::log::watch::Watch;
use crate::log::{Identity, Log, Metrics, Options, Retention, trim};

/// A disk with a log. Opening one takes long, so many simulations use the same, each with objects of its own.
pub(crate) struct Disk(Store);

/// The writer.
pub(crate) struct Stepped {
    shared: Arc<Shared>,
    heads: Heads,
    /// What is on disk, and nobody was told of yet.
    stored: VecDeque<Queued>,
    /// Retention waits for one trim before it asks for the next.
    is_trimming: Arc<AtomicBool>,
}

/// What a commit has brought.
#[derive(Default)]
pub(crate) struct Committed {
    pub(crate) events: Vec<(Arc<Identity>, Event)>,
    /// Up to where logs were trimmed.
    pub(crate) trimmed: Vec<(Arc<Identity>, u64)>,
}

impl Disk {
    pub(crate) fn open(dir: &Path) -> Self {
        Self(Store::open(dir, &Options::default()).expect("a new directory"))
    }

    /// Removes all pairs.
    pub(crate) fn clear_pairs(&self) {
        for keyspace in &self.0.keyspaces {
            for pair in keyspace.iter() {
                let key = pair.key().expect("it can be read");
                keyspace.remove(key).expect("it can be written");
            }
        }
    }

    /// Starts a log on what is on disk by now. `epochs` is the seed of new epochs.
    pub(crate) fn start(&self, metrics: Metrics, epochs: u64) -> (Log, Stepped) {
        let Store { db, meta, objects, events, keyspaces, _lock: lock, .. } = &self.0;
        let next_id = meta.get(next_id::KEY).expect("it can be read");
        let next_id = next_id.map_or(FIRST_ID, |id| next_id::decode(&id).expect("it is an id"));
        let store = Store {
            db: db.clone(),
            meta: meta.clone(),
            objects: objects.clone(),
            events: events.clone(),
            keyspaces: keyspaces.clone(),
            next_id: AtomicU64::new(next_id),
            unsynced: AtomicBool::default(),
            _lock: lock.try_clone().expect("there are descriptors"),
        };
        let queue = Queue::new(Options::default().queue_bytes, metrics.queue_events.clone());
        let shared = Arc::new(Shared {
            store,
            queue,
            metrics,
            failure: SetOnce::new(),
            retention: Options::default().retention,
            noted: Noted::default(),
            delay: Delay::default(),
            // Nobody looks at the room that is left.
            watch: Watch::new(Path::new("."), 0),
            memtable_bytes: None,
            clock: Clock::default(),
        });
        let inner = Inner {
            shared: shared.clone(),
            epochs: Mutex::new(StdRng::seed_from_u64(epochs)),
            threads: Mutex::default(),
            alive: Mutex::default(),
        };
        let stepped = Stepped {
            shared,
            heads: Heads::default(),
            stored: VecDeque::new(),
            is_trimming: Arc::default(),
        };
        (Log(Arc::new(inner)), stepped)
    }
}

/// So that all ids that a simulation sees have one length.
const FIRST_ID: u64 = 1_000_000;

impl Stepped {
    /// Commits what is queued, if the last commit is over and there is anything. Nobody is told yet.
    pub(crate) fn commit(&mut self) -> Option<Committed> {
        if !self.stored.is_empty() || self.shared.queue.is_empty() {
            return None;
        }
        let queued = self.shared.queue.take()?;
        commit(&self.shared, &mut self.heads, &queued).expect("the disk works");
        let mut committed = Committed::default();
        for queued in &queued {
            match &queued.task {
                Task::Append { object, entries, .. } => {
                    let events = entries.iter().map(|entry| entry.decode().expect("an event"));
                    committed.events.extend(events.map(|event| (object.clone(), event)));
                }
                Task::Trim(trim) => {
                    committed.trimmed.push((trim.object.clone(), trim.to.offset));
                }
                Task::Changes(_) => {}
            }
        }
        self.stored = queued.into();
        Some(committed)
    }

    /// Tells one of those who wait for the last commit.
    pub(crate) fn finish(&mut self) -> bool {
        let Some(queued) = self.stored.pop_front() else { return false };
        queued.finish();
        true
    }

    /// The disk fails: what is queued is not stored, or nobody knows.
    pub(crate) fn fail(&mut self) {
        self.shared.fail("the disk is simulated to fail".into());
        self.stored.clear();
        self.shared.queue.discard();
    }

    /// Lets retention keep only so many events of an object.
    pub(crate) fn trim(&self, name: &ObjectName, max_events: u64) {
        if self.is_trimming.load(Ordering::Relaxed) {
            return;
        }
        let limits = Retention { max_events: Some(max_events), ..Retention::default() };
        let store = &self.shared.store;
        let Some(stored) = store.find(name).expect("it can be read") else { return };
        if let Some(trim) = trim::next(store, &stored, &limits, 0).expect("it can be read") {
            self.is_trimming.store(true, Ordering::Relaxed);
            let is_trimming = self.is_trimming.clone();
            let done = Box::new(move |_| is_trimming.store(false, Ordering::Relaxed));
            self.shared.queue.trim(trim, done);
        }
    }
}
