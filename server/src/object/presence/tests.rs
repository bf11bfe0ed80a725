//! Rosters: against the simplest thing that one could be, in their time, and over restarts.

mod delivery;
mod model;
mod restart;
mod time;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dormouse_protocol::{self as wire, Encoding, Payload, ServerMessage};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::*;
use crate::limits::{Budget, Permit};
use crate::log::{self, Options};
use crate::object::handle::Handle;
use crate::object::{Address, Delivery, Registry, Sink, metrics, registry};
use crate::session::SessionId;

const INTERVAL: Duration = Duration::from_millis(100);
const GRACE: Duration = Duration::from_secs(10);
const TO: Address = Address { connection: 1, generation: 2, request: 3 };

fn user(name: char) -> Owner {
    Owner::new(SessionId::of(name.into()), None)
}

fn holder(number: u64) -> Holder {
    Holder(number)
}

fn payload(text: &str) -> Payload {
    Payload::of(&text).unwrap()
}

/// A permit of a budget that has no end.
fn permit() -> Permit {
    Budget::unlimited().charge(1 << 20)
}

fn said(payload: &Payload) -> Data {
    Data::new(payload, permit())
}

/// An sink that keeps what it is given.
#[derive(Default)]
struct RecordingSink(Mutex<Vec<Delivery>>);

impl Sink for RecordingSink {
    fn deliver(&self, delivery: Delivery) {
        self.0.lock().push(delivery);
    }
}

impl RecordingSink {
    /// What has come since this was last asked, as members see it.
    fn take(&self) -> Vec<ServerMessage> {
        let deliveries = std::mem::take(&mut *self.0.lock());
        deliveries.iter().map(message).collect()
    }

    fn take_deltas(&self) -> Vec<wire::Presence> {
        let only_deltas = |message| match message {
            ServerMessage::Presence(delta) => delta,
            other => panic!("{other:?}"),
        };
        self.take().into_iter().map(only_deltas).collect()
    }

    fn take_roster(&self) -> wire::Roster {
        let mut messages = self.take();
        match (messages.pop(), messages.pop()) {
            (Some(ServerMessage::Roster(roster)), None) => roster,
            other => panic!("{other:?}"),
        }
    }
}

/// What a member that watches the members gets; the same in both encodings.
fn message(delivery: &Delivery) -> ServerMessage {
    let encoded = |encoding| match delivery {
        Delivery::Presence(frames) => frames.encoded(encoding, View::Members).to_vec(),
        Delivery::Roster { roster, .. } => roster.encoded(encoding).to_vec(),
        other => panic!("{other:?}"),
    };
    let decoded = |encoding: Encoding| encoding.decode_server(&encoded(encoding)).unwrap();
    let message = decoded(Encoding::Msgpack);
    assert_eq!(message, decoded(Encoding::Json));
    message
}

/// Objects on a log, with two sinks.
struct World {
    registry: Registry,
    log: Log,
    sinks: [Arc<RecordingSink>; 2],
}

impl World {
    fn start(dir: &Path) -> Self {
        Self::start_with(dir, |_| ())
    }

    fn start_with(dir: &Path, change: impl FnOnce(&mut Settings)) -> Self {
        let prometheus = prometheus::Registry::new();
        let log_metrics = log::Metrics::register(&prometheus).unwrap();
        let log = Log::open(dir, Options::default(), log_metrics).unwrap();
        let mut presence =
            Settings { interval: INTERVAL, grace: GRACE, max_members: 2_000, page_members: 500 };
        change(&mut presence);
        let settings = registry::Settings { presence, ..registry::Settings::least() };
        let sinks: [Arc<RecordingSink>; 2] = Default::default();
        let dyn_sinks = sinks.iter().map(|sink| sink.clone() as Arc<dyn Sink>).collect();
        let metrics = metrics::Metrics::register(&prometheus).unwrap();
        let rosters = StoredRosters::read(&log).unwrap();
        let registry = Registry::new(log.clone(), [].into(), dyn_sinks, settings, rosters, metrics);
        Self { registry, log, sinks }
    }

    async fn open(&self, name: &str) -> Arc<Handle> {
        let (done, opened) = oneshot::channel();
        self.registry.open(&name.parse().unwrap(), move |opened| drop(done.send(opened)));
        opened.await.unwrap().unwrap()
    }

    async fn stop(self) {
        self.registry.end().await;
        self.log.close();
    }
}

fn tasks(handle: &Handle) -> usize {
    handle.shared.instances.len()
}

fn just_before(time: Duration) -> Duration {
    time.saturating_sub(Duration::from_millis(1))
}

/// A member of a user, on a connection of its own.
fn come(handle: &Arc<Handle>, name: char, number: u64, text: &str) -> u64 {
    let member = handle.new_member();
    let entrant = Entrant {
        asked: None,
        member,
        owner: user(name),
        holder: holder(number),
        data: said(&payload(text)),
    };
    handle.present(entrant).unwrap()
}
