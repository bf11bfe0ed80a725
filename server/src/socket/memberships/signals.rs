//! Signals: from a member to the members of now, on all reactors, without an instance and without the log.
//!
//! A socket that takes nothing keeps the newest signal of each sender and key, up to a bound; the others it does not get.

use bytes::Bytes;
use dormouse_protocol::Signal;

use super::Memberships;
use super::frames::FramedSignal;
use crate::auth::Verb;
use crate::limits::Budget;
use crate::object::SignalFrames;
use crate::object::input::{self, Action};
use crate::socket::Settings;
use crate::socket::connections::Connections;
use crate::socket::connections::activity::{ActiveState, KeptSignal};
use crate::socket::connections::admit::Demand;
use crate::socket::connections::connection::Connection;
use crate::socket::metrics::Metrics;

/// What became of a signal that its socket did not take.
enum Kept {
    Added,
    /// It replaced an older one with the same key.
    Replaced,
    Dropped,
}

impl ActiveState {
    /// Keeps a signal until the socket takes more: at most so many, and so many bytes of them.
    fn keep_signal(
        &mut self,
        signal: &FramedSignal,
        frame: &Bytes,
        most: usize,
        bytes: usize,
    ) -> Kept {
        let Some(key) = &signal.key else { return Kept::Dropped };
        let is_older = |kept: &KeptSignal| {
            kept.object == signal.object && kept.sender == signal.sender && kept.key == *key
        };
        let older = self.signals.iter().position(is_older);
        let others = self.signals.iter().enumerate().filter(|(index, _)| Some(*index) != older);
        let kept_bytes: usize = others.map(|(_, kept)| kept.frame.len()).sum();
        if kept_bytes + frame.len() > bytes {
            return Kept::Dropped;
        }
        if let Some(older) = older {
            self.signals[older].frame = frame.clone();
            return Kept::Replaced;
        }
        if self.signals.len() >= most {
            return Kept::Dropped;
        }
        let (object, sender) = (signal.object, signal.sender);
        self.signals.push(KeptSignal { object, sender, key: key.clone(), frame: frame.clone() });
        Kept::Added
    }
}

impl Connection {
    /// Whether a signal can go into the outbox. While older ones are kept, a newer one must not overtake them.
    pub(in crate::socket) fn takes_signals(&self) -> bool {
        !self.activity.blocked && self.activity.signals.is_empty()
    }
}

/// Keeps signals for a socket that takes nothing, the newest of each sender and key.
pub(in crate::socket) fn keep_signals(
    connection: &mut Connection,
    signals: &[FramedSignal],
    settings: &Settings,
    budget: &Budget,
    metrics: &Metrics,
) {
    let format = connection.format;
    let work = connection.activity.begin();
    for signal in signals {
        let Some(frame) = signal.frame(format) else { continue };
        if !work.has_memory(budget) {
            metrics.signals_dropped.inc();
            continue;
        }
        match work.keep_signal(signal, frame, settings.kept_signals, settings.outbound_bytes) {
            Kept::Added => {}
            Kept::Replaced => metrics.signals_conflated.inc(),
            Kept::Dropped => metrics.signals_dropped.inc(),
        }
    }
}

impl Memberships {
    /// Posts a member's signal, for the members on all reactors.
    pub(in crate::socket) fn signal(
        &mut self,
        connections: &mut Connections,
        key: usize,
        signal: Signal,
    ) {
        let Some(joined) = connections.member(key, signal.object, signal.id, Some(Verb::Signal))
        else {
            return;
        };
        let audience = self.audience(joined.subscribers);
        if !connections.admit(key, signal.id, &Demand::Signal(joined.object, audience)) {
            return;
        }
        let connection = &mut connections[key];
        let action = Action::Signal(input::Signal {
            sender: connection.session,
            data: signal.data,
            key: signal.key,
            is_request: signal.id.is_some(),
        });
        if signal.id.is_some() {
            connection.activity.begin().in_flight += 1;
        }
        self.post(connections, key, signal.id.unwrap_or_default(), joined.object, action);
    }

    /// The number of members that a signal goes to. It is an estimate: each reactor has about the same number of connections.
    fn audience(&self, subscribers: u32) -> usize {
        let subscribers = &self.subscribers[subscribers as usize];
        subscribers.members.len() * subscribers.handle.subscribed_sinks().count()
    }

    /// A signal for the members here. It goes out together with what else there is for them.
    pub(in crate::socket) fn take_signal(
        &mut self,
        connections: &mut Connections,
        signal: &SignalFrames,
    ) {
        let object = signal.object;
        let Some(&key) = self.subscribers_of.get(&object) else { return };
        let subscribers = &self.subscribers[key as usize];
        connections.work += subscribers.members.len() as u64;
        let signal = FramedSignal::new(signal, &subscribers.speakers, &self.common.budget);
        if self.batch_for(key, object).is_full() {
            self.fan_out(connections, object);
        }
        self.batch_for(key, object).add_signal(signal);
    }
}
