//! The machine with the server on it: the real parts, each of which moves only when it is told to.

use std::cell::{Cell, RefCell};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dormouse_protocol::ObjectName;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};

use super::bounds::{Bounds, SOCKETS};
use super::chance::{below, one_in};
use super::instances::Instances;
use super::trace::{Line, Trace};
use crate::clock::Clock;
use crate::limits::{Budget, Permit};
use crate::log::stepped::{Committed, Disk, Stepped as Writer};
use crate::log::{Job, ReadPool};
use crate::object::presence::StoredRosters;
use crate::object::{Classes, Handle, Registry};
use crate::session::Session;
use crate::socket::{Accepted, ConnectionPermits, ReactorBuilders, Stepped as Reactor, WireFormat};
use crate::{log, object, room, socket};

/// The metrics of all machines.
#[derive(Clone)]
pub(super) struct Metrics {
    registry: prometheus::Registry,
    log: log::Metrics,
    object: object::Metrics,
    socket: socket::Metrics,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let registry = prometheus::Registry::new();
        Self {
            log: log::Metrics::register(&registry).expect("they are new"),
            object: object::Metrics::register(&registry).expect("they are new"),
            socket: socket::Metrics::register(&registry).expect("they are new"),
            registry,
        }
    }

    /// Everything that was counted, as it is shown to operators.
    pub(super) fn text(&self) -> String {
        let families = self.registry.gather();
        prometheus::TextEncoder::new().encode_to_string(&families).expect("they are text")
    }
}

/// Bytes that clients may make the machine hold.
const MEMORY: usize = 1 << 30;

pub(super) struct Machine {
    reactors: Vec<RefCell<Reactor>>,
    writer: RefCell<Writer>,
    /// Reads of the log that wait.
    reads: Arc<Mutex<Vec<Job>>>,
    /// Others move in the middle of a turn. What moves there is not interrupted itself.
    is_interrupted: Cell<bool>,
    registry: Registry,
    /// What is on disk, in order, and was not looked at yet.
    committed: RefCell<Vec<Committed>>,
    slots: ConnectionPermits,
    accepted: Cell<usize>,
    has_failed: Cell<bool>,
    pub(super) instances: Instances,
    pub(super) budget: Budget,
    /// Memory that something else uses.
    used: RefCell<Option<Permit>>,
    was_short: Cell<bool>,
    trace: Trace,
    /// The last: what the others drop may still look at the time.
    runtime: Runtime,
}

impl Machine {
    /// Whether there was a time without memory.
    pub(super) fn was_short(&self) -> bool {
        self.was_short.get()
    }

    /// Something uses all memory but so many bytes; or nothing does any more.
    pub(super) fn use_memory(&self, but: Option<usize>) {
        self.was_short.set(self.was_short.get() || but.is_some());
        *self.used.borrow_mut() = None;
        let free = MEMORY.saturating_sub(self.budget.in_use());
        *self.used.borrow_mut() = but.map(|but| self.budget.charge(free.saturating_sub(but)));
    }

    /// Starts the server on a disk.
    pub(super) fn start(
        bounds: &Bounds,
        disk: &Disk,
        metrics: &Metrics,
        clock: &Clock,
        trace: Trace,
    ) -> Self {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            // One task at a time.
            .event_interval(1)
            .build()
            .expect("a runtime needs nothing");
        let guard = runtime.enter();
        let (log, writer) = disk.start(metrics.log.clone(), clock.now_ms());
        let budget = Budget::new(MEMORY, &prometheus::Registry::new());
        let budget = budget.expect("an empty registry takes every metric");
        let builders = ReactorBuilders::new(bounds.reactors, SOCKETS, &budget, &metrics.socket)
            .expect("there are descriptors");
        let instances = Instances::default();
        let classes = Classes::from([(room::CLASS, instances.class(bounds))]);
        let reads = Arc::<Mutex<Vec<Job>>>::default();
        let queue = Arc::downgrade(&reads);
        let pool = ReadPool::new(move |job| {
            // A machine that is switched off reads nothing any more.
            if let Some(reads) = queue.upgrade() {
                reads.lock().push(job);
            }
        });
        let settings = bounds.objects(&budget, clock.clone(), pool);
        let object_metrics = metrics.object.clone();
        let rosters = StoredRosters::read(&log).expect("they can be read");
        let registry =
            Registry::new(log, classes, builders.sinks(), settings, rosters, object_metrics);
        let reactors =
            Reactor::all(builders, &registry, bounds.sockets(), &budget, &metrics.socket);
        drop(guard);
        Self {
            reactors: reactors.into_iter().map(RefCell::new).collect(),
            writer: RefCell::new(writer),
            reads,
            is_interrupted: Cell::new(false),
            registry,
            committed: RefCell::default(),
            slots: ConnectionPermits::new(usize::MAX, Budget::unlimited()),
            accepted: Cell::new(0),
            has_failed: Cell::new(false),
            instances,
            budget,
            used: RefCell::default(),
            was_short: Cell::default(),
            trace,
            runtime,
        }
    }

    /// Other parts may move in the middle of a turn.
    fn interrupt(&self) {
        if !self.is_interrupted.replace(true) {
            if one_in(3) {
                (0..=below(6)).for_each(|_| self.step());
            }
            self.is_interrupted.set(false);
        }
    }

    /// Takes a connection, as HTTP does after its upgrade.
    pub(super) fn accept(&self, socket: UnixStream, format: WireFormat, session: Session) {
        let next = self.accepted.replace(self.accepted.get() + 1) % self.reactors.len();
        self.reactors[next].borrow().accept(Accepted {
            tls: None,
            client: None,
            stream: TcpStream::from(OwnedFd::from(socket)),
            answer: Bytes::new(),
            read: Bytes::new(),
            format,
            echoes: false,
            session: Ok(session),
            admitted: Ok(None),
            slot: self.slots.take().expect("there is no bound"),
        });
    }

    /// Lets some part move. It may have nothing to do, or be in the middle of something: then nothing happens.
    pub(super) fn step(&self) {
        let _guard = self.runtime.enter();
        match below(10) {
            0..4 => _ = self.turn(below(self.reactors.len())),
            4..6 => _ = self.read(),
            6..7 => _ = self.commit(),
            7..8 => _ = self.tell(),
            _ => {
                self.trace.note(Line::Task);
                self.run_task();
            }
        }
    }

    /// Lets all parts move until none does any more.
    pub(super) fn settle(&self) {
        let mut quiet = 0;
        while quiet < 2 {
            let _guard = self.runtime.enter();
            let mut moves = self.commit();
            while self.tell() || self.read() {
                moves = true;
            }
            for reactor in 0..self.reactors.len() {
                moves |= self.turn(reactor);
            }
            let tasks = self.runtime.metrics().num_alive_tasks();
            (0..3 * tasks + 3).for_each(|_| self.run_task());
            quiet = if moves { 0 } else { quiet + 1 };
        }
    }

    fn turn(&self, reactor: usize) -> bool {
        let Ok(mut turned) = self.reactors[reactor].try_borrow_mut() else { return false };
        let moves = turned.turn(|| self.interrupt());
        if moves {
            self.trace.note(Line::Turn(reactor));
        }
        moves
    }

    fn run_task(&self) {
        // Within a task there is no other.
        if tokio::task::try_id().is_none() {
            self.runtime.block_on(tokio::task::yield_now());
        }
    }

    /// Runs one of the reads that wait, in any order.
    fn read(&self) -> bool {
        let waiting = self.reads.lock().len();
        if waiting > 0 {
            let nth = below(waiting);
            self.trace.note(Line::Read(nth, waiting));
            let read = self.reads.lock().remove(nth);
            read();
        }
        waiting > 0
    }

    fn commit(&self) -> bool {
        let Ok(mut writer) = self.writer.try_borrow_mut() else { return false };
        let Some(committed) = writer.commit() else { return false };
        let (events, trims) = (committed.events.len(), committed.trimmed.len());
        self.trace.note(Line::Commit(events, trims));
        self.committed.borrow_mut().push(committed);
        true
    }

    /// Tells one of those who wait for the last commit.
    fn tell(&self) -> bool {
        let Ok(mut writer) = self.writer.try_borrow_mut() else { return false };
        let moves = writer.finish();
        if moves {
            self.trace.note(Line::Told);
        }
        moves
    }

    /// Lets time pass.
    pub(super) fn pass(&self, time: Duration) {
        self.runtime.block_on(tokio::time::advance(time));
    }

    /// What was committed since this was last asked.
    pub(super) fn take_committed(&self) -> Vec<Committed> {
        self.committed.take()
    }

    /// An object that is in use.
    pub(super) fn object(&self, name: &ObjectName, act: impl FnOnce(&Arc<Handle>)) {
        let _guard = self.runtime.enter();
        if let Some(handle) = self.registry.get(name) {
            act(&handle);
        }
    }

    pub(super) fn trim(&self, name: &ObjectName, keep: u64) {
        self.writer.borrow().trim(name, keep);
    }

    pub(super) fn fail_disk(&self) {
        self.has_failed.set(true);
        self.writer.borrow_mut().fail();
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.get()
    }
}
