//! From objects to sockets: events, signals and answers.
//!
//! A delivery is framed once and queued for every member that it follows on from; the sockets are written to at the end
//! of the turn, so that all that a turn brings for one socket leaves in one system call.

use std::sync::Arc;

use dormouse_protocol::{
    Encoding, ErrorCode, Published, ServerMessage, Signal, SignalItem, Signals,
};

use super::audience::{Delivered, Standing};
use super::connection::KeptSignal;
use super::frame;
use super::inbox::SignalFrames;
use super::reactor::Reactor;
use crate::log::ObjectId;
use crate::object::{Address, Answer, Delivery, EventFrames};

impl Reactor {
    pub(super) fn delivery(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Events(events) => {
                self.inbox.taken_events(&events);
                self.fan_out(&events);
            }
            Delivery::Answer(address, answer) => self.answer(address, answer),
        }
    }

    fn fan_out(&mut self, events: &EventFrames) {
        let Some(&audience) = self.audience_of.get(&events.object) else { return };
        let audience = &mut self.audiences[audience as usize];
        let delivered = Arc::new(Delivered::new(events));
        audience.note(&delivered);
        let count = events.last + 1 - events.first;
        let mut deliveries = 0;
        for place in 0..audience.members.len() {
            let member = audience.members[place];
            if member.standing != Standing::Live || member.position >= delivered.last {
                continue;
            }
            let connection = &mut self.connections[member.connection as usize];
            let follows = member.position + 1 == delivered.first;
            let has_room = connection.outbox.bytes() <= self.common.settings.outbound_bytes;
            let frame = delivered.frame(connection.encoding).filter(|_| follows && has_room);
            let Some(frame) = frame else {
                audience.fall_behind(place as u32);
                self.common.metrics.fell_behind.inc();
                // One whose outbox is full reads on when its socket has taken it.
                self.behind.push(member.connection);
                continue;
            };
            connection.outbox.push(frame.clone());
            self.dirty.add(member.connection, connection);
            audience.members[place].position = delivered.last;
            deliveries += count;
        }
        self.common.metrics.delivered_events.inc_by(deliveries);
    }

    /// Events of some objects did not fit into the inbox: their members read them from the log.
    pub(super) fn lagging(&mut self) {
        for object in self.inbox.take_lagging() {
            self.common.metrics.lagged.inc();
            let Some(&audience) = self.audience_of.get(&object) else { continue };
            let audience = &mut self.audiences[audience as usize];
            audience.newest = audience.newest.max(audience.handle.head());
            for place in 0..audience.members.len() {
                let member = audience.members[place];
                if member.standing == Standing::Live && member.position < audience.newest {
                    audience.fall_behind(place as u32);
                    self.behind.push(member.connection);
                }
            }
        }
    }

    fn answer(&mut self, address: Address, answer: Answer) {
        let Some(key) = self.find(address) else { return };
        let id = address.request;
        match answer {
            Answer::Published { offset, time, duplicate } => {
                let reply = Published { id, offset, time, duplicate };
                self.connections[key].queue(&ServerMessage::Published(reply));
            }
            Answer::Refused(code, why) => self.refuse(key, Some(id), code, &why),
        }
        self.mark_dirty(key);
        self.finish_request(key);
    }

    /// Sends a member's signal to the members on all reactors. No instance is needed.
    pub(super) fn signal(&mut self, key: usize, signal: Signal) {
        let connection = &mut self.connections[key];
        let object = ObjectId(signal.object);
        let Some(joined) = connection.joined(object) else {
            return self.refuse_not_joined(key, signal.id);
        };
        let handle = self.audiences[joined.audience as usize].handle.clone();
        let sender = connection.session.clone();
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
                self.fan_out_signal(&signal_frames);
            } else if !self.common.inboxes[outlet].push_signal(signal_frames.clone()) {
                self.common.metrics.signals_dropped.inc();
            }
        }
        if let Some(id) = signal.id {
            self.done(key, id);
        }
    }

    /// Queues a signal for the members here. A socket that takes nothing keeps the newest of each sender and key.
    pub(super) fn fan_out_signal(&mut self, signal: &SignalFrames) {
        let Some(&audience) = self.audience_of.get(&signal.object) else { return };
        for member in &self.audiences[audience as usize].members {
            let connection = &mut self.connections[member.connection as usize];
            let Some(frame) = &signal.frames[connection.encoding as usize] else { continue };
            // While older ones are kept, a newer one must not overtake them.
            let has_room = connection.outbox.bytes() <= self.common.settings.outbound_bytes;
            if has_room && !connection.blocked && connection.signals.is_empty() {
                connection.outbox.push(frame.clone());
                self.dirty.add(member.connection, connection);
                self.common.metrics.delivered_signals.inc();
                continue;
            }
            let Some(key) = &signal.key else {
                self.common.metrics.signals_dropped.inc();
                continue;
            };
            let kept = connection.signals.iter_mut().find(|kept| {
                kept.object == signal.object && kept.sender == signal.sender && kept.key == *key
            });
            if let Some(kept) = kept {
                kept.frame = frame.clone();
                self.common.metrics.signals_conflated.inc();
            } else if connection.signals.len() < self.common.settings.kept_signals {
                let (object, sender) = (signal.object, signal.sender.clone());
                let kept = KeptSignal { object, sender, key: key.clone(), frame: frame.clone() };
                connection.signals.push(kept);
            } else {
                self.common.metrics.signals_dropped.inc();
            }
        }
    }

    /// The socket takes more: what it still has to know of signals goes first.
    pub(super) fn release_signals(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        for kept in std::mem::take(&mut connection.signals) {
            connection.outbox.push(kept.frame);
            self.common.metrics.delivered_signals.inc();
        }
    }

    /// Refuses a request about an object that the connection has not joined.
    pub(super) fn refuse_not_joined(&mut self, key: usize, id: Option<u32>) {
        let why = "this connection has not joined that object; `object` is the number in `joined`";
        self.refuse(key, id, ErrorCode::NotJoined, why);
    }
}
