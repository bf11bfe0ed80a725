//! From objects to sockets: events and answers.
//!
//! A delivery is framed once and queued for every member that it follows on from; the sockets are written to at the end
//! of the turn, so that all that a turn brings for one socket leaves in one system call.

use dormouse_protocol::{Published, ServerMessage};

use super::audience::Standing;
use super::inbox::Lagging;
use super::reactor::Reactor;
use crate::object::{Address, Answer, Delivery, EventFrames};

impl Reactor {
    pub(super) fn delivery(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Events(events) => {
                self.inbox.taken_events(&events);
                self.fan_out(&events);
            }
            Delivery::Presence(changes) => {
                self.inbox.taken_presence(&changes);
                self.fan_out_presence(&changes);
            }
            Delivery::Roster { to, roster } => self.roster(to, &roster),
            Delivery::Answer { to, held, answer } => self.answer(to, held, answer),
        }
    }

    fn fan_out(&mut self, events: &EventFrames) {
        let Some(&audience) = self.audience_of.get(&events.object) else { return };
        let audience = &mut self.audiences[audience as usize];
        let delivered = audience.take(events);
        let count = events.last + 1 - events.first;
        let mut deliveries = 0;
        for place in 0..audience.members.len() {
            let member = audience.members[place];
            if member.standing != Standing::Live || member.position >= delivered.last {
                continue;
            }
            let connection = &mut self.connections[member.connection as usize];
            let follows = member.position + 1 == delivered.first;
            let has_room = connection.work.outbox.bytes() <= self.common.settings.outbound_bytes;
            let frame = delivered.frame(connection.encoding).filter(|_| follows && has_room);
            let Some(frame) = frame else {
                audience.stand(place as u32, Standing::Behind);
                self.common.metrics.fell_behind.inc();
                // One whose outbox is full reads on when its socket has taken it.
                self.behind.push(member.connection);
                continue;
            };
            connection.work.begin().outbox.push(frame.clone());
            self.dirty.add(member.connection, connection);
            audience.members[place].position = delivered.last;
            deliveries += count;
        }
        self.common.metrics.delivered_events.inc_by(deliveries);
    }

    /// What some objects had to say did not fit into the inbox: their members read the log, and those who watch get the
    /// roster anew.
    pub(super) fn lagging(&mut self) {
        let Lagging { events, presence } = self.inbox.take_lagging();
        for object in presence {
            self.common.metrics.lagged.inc();
            self.miss_presence(object);
        }
        for object in events {
            self.common.metrics.lagged.inc();
            let Some(&audience) = self.audience_of.get(&object) else { continue };
            let audience = &mut self.audiences[audience as usize];
            audience.newest = audience.newest.max(audience.handle.head());
            for place in 0..audience.members.len() {
                let member = audience.members[place];
                if member.standing == Standing::Live && member.position < audience.newest {
                    audience.stand(place as u32, Standing::Behind);
                    self.behind.push(member.connection);
                }
            }
        }
    }

    fn answer(&mut self, address: Address, held: u32, answer: Answer) {
        let Some(key) = self.find(address) else { return };
        let was_paused = self.is_paused(&self.connections[key]);
        self.connections[key].work.begin().in_flight_bytes -= held as usize;
        if was_paused && !self.is_paused(&self.connections[key]) {
            self.go_on(key);
        }
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
}
