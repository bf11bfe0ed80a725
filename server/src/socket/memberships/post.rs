//! What a connection's requests post to objects, and the wait of an input for which an object has no room.

use std::time::Duration;

use dormouse_protocol::{ErrorCode, Publish};

use super::Memberships;
use crate::auth::Verb;
use crate::log::ObjectId;
use crate::object::input::{self, Action};
use crate::object::{Busy, Input, Refusal, Source};
use crate::socket::connections::Connections;
use crate::socket::connections::activity::Stalled;
use crate::socket::connections::admit::Demand;

/// How long an input waits for room in its object's mailbox.
const STALL: Duration = Duration::from_secs(5);

impl Memberships {
    /// Posts a member's publish.
    pub(in crate::socket) fn publish(
        &mut self,
        connections: &mut Connections,
        key: usize,
        publish: Publish,
        size: usize,
    ) {
        let Some(joined) =
            connections.member(key, publish.object, Some(publish.id), Some(Verb::Publish))
        else {
            return;
        };
        if !connections.admit(key, Some(publish.id), &Demand::Publish(joined.object)) {
            return;
        }
        let user = connections.user(key);
        let connection = &mut connections[key];
        let work = connection.activity.begin();
        work.in_flight += 1;
        work.in_flight_bytes += size;
        let action = Action::Publish(input::Publish {
            sender: connection.session,
            user,
            kind: publish.kind,
            data: publish.data,
            key: publish.key,
            after: publish.after,
            held: size as u32,
        });
        self.post(connections, key, publish.id, joined.object, action);
    }

    /// Posts an input to an object, and lets the connection wait where the object has no room for it: to refuse the input
    /// and take the next one would change the client's order.
    pub(in crate::socket) fn post(
        &mut self,
        connections: &mut Connections,
        key: usize,
        request: u32,
        object: ObjectId,
        action: Action,
    ) {
        let address = connections[key].address(key, request);
        let input = Input { source: Source { sink: self.index, address }, action };
        let Some(&subscribers) = self.subscribers_of.get(&object) else { return };
        if let Err(Busy(input)) = self.subscribers[subscribers as usize].handle.post(input) {
            let until = connections.wheel.after(STALL);
            let stalled = Stalled { input, object, until };
            connections[key].activity.begin().stalled = Some(stalled);
            self.stalled.push(address);
            self.common.metrics.stalls.inc();
        }
    }

    /// Tries again to post an input that found no room. True when the connection can go on.
    pub(in crate::socket) fn retry_stalled(
        &mut self,
        connections: &mut Connections,
        key: usize,
    ) -> bool {
        let connection = &mut connections[key];
        let Some(stalled) = connection.activity.go_on().and_then(|work| work.stalled.take()) else {
            return true;
        };
        let Stalled { input, object, until } = stalled;
        let posted = match self.subscribers_of.get(&object) {
            Some(&subscribers) => self.subscribers[subscribers as usize].handle.post(*input),
            None => Err(Busy(input)),
        };
        match posted {
            Ok(()) => true,
            Err(Busy(input)) if connections.wheel.now() < until => {
                let stalled = Stalled { input, object, until };
                connections[key].activity.begin().stalled = Some(stalled);
                false
            }
            Err(Busy(input)) => {
                let why = "the object has more to do than it can; try again later";
                self.answer(connections, input.refused(Refusal::new(ErrorCode::Overloaded, why)));
                true
            }
        }
    }

    pub(in crate::socket) fn retry_all_stalled(&mut self, connections: &mut Connections) {
        for address in std::mem::take(&mut self.stalled) {
            let Some(key) = connections.find(address) else { continue };
            if self.retry_stalled(connections, key) {
                connections.go_on(key);
            } else {
                self.stalled.push(address);
            }
        }
    }
}
