//! Judges what clients asked, were told and received, while it happens, and at the end what is left. Pure: it knows no server, no
//! socket and no clock.
//!
//! What happens has to be told to it in each client's own order; how the clients' stories interleave does not matter. It never
//! relies on something that two clients see at the same time.

mod members;
mod publishes;
mod rosters;
mod signals;
#[cfg(test)]
mod tests;
mod violation;

use std::fmt::{self, Display};

use dormouse_protocol::{
    Event, HistoryPage, Joined, Key, Position, Presence, Published, ResetReason, Roster,
    SignalItem, Start,
};

use members::Members;
pub(super) use publishes::Post;
use publishes::Publishes;
pub(super) use rosters::Place;
use rosters::Rosters;
pub(super) use signals::Sign;
use signals::Signals;
pub(super) use violation::{Breach, Fault, Violations};

/// A client of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ClientId(pub(super) usize);

/// An object of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Room(pub(super) usize);

/// The judge of one run. Each method is one thing that happened.
pub(super) struct Judge {
    violations: Violations,
    publishes: Publishes,
    members: Members,
    rosters: Rosters,
    signals: Signals,
}

impl Judge {
    pub(super) fn new(rooms: usize) -> Self {
        Self {
            violations: Violations::default(),
            publishes: Publishes::new(rooms),
            members: Members::default(),
            rosters: Rosters::default(),
            signals: Signals::default(),
        }
    }

    /// The server is about to be killed or stopped.
    pub(super) fn killed(&mut self) {
        self.violations.kill += 1;
    }

    /// How often it was until now.
    pub(super) fn kills(&self) -> u64 {
        self.violations.kill
    }

    /// Something is wrong that was seen elsewhere.
    pub(super) fn note(&mut self, fault: Fault) {
        self.violations.add(fault);
    }

    /// The client has this session.
    pub(super) fn is_session(&mut self, client: ClientId, session: &str) {
        self.publishes.is_session(client, session);
    }

    /// The client asks for a publish, for the first time or again; new data under a known key is not to be stored.
    pub(super) fn publish(&mut self, client: ClientId, post: &Post) {
        self.publishes.publish(client, post);
    }

    /// A publish is acknowledged, after so many times that it was sent.
    pub(super) fn acknowledged(
        &mut self,
        client: ClientId,
        room: Room,
        key: &Key,
        sent: u32,
        published: &Published,
    ) {
        self.publishes.acknowledged(client, room, key, sent, published, &mut self.violations);
    }

    pub(super) fn joined(&mut self, client: ClientId, room: Room, asked: Start, joined: &Joined) {
        self.members.joined(client, room, asked, joined, &mut self.violations);
        if joined.head > 0 && self.publishes.is_other_epoch(room, joined.epoch) {
            self.epoch_changed(client, room, joined.epoch);
        }
    }

    /// The client is told to drop what it has. There is never a reason.
    pub(super) fn reset(
        &mut self,
        client: ClientId,
        room: Room,
        reason: ResetReason,
        at: Position,
    ) {
        self.members.reset(client, room, reason, at, &mut self.violations);
        if self.publishes.is_other_epoch(room, at.epoch) {
            self.epoch_changed(client, room, at.epoch);
        }
    }

    pub(super) fn left(&mut self, client: ClientId, room: Room) {
        self.members.left(client, room);
    }

    pub(super) fn events(&mut self, client: ClientId, room: Room, events: &[Event]) {
        for event in events {
            self.members.event(client, room, event.offset, &mut self.violations);
            self.publishes.seen(client, room, event, &mut self.violations);
        }
    }

    pub(super) fn caught_up(&mut self, client: ClientId, room: Room, offset: u64) {
        self.members.caught_up(client, room, offset, &mut self.violations);
    }

    pub(super) fn page(&mut self, client: ClientId, room: Room, after: u64, page: &HistoryPage) {
        Members::page(client, room, after, page, &mut self.violations);
        for event in &page.events {
            self.publishes.seen(client, room, event, &mut self.violations);
        }
    }

    /// The client has sent this signal.
    pub(super) fn signalled(&mut self, client: ClientId, room: Room, number: u64) {
        self.signals.sent(client, room, number);
    }

    pub(super) fn signals(&mut self, client: ClientId, room: Room, signals: &[SignalItem]) {
        if !self.members.is_member(client, room) {
            let fault = Fault::new(Breach::Signal, "a signal reaches a client that has left");
            self.violations.add(fault.room(room).client(client));
        }
        for signal in signals {
            let sender = self.publishes.client(&signal.sender);
            self.signals.received(client, room, sender, &signal.data, &mut self.violations);
        }
    }

    pub(super) fn roster(&mut self, client: ClientId, room: Room, roster: &Roster) {
        self.rosters.roster(client, room, roster, &mut self.violations);
    }

    pub(super) fn presence(&mut self, client: ClientId, room: Room, changes: &Presence) {
        self.rosters.presence(client, room, changes, &mut self.violations);
    }

    /// Whether all these clients see exactly these places in the rosters.
    pub(super) fn rosters_show(&self, clients: &[ClientId], places: &[Place]) -> bool {
        self.rosters.wrong_views(clients, places).is_empty()
    }

    /// Whether all these clients have come to these ends of the logs.
    pub(super) fn have_all(&self, clients: &[ClientId], heads: &[u64]) -> bool {
        self.members.behind(clients, heads).is_empty()
    }

    /// How many publishes are acknowledged.
    pub(super) fn acknowledgements(&self) -> u64 {
        self.publishes.acknowledgements()
    }

    /// Nothing happens any more: these clients are where they should be, and `places` is what the rosters have to say. One of the
    /// clients has read every log from its start to its end, which is in `heads`.
    pub(super) fn conclude(&mut self, clients: &[ClientId], places: &[Place], heads: &[u64]) {
        for (client, room, what) in self.rosters.wrong_views(clients, places) {
            let fault = Fault::new(Breach::Roster, what);
            self.violations.add(fault.room(room).client(client));
        }
        for (client, room, position) in self.members.behind(clients, heads) {
            let what = format!("it has {position} of {} events at the end", heads[room.0]);
            let fault = Fault::new(Breach::Lost, what).room(room).client(client);
            self.violations.add(fault.offset(position + 1));
        }
        self.publishes.conclude(heads, &mut self.violations);
    }

    /// The violations so far.
    pub(super) fn violations(&self) -> &Violations {
        &self.violations
    }

    fn epoch_changed(&mut self, client: ClientId, room: Room, epoch: u32) {
        let before = self.publishes.forget(room, epoch);
        let what = format!("the log has epoch {epoch}, and had {before}");
        self.violations.add(Fault::new(Breach::Epoch, what).room(room).client(client));
    }
}

impl Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {}", self.0)
    }
}

impl Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "room/{}", self.0)
    }
}
