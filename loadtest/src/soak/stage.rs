//! What everybody in a soak shares: the server, the objects, the oracle and how far the run has come.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use dormouse_protocol::ObjectName;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::faults::Fault;
use super::oracle::{Kept, Oracle};
use crate::load::target::Target;

/// How the server has to be configured. What members see of grace and retention is checked against it; the rest lets objects fall
/// asleep, slow readers fall behind and half handshakes end within the time that somebody waits for it.
pub(super) const SETTINGS: [(&str, &str); 9] = [
    ("CLASSES_ROOM_SLEEP_AFTER", "300ms"),
    ("CLASSES_ROOM_RETENTION_MAX_EVENTS", "500"),
    ("CLASSES_ROOM_RETENTION_MAX_AGE", "20s"),
    ("PRESENCE_GRACE", "2s"),
    ("OBJECTS_MAX_AWAKE", "100"),
    ("OBJECTS_DEDUPE_WINDOW", "30s"),
    ("LIMITS_MESSAGE_BYTES", "16KiB"),
    ("LIMITS_OUTBOUND_BYTES", "32KiB"),
    ("LIMITS_HANDSHAKE_TIMEOUT", "2s"),
];
/// The same, for the checks.
pub(super) const KEPT: Kept = Kept { events: 500, age: Duration::from_secs(20) };
/// The same.
pub(super) const GRACE: Duration = Duration::from_secs(2);
/// The same.
pub(super) const MESSAGE_BYTES: usize = 16 << 10;
/// Objects that get half of the publishes. They are trimmed all the time, and their payloads are large.
pub(super) const HOT: usize = 2;
/// Bytes of a payload in a hot object and in another one.
pub(super) const PAYLOADS: [usize; 2] = [2_000, 100];

/// How far the run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Everybody does what he does.
    Running,
    /// Nobody begins anything more.
    Finishing,
    /// Everything is published: who follows an object ends when it has everything.
    Draining,
}

/// What all share.
pub(super) struct Stage {
    pub(super) url: String,
    pub(super) address: SocketAddr,
    pub(super) internal: SocketAddr,
    names: Vec<ObjectName>,
    /// Objects that are there from the start; the others are added until `grown`.
    first: usize,
    started: Instant,
    grown: Duration,
    oracle: Mutex<Oracle>,
    phase: watch::Sender<Phase>,
    /// Who has published all that he will.
    settled: watch::Sender<usize>,
}

impl Stage {
    /// Of so many objects, whose names nobody else uses. All of them are in use after `grown`.
    pub(super) fn new(
        target: &Target,
        objects: usize,
        first: usize,
        grown: Duration,
    ) -> anyhow::Result<Self> {
        let run = rand::random::<u32>();
        let name = |nth| format!("room/soak-{run:08x}-{nth}").parse();
        Ok(Self {
            url: format!("ws://{}", target.address),
            address: target.address,
            internal: target.internal,
            names: (0..objects).map(name).collect::<Result<_, _>>()?,
            first,
            started: Instant::now(),
            grown,
            oracle: Mutex::new(Oracle::new(objects, KEPT, &PAYLOADS)),
            phase: watch::Sender::new(Phase::Running),
            settled: watch::Sender::new(0),
        })
    }

    pub(super) fn oracle(&self) -> MutexGuard<'_, Oracle> {
        self.oracle.lock().expect("nobody panics while it holds the oracle")
    }

    pub(super) fn fault(&self, fault: Fault, words: impl FnOnce() -> String) {
        self.oracle().faults.add(fault, words);
    }

    pub(super) fn name(&self, object: usize) -> &ObjectName {
        &self.names[object]
    }

    /// Objects that are in use by now.
    pub(super) fn objects(&self) -> usize {
        let passed = self.started.elapsed().min(self.grown).as_micros();
        let more = (self.names.len() - self.first) as u128 * passed / self.grown.as_micros().max(1);
        self.first + more as usize
    }

    /// Any of them: one of the hot ones half of the time.
    pub(super) fn any_object(&self) -> usize {
        match rand::random_range(0..2) {
            0 => rand::random_range(0..HOT),
            _ => rand::random_range(HOT..self.objects()),
        }
    }

    /// The run has come so far, if it was not further.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let is_later = phase > *now;
            *now = phase.max(*now);
            is_later
        });
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(super) fn is_running(&self) -> bool {
        self.phase() == Phase::Running
    }

    /// Waits until the run has come so far.
    pub(super) async fn reached(&self, phase: Phase) {
        let mut reached = self.phase.subscribe();
        // The stage lives while anybody waits.
        let _ = reached.wait_for(|now| *now >= phase).await;
    }

    /// Somebody publishes nothing more, and everything that he has published is acknowledged or given up.
    pub(super) fn settle(&self) {
        self.settled.send_modify(|count| *count += 1);
    }

    /// Waits until so many have settled.
    pub(super) async fn settled(&self, count: usize) {
        // The stage lives while anybody waits.
        let _ = self.settled.subscribe().wait_for(|settled| *settled >= count).await;
    }

    /// Waits for a random time, but not beyond the run's end.
    pub(super) async fn pause(&self, range: std::ops::Range<f64>) {
        tokio::select! {
            () = sleep(random(range)) => {}
            () = self.reached(Phase::Finishing) => {}
        }
    }
}

/// A random time between so many seconds.
pub(super) fn random(seconds: std::ops::Range<f64>) -> Duration {
    Duration::from_secs_f64(rand::random_range(seconds))
}

/// Milliseconds since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed();
    since.expect("the clock is not before 1970").as_millis() as u64
}
