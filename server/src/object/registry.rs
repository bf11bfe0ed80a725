//! Finds the one handle of an object, reading the log where nobody has it in use.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use dormouse_protocol::ObjectName;
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use super::awake::Awake;
use super::class::Classes;
use super::handle::Handle;
use super::metrics::Metrics;
use super::outlet::Outlet;
use super::presence;
use crate::log::{Log, ReadError};

/// What the operator decides about objects.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Messages that may wait for one object.
    pub mailbox: usize,
    /// Objects that may be awake at one time.
    pub max_awake: usize,
    /// How long an instance stays without a message.
    pub sleep_after: Duration,
    /// How long a publish's key is remembered.
    pub dedupe_window: Duration,
    /// Of how many last events the keys are remembered.
    pub dedupe_events: u64,
    /// About rosters.
    pub presence: presence::Settings,
}

/// The outcome of opening an object.
pub type Opened = Result<Arc<Handle>, Arc<ReadError>>;

type Waiter = Box<dyn FnOnce(Opened) + Send>;

/// All objects in use. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

/// What handles and instances share.
pub(super) struct Shared {
    pub(super) log: Log,
    pub(super) classes: Classes,
    pub(super) outlets: Box<[Arc<dyn Outlet>]>,
    pub(super) settings: Settings,
    pub(super) metrics: Metrics,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) instances: TaskTracker,
    pub(super) awake: Awake,
    pub(super) presence: presence::Shared,
    slots: Mutex<HashMap<ObjectName, Slot>>,
}

enum Slot {
    /// The log is being read; these wait for it.
    Opening(Vec<Waiter>),
    Open(Weak<Handle>),
}

impl Slot {
    fn handle(&self) -> Option<Arc<Handle>> {
        match self {
            Self::Open(handle) => handle.upgrade(),
            Self::Opening(_) => None,
        }
    }
}

impl Registry {
    /// A registry of objects of these classes, which speak through these outlets (at most 64). Instances run on
    /// the current tokio runtime.
    pub fn new(
        log: Log,
        classes: Classes,
        outlets: Box<[Arc<dyn Outlet>]>,
        settings: Settings,
        metrics: Metrics,
    ) -> Self {
        assert!(outlets.len() <= 64, "an audience is a 64-bit set");
        let presence = presence::Shared::new(&log, settings.presence, metrics.presence.clone());
        let shared = Arc::new(Shared {
            log,
            classes,
            outlets,
            settings,
            metrics,
            runtime: tokio::runtime::Handle::current(),
            instances: TaskTracker::new(),
            awake: Awake::new(settings.max_awake),
            presence,
            slots: Mutex::default(),
        });
        shared.forget_absent();
        Self(shared)
    }

    /// Ends all instances and waits for them. Nobody may send to objects any more.
    pub async fn end(&self) {
        self.0.presence.end();
        let awake: Vec<_> = self.0.slots.lock().values().filter_map(Slot::handle).collect();
        for handle in awake {
            handle.end();
        }
        self.0.instances.close();
        self.0.instances.wait().await;
    }

    /// Whether there is such a class.
    pub fn knows_class(&self, class: &str) -> bool {
        self.0.classes.contains_key(class)
    }

    /// The object's handle, if it is in use.
    pub fn get(&self, name: &ObjectName) -> Option<Arc<Handle>> {
        self.0.slots.lock().get(name)?.handle()
    }

    /// Opens an object and passes it to `then`, which runs at once or on another thread and must not block.
    pub fn open(&self, name: &ObjectName, then: impl FnOnce(Opened) + Send + 'static) {
        let mut slots = self.0.slots.lock();
        match slots.get_mut(name) {
            Some(Slot::Opening(waiters)) => return waiters.push(Box::new(then)),
            Some(Slot::Open(handle)) => {
                if let Some(handle) = handle.upgrade() {
                    drop(slots);
                    return then(Ok(handle));
                }
            }
            None => {}
        }
        // Whoever used the object before is gone, so all it appended is on disk for us to find.
        slots.insert(name.clone(), Slot::Opening(vec![Box::new(then)]));
        drop(slots);
        let (shared, name) = (self.0.clone(), name.clone());
        self.0.runtime.spawn_blocking(move || shared.find(&name));
    }
}

impl Shared {
    /// Blocking: reads the log and passes the handle to all who wait for it.
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
        let mut slots = self.slots.lock();
        let slot = match &found {
            Ok(handle) => slots.insert(name.clone(), Slot::Open(Arc::downgrade(handle))),
            Err(_) => slots.remove(name),
        };
        drop(slots);
        let Some(Slot::Opening(waiters)) = slot else { return };
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

    /// Removes the slot of a handle that is gone, unless the object is in use again.
    pub(super) fn forget(&self, name: &ObjectName) {
        let mut slots = self.slots.lock();
        if let Some(Slot::Open(handle)) = slots.get(name)
            && handle.strong_count() == 0
        {
            slots.remove(name);
        }
    }
}
