//! Fan-out: from deliveries of objects to the outboxes of members.
//!
//! A reactor frames a delivery once and adds it to the object's batch. A flush queues the batch for every member whose position it
//! directly follows. At the end of the iteration the reactor writes once to each socket.

use dormouse_protocol::{Done, Published, ServerMessage};
use tokio::time::Instant;

use super::Memberships;
use super::batch::{Batch, When};
use super::signals::keep_signals;
use super::subscribers::DeliveryMode;
use crate::log::ObjectId;
use crate::object::{Answer, Answered, Delivery, EventFrames, Refusal, Verb};
use crate::socket::connections::Connections;
use crate::socket::inbox::Lagging;

impl Memberships {
    pub(in crate::socket) fn delivery(
        &mut self,
        connections: &mut Connections,
        delivery: Delivery,
    ) {
        match delivery {
            Delivery::Answer(answered) => self.answer(connections, answered),
            Delivery::Commit { answers, events } => {
                self.inbox.taken_events(&events);
                for answered in answers {
                    self.answer(connections, answered);
                }
                self.take_events(connections, &events);
            }
            Delivery::Signal(signal) => {
                self.inbox.taken_signal(&signal);
                self.take_signal(connections, &signal);
            }
            // The inbox has turned reads into pages and replies.
            Delivery::Read(_) => debug_assert!(false, "reads are framed where they are delivered"),
            Delivery::Presence(changes) => {
                self.inbox.taken_presence(&changes);
                self.fan_out_presence(connections, &changes);
            }
            Delivery::Roster { to, roster } => self.roster(connections, to, &roster),
        }
    }

    fn take_events(&mut self, connections: &mut Connections, events: &EventFrames) {
        let object = events.object;
        let Some(&key) = self.subscribers_of.get(&object) else { return };
        let crate::socket::Common { settings, budget, .. } = &self.common;
        let delivered = self.subscribers[key as usize].take(events, settings.bounds, budget);
        let Some(delivered) = delivered else { return self.fall_behind(key) };
        let batch = self.batch_for(key, object);
        if batch.is_full() || !batch.precedes(&delivered) {
            self.fan_out(connections, object);
        }
        self.batch_for(key, object).add_delivery(delivered);
    }

    /// The batch of an object, to add to. It is flushed at the end of the iteration, or after a flush that is under way.
    pub(in crate::socket) fn batch_for(
        &mut self,
        subscribers: u32,
        object: ObjectId,
    ) -> &mut Batch {
        let batch = self.subscribers[subscribers as usize].batch.get_or_insert_default();
        if batch.is_empty() {
            self.batch.push(object);
        }
        batch
    }

    /// Flushes the batches that are due.
    pub(in crate::socket) fn fan_out_all(&mut self, connections: &mut Connections) {
        self.next_flush = None;
        for object in std::mem::take(&mut self.batch) {
            let Some(&subscribers) = self.subscribers_of.get(&object) else { continue };
            let batch = self.subscribers[subscribers as usize].batch.as_ref();
            // It was flushed early, because a delivery did not follow it.
            let Some(batch) = batch.filter(|batch| !batch.is_empty()) else { continue };
            match batch.when() {
                When::Now => self.fan_out(connections, object),
                When::AfterFlush => self.batch.push(object),
                When::At(at) => {
                    self.batch.push(object);
                    self.next_flush = Some(self.next_flush.map_or(at, |next| next.min(at)));
                }
            }
        }
    }

    /// Queues the batch of an object for its members.
    pub(in crate::socket) fn fan_out(&mut self, connections: &mut Connections, object: ObjectId) {
        let Some(&subscribers) = self.subscribers_of.get(&object) else { return };
        let subscribers = &mut self.subscribers[subscribers as usize];
        let Some(batch) = subscribers.batch.as_mut().filter(|batch| !batch.is_empty()) else {
            return;
        };
        let crate::socket::Common { settings, budget, .. } = &self.common;
        let flush_members = settings.bounds.flush_members;
        let (mut joined, is_flush) = batch.take(&subscribers.speakers, flush_members, budget);
        if !is_flush {
            subscribers.batch = None;
        }
        let (settings, metrics) = (&self.common.settings, &self.common.metrics);
        let (mut events, mut signals) = (0, 0);
        for place in 0..subscribers.members.len() {
            let member = subscribers.members[place];
            let (connection, write_queue) = connections.with_write_queue(member.connection);
            let has_room = connection.activity.outbox.bytes() <= settings.outbound_bytes
                && connection.activity.has_memory(&self.common.budget);
            if let Some(last) = joined.last()
                && member.mode == DeliveryMode::Live
                && member.position < last
            {
                let frames = joined.events_after(member.position, connection.format);
                if let Some(frames) = frames.filter(|_| has_room) {
                    write_queue.add_shared(member.connection, connection, &frames);
                    subscribers.members[place].position = last;
                    events += last - member.position;
                } else {
                    subscribers.set_mode(place as u32, DeliveryMode::Behind);
                    metrics.fell_behind.inc();
                    // A member with a full outbox reads the log when its socket has accepted the bytes.
                    self.behind.push(member.connection);
                }
            }
            if let Some(frames) = joined.signal_frames(connection.format)
                && member.mode != DeliveryMode::Joining
            {
                if has_room && connection.takes_signals() {
                    write_queue.add_shared(member.connection, connection, frames);
                    signals += joined.signals.len() as u64;
                } else {
                    keep_signals(
                        connection,
                        &joined.signals,
                        settings,
                        &self.common.budget,
                        metrics,
                    );
                }
            }
        }
        metrics.delivered_events.inc_by(events);
        metrics.delivered_signals.inc_by(signals);
        if is_flush {
            connections.write_queue.add_end(object);
        }
    }

    /// The flush of an object has ended: all its members were written to.
    pub(in crate::socket) fn flush_ended(&mut self, object: ObjectId) {
        let Some(&subscribers) = self.subscribers_of.get(&object) else { return };
        if let Some(batch) = &mut self.subscribers[subscribers as usize].batch {
            batch.end_flush();
            if !batch.is_empty() {
                // What was batched during the flush is due now, and nothing else wakes the loop for it.
                self.next_flush = Some(Instant::now());
            }
        }
    }

    /// Deliveries of some objects did not fit into the inbox. Their members read the log, and members that watch get a new roster.
    pub(in crate::socket) fn lagging(&mut self, connections: &mut Connections) {
        let Lagging { events, presence } = self.inbox.take_lagging();
        for object in presence {
            self.common.metrics.lagged.inc();
            self.miss_presence(connections, object);
        }
        for (object, last) in events {
            self.common.metrics.lagged.inc();
            let Some(&subscribers) = self.subscribers_of.get(&object) else { continue };
            let lagging = &mut self.subscribers[subscribers as usize];
            lagging.newest = lagging.newest.max(last);
            self.fall_behind(subscribers);
        }
    }

    /// The live members of an object that lack its newest events read them from the log.
    fn fall_behind(&mut self, subscribers: u32) {
        let subscribers = &mut self.subscribers[subscribers as usize];
        for place in 0..subscribers.members.len() {
            let member = subscribers.members[place];
            if member.mode == DeliveryMode::Live && member.position < subscribers.newest {
                subscribers.set_mode(place as u32, DeliveryMode::Behind);
                self.behind.push(member.connection);
            }
        }
    }

    /// An object has answered a request, or it is refused here.
    pub(in crate::socket) fn answer(&mut self, connections: &mut Connections, answered: Answered) {
        let Answered { to: address, verb, held, answer } = answered;
        if verb == Verb::Join {
            return self.join_answered(connections, address, answer);
        }
        let Some(key) = connections.find(address) else { return };
        let was_paused = connections.is_paused(key);
        connections[key].activity.begin().in_flight_bytes -= held as usize;
        let id = address.request;
        match answer {
            Answer::Published { offset, time, duplicate } => {
                let reply = Published { id, offset, time, duplicate };
                connections[key].queue(&ServerMessage::Published(reply));
            }
            Answer::Done => connections[key].queue(&ServerMessage::Done(Done { id })),
            Answer::Refused(Refusal { code, message }) => {
                connections.refuse(key, Some(id), code, &message);
            }
            Answer::Joined { .. } => debug_assert!(false, "only a join is answered so"),
        }
        connections.queue_write(key);
        if verb == Verb::Read {
            return connections.finish_reading(key);
        }
        if was_paused && !connections.is_paused(key) {
            connections.go_on(key);
        }
        connections.finish_request(key);
    }
}
