//! The registry: finds the one handle of an object, or creates it from the log.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Weak};
use std::time::Duration;

use dormouse_protocol::ObjectName;
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;
use tracing::error;

use super::awake_limit::AwakeLimit;
use super::class::Classes;
use super::delivery::Sink;
use super::handle::Handle;
use super::lifecycle::State;
use super::metrics::Metrics;
use super::presence;
use super::presence::StoredRosters;
use crate::clock::Clock;
use crate::limits::Budget;
use crate::log::{Log, ReadError, ReadPool, Stored};

/// Configuration of objects.
#[derive(Clone)]
pub struct Settings {
    /// Messages that may wait for one object.
    pub mailbox: usize,
    /// Objects that may be awake at one time.
    pub max_awake: usize,
    /// Objects that may read their logs to wake at one time.
    pub max_waking: usize,
    /// Objects that do not sleep.
    pub pinned: HashSet<ObjectName>,
    /// How long the server remembers a publish's key.
    pub dedupe_window: Duration,
    /// Number of newest events whose keys the server remembers.
    pub dedupe_events: u64,
    /// Configuration of rosters.
    pub presence: presence::Settings,
    /// The memory that may be held for clients.
    pub budget: Budget,
    /// The time of day.
    pub clock: Clock,
    /// Runs reads of the log.
    pub reads: ReadPool,
}

#[cfg(test)]
impl Settings {
    /// The least allowed value of each setting.
    pub(crate) fn least() -> Self {
        Self {
            mailbox: 1,
            max_awake: 1,
            max_waking: 1,
            pinned: HashSet::new(),
            dedupe_window: Duration::from_secs(1),
            dedupe_events: 1,
            presence: presence::Settings {
                interval: Duration::from_secs(1),
                grace: Duration::ZERO,
                max_members: 1,
                page_members: 1,
            },
            budget: Budget::unlimited(),
            clock: Clock::default(),
            reads: ReadPool::current(),
        }
    }
}

/// Objects listed under one lock, which joins wait for: about 20 µs.
const LISTED_AT_ONCE: usize = 256;

/// Some of the objects in use.
pub struct InUse {
    /// In the order of their names.
    pub objects: Vec<Arc<Handle>>,
    /// Whether there are more.
    pub more: bool,
}

/// The outcome of opening an object.
pub type Opened = Result<Arc<Handle>, Arc<ReadError>>;

type Waiter = Box<dyn FnOnce(Opened) + Send>;

/// All objects in use. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

/// State that handles and instances share.
pub(super) struct Shared {
    pub(super) log: Log,
    pub(super) classes: Classes,
    pub(super) sinks: Box<[Arc<dyn Sink>]>,
    pub(super) settings: Settings,
    pub(super) metrics: Metrics,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) instances: TaskTracker,
    pub(super) awake: AwakeLimit,
    pub(super) presence: presence::Shared,
    /// By name, so that operators can page through them.
    entries: Mutex<BTreeMap<ObjectName, HandleEntry>>,
}

enum HandleEntry {
    /// A thread reads the log; these callbacks wait for the handle.
    Opening(Vec<Waiter>),
    Open(Weak<Handle>),
}

impl HandleEntry {
    fn handle(&self) -> Option<Arc<Handle>> {
        match self {
            Self::Open(handle) => handle.upgrade(),
            Self::Opening(_) => None,
        }
    }
}

impl Registry {
    /// A registry of objects of these classes, which deliver through these sinks (at most 64), with the rosters that were stored
    /// before this start. Instances run on the current tokio runtime.
    pub fn new(
        log: Log,
        classes: Classes,
        sinks: Box<[Arc<dyn Sink>]>,
        settings: Settings,
        rosters: StoredRosters,
        metrics: Metrics,
    ) -> Self {
        assert!(sinks.len() <= 64, "the subscribed sinks are a 64-bit set");
        let presence = presence::Shared::new(
            settings.presence,
            rosters,
            settings.clock.clone(),
            metrics.presence.clone(),
        );
        let shared = Arc::new(Shared {
            log,
            classes,
            sinks,
            metrics,
            runtime: tokio::runtime::Handle::current(),
            instances: TaskTracker::new(),
            awake: AwakeLimit::new(settings.max_awake, settings.max_waking),
            presence,
            settings,
            entries: Mutex::default(),
        });
        shared.forget_absent();
        Self(shared)
    }

    /// Wakes the pinned objects, in the background.
    pub fn wake_pinned(&self) {
        for name in &self.0.settings.pinned {
            self.open(name, |opened| match opened {
                Ok(handle) => handle.wake_pinned(),
                Err(error) => error!(%error, "cannot open a pinned object"),
            });
        }
    }

    /// Asks the least recently used idle objects to sleep early, because memory is short. Visits every awake object.
    pub fn relieve(&self) {
        self.0.awake.relieve();
    }

    /// Ends all instances and waits for them. The caller must post no further input.
    pub async fn end(&self) {
        self.0.presence.end();
        // First, for what is being opened: see `wake_pinned`.
        self.0.instances.close();
        let in_use: Vec<_> =
            self.0.entries.lock().values().filter_map(HandleEntry::handle).collect();
        for handle in in_use {
            handle.end();
        }
        self.0.instances.wait().await;
    }

    /// Whether there is such a class.
    pub fn knows_class(&self, class: &str) -> bool {
        self.0.classes.contains_key(class)
    }

    /// The object's handle, if it is in use.
    pub fn get(&self, name: &ObjectName) -> Option<Arc<Handle>> {
        self.0.entries.lock().get(name)?.handle()
    }

    /// The objects in use whose names come after `after`, in the order of their names, at most `limit`; only those in one
    /// state where one is named. An object that stays in use during the call is in the list. The
    /// call locks the registry for [`LISTED_AT_ONCE`] objects at a time.
    pub fn in_use(&self, after: Option<&ObjectName>, state: Option<State>, limit: usize) -> InUse {
        let (mut objects, mut after) = (Vec::new(), after.cloned());
        loop {
            let (found, last) = self.next_in_use(after.as_ref());
            // The lock is released here: dropping the last handle of an object takes it.
            for handle in found {
                if state.is_none_or(|state| handle.state() == state) {
                    if objects.len() == limit {
                        return InUse { objects, more: true };
                    }
                    objects.push(handle);
                }
            }
            match last {
                Some(last) => after = Some(last),
                None => return InUse { objects, more: false },
            }
        }
    }

    /// Up to [`LISTED_AT_ONCE`] objects after a name, and the last name visited if there are more.
    fn next_in_use(&self, after: Option<&ObjectName>) -> (Vec<Arc<Handle>>, Option<ObjectName>) {
        let entries = self.0.entries.lock();
        let later = entries.range((after.map_or(Unbounded, Excluded), Unbounded));
        let (mut found, mut last) = (Vec::new(), None);
        for (index, (name, entry)) in later.enumerate() {
            found.extend(entry.handle());
            if index + 1 == LISTED_AT_ONCE {
                last = Some(name.clone());
                break;
            }
        }
        (found, last)
    }

    /// The time of day by the clock of the objects, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        self.0.settings.clock.now_ms()
    }

    /// How many objects in use are in a state.
    pub fn count(&self, state: State) -> u64 {
        self.0.metrics.objects_in(state)
    }

    /// The stored part of an object, if it has any event. Reads on another thread.
    pub async fn stored(&self, name: &ObjectName) -> Result<Option<Stored>, ReadError> {
        let (log, name) = (self.0.log.clone(), name.clone());
        self.0.settings.reads.spawn(move || log.find(&name)).await
    }

    /// Opens an object and passes it to `then`, which runs at once or on another thread and must not block.
    pub fn open(&self, name: &ObjectName, then: impl FnOnce(Opened) + Send + 'static) {
        let mut entries = self.0.entries.lock();
        match entries.get_mut(name) {
            Some(HandleEntry::Opening(waiters)) => return waiters.push(Box::new(then)),
            Some(HandleEntry::Open(handle)) => {
                if let Some(handle) = handle.upgrade() {
                    drop(entries);
                    return then(Ok(handle));
                }
            }
            None => {}
        }
        // The previous handle is gone, so everything it appended is on disk.
        entries.insert(name.clone(), HandleEntry::Opening(vec![Box::new(then)]));
        drop(entries);
        let (shared, name) = (self.0.clone(), name.clone());
        self.0.settings.reads.spawn(move || shared.find(&name));
    }
}

impl Shared {
    /// Blocking: reads the log and passes the handle to all waiting callbacks.
    fn find(self: &Arc<Self>, name: &ObjectName) {
        let found = self.log.find(name).map(|stored| {
            let (identity, head) = match stored {
                Some(stored) => (stored.identity, stored.tail.offset),
                None => (self.log.new_identity(name.clone()), 0),
            };
            let handle = Arc::new(Handle::new(identity, head, self.clone()));
            handle.restore_presence();
            handle
        });
        let mut entries = self.entries.lock();
        let entry = match &found {
            Ok(handle) => entries.insert(name.clone(), HandleEntry::Open(Arc::downgrade(handle))),
            Err(_) => entries.remove(name),
        };
        drop(entries);
        let Some(HandleEntry::Opening(waiters)) = entry else { return };
        match found {
            Ok(handle) => {
                for waiter in waiters {
                    waiter(Ok(handle.clone()));
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for waiter in waiters {
                    waiter(Err(error.clone()));
                }
            }
        }
    }

    /// Removes the entry of a dropped handle, unless the object is in use again.
    pub(super) fn forget(&self, name: &ObjectName) {
        let mut entries = self.entries.lock();
        if let Some(HandleEntry::Open(handle)) = entries.get(name)
            && handle.strong_count() == 0
        {
            entries.remove(name);
        }
    }
}
