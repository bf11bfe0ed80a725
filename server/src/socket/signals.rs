//! Signals: from a member to the members of now, on all reactors, without an instance and without the log.
//!
//! A socket that takes nothing keeps the newest signal of each sender and key, up to a bound; the others it does not get.

use std::sync::Arc;

use bytes::Bytes;
use dormouse_protocol::{Encoding, ServerMessage, Signal, SignalItem, Signals};

use super::audience::Standing;
use super::frame;
use super::inbox::SignalFrames;
use super::reactor::Reactor;
use super::work::{Busy, KeptSignal};
use crate::log::ObjectId;

/// Signals of one object that go out together. More are not gathered, so that no member is given too much at once.
const JOINED_SIGNALS: usize = 64;

/// Signals as one stretch of bytes, for all who speak an encoding.
struct Joined {
    frames: Bytes,
    count: u64,
}

/// None where nobody speaks it.
fn join(signals: &[Arc<SignalFrames>], encoding: Encoding) -> Option<Joined> {
    let frames = || signals.iter().filter_map(|signal| signal.frames[encoding as usize].as_ref());
    let count = frames().count() as u64;
    let frames = match count {
        0 => return None,
        1 => frames().next()?.clone(),
        _ => frames().map(Bytes::as_ref).collect::<Vec<_>>().concat().into(),
    };
    Some(Joined { frames, count })
}

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
        let encoded = |encoding: Encoding| {
            let heard = handle.is_heard_in(encoding);
            heard.then(|| frame::message(encoding, &encoding.encode_server(&message)))
        };
        let frames = [encoded(Encoding::Msgpack), encoded(Encoding::Json)];
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

    /// A signal for the members here. It goes out at the end of the turn, together with the others of this turn.
    pub(super) fn take_signal(&mut self, signal: Arc<SignalFrames>) {
        let object = signal.object;
        let Some(&audience) = self.audience_of.get(&object) else { return };
        let audience = &mut self.audiences[audience as usize];
        self.work += audience.members.len() as u64;
        if audience.signals.is_empty() {
            self.signalled.push(object);
        }
        audience.signals.push(signal);
        if audience.signals.len() >= JOINED_SIGNALS {
            self.fan_out_signals(object);
        }
    }

    /// Queues the turn's signals for the members.
    pub(super) fn fan_out_all_signals(&mut self) {
        for object in std::mem::take(&mut self.signalled) {
            self.fan_out_signals(object);
        }
    }

    /// Queues an object's signals for the members here. A socket that takes nothing keeps the newest of each sender and key.
    fn fan_out_signals(&mut self, object: ObjectId) {
        let Some(&audience) = self.audience_of.get(&object) else { return };
        let audience = &mut self.audiences[audience as usize];
        let signals = std::mem::take(&mut audience.signals);
        let joined = [Encoding::Msgpack, Encoding::Json].map(|encoding| join(&signals, encoding));
        let (settings, metrics) = (&self.common.settings, &self.common.metrics);
        let mut delivered = 0;
        for member in &audience.members {
            let connection = &mut self.connections[member.connection as usize];
            let encoding = connection.encoding as usize;
            let Some(Joined { frames, count }) = &joined[encoding] else { continue };
            if member.standing == Standing::Joining {
                continue;
            }
            // While older ones are kept, a newer one must not overtake them.
            let work = &connection.work;
            let has_room = work.outbox.bytes() <= settings.outbound_bytes;
            if has_room && !work.blocked && work.signals.is_empty() {
                connection.work.begin().outbox.push(frames.clone());
                self.dirty.add(member.connection, connection);
                delivered += count;
                continue;
            }
            let work = connection.work.begin();
            for signal in &signals {
                let Some(frame) = &signal.frames[encoding] else { continue };
                let (most, bytes) = (settings.kept_signals, settings.outbound_bytes);
                match work.keep_signal(signal, frame, most, bytes) {
                    Kept::Added => {}
                    Kept::Replaced => metrics.signals_conflated.inc(),
                    Kept::Dropped => metrics.signals_dropped.inc(),
                }
            }
        }
        metrics.delivered_signals.inc_by(delivered);
    }

    /// The socket takes more: what it still has to know of signals goes first.
    pub(super) fn release_signals(&mut self, key: usize) {
        let Some(work) = self.connections[key].work.go_on() else { return };
        for kept in std::mem::take(&mut work.signals) {
            work.outbox.push(kept.frame);
            self.common.metrics.delivered_signals.inc();
        }
    }
}
