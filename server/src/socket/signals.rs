//! Signals: from a member to the members of now, on all reactors, without an instance and without the log.
//!
//! A socket that takes nothing keeps the newest signal of each sender and key, up to a bound; the others it does not get.

use std::sync::Arc;

use bytes::Bytes;
use dormouse_protocol::{Encoding, ServerMessage, Signal, SignalItem, Signals};

use super::Settings;
use super::connection::Connection;
use super::framing::Framed;
use super::inbox::SignalFrames;
use super::metrics::Metrics;
use super::reactor::Reactor;
use super::work::{Busy, KeptSignal};
use crate::limits::Budget;
use crate::log::ObjectId;

/// What became of a signal that its socket did not take.
enum Kept {
    Added,
    /// It took the place of an older one with the same key.
    Replaced,
    Dropped,
}

impl Busy {
    /// Keeps a signal until the socket takes more: at most so many, and so many bytes of them.
    fn keep_signal(
        &mut self,
        signal: &SignalFrames,
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
    pub(super) fn takes_signals(&self) -> bool {
        !self.work.blocked && self.work.signals.is_empty()
    }
}

/// Keeps signals for a socket that takes nothing, the newest of each sender and key.
pub(super) fn keep_signals(
    connection: &mut Connection,
    signals: &[Arc<SignalFrames>],
    settings: &Settings,
    budget: &Budget,
    metrics: &Metrics,
) {
    let form = connection.form;
    let work = connection.work.begin();
    for signal in signals {
        let Some(frame) = signal.frame(form) else { continue };
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

impl Reactor {
    /// Sends a member's signal to the members on all reactors. No instance is needed.
    pub(super) fn signal(&mut self, key: usize, signal: Signal) {
        let connection = &mut self.connections[key];
        let object = ObjectId(signal.object);
        let Some(joined) = connection.joined(object) else {
            return self.refuse_not_joined(key, signal.id);
        };
        let handle = self.audiences[joined.audience as usize].handle.clone();
        let sender = connection.session;
        let item =
            SignalItem { sender: (&*sender).into(), data: signal.data, key: signal.key.clone() };
        let message =
            ServerMessage::Signals(Signals { object: signal.object, signals: vec![item] });
        let mut frames = [const { None }; 2];
        for encoding in [Encoding::Msgpack, Encoding::Json] {
            if handle.is_heard_in(encoding) {
                let payload = encoding.encode_server(&message);
                let Some(made) = Framed::new(encoding, &payload, &self.common.budget) else {
                    return self.refuse_signal(key, signal.id);
                };
                frames[encoding as usize] = Some(made);
            }
        }
        let signal_frames = Arc::new(SignalFrames { object, sender, key: signal.key, frames });
        for outlet in handle.listeners() {
            if outlet == self.index {
                self.take_signal(signal_frames.clone());
            } else if !self.common.inboxes[outlet].push_signal(signal_frames.clone()) {
                self.common.metrics.signals_dropped.inc();
            }
        }
        if let Some(id) = signal.id {
            self.done(key, id);
        }
    }

    fn refuse_signal(&mut self, key: usize, id: Option<u32>) {
        self.common.metrics.signals_dropped.inc();
        if let Some(id) = id {
            self.refuse_for_memory(key, id);
        }
    }

    /// A signal for the members here. It goes out together with what else there is for them.
    pub(super) fn take_signal(&mut self, signal: Arc<SignalFrames>) {
        let object = signal.object;
        let Some(&key) = self.audience_of.get(&object) else { return };
        self.work += self.audiences[key as usize].members.len() as u64;
        if self.gather(key, object).is_full() {
            self.fan_out(object);
        }
        self.gather(key, object).add_signal(signal);
    }

    /// The socket takes more: what it still has to know of signals goes first.
    pub(super) fn release_signals(&mut self, key: usize) {
        let Some(work) = self.connections[key].work.go_on() else { return };
        for kept in std::mem::take(&mut work.signals) {
            work.outbox.push_shared(kept.frame);
            self.common.metrics.delivered_signals.inc();
        }
    }
}
