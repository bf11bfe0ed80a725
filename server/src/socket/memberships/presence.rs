//! Presence on this side: what members say of themselves goes to their object's roster, and what rosters tell goes to the
//! members that watch.
//!
//! No version is kept for a member: a roster stands in the inbox exactly before the changes that follow on from it.

use std::sync::Arc;

use bytes::Bytes;
use dormouse_protocol::{PresenceGet, PresenceSet, Watch};

use super::Memberships;
use super::subscribers::{Member, Watching};
use crate::auth::Verb;
use crate::limits::Budget;
use crate::log::ObjectId;
use crate::object::Address;
use crate::object::input::{Action, ReadRoster, SetPresence};
use crate::object::presence::{PresenceFrames, RosterFrames, View};
use crate::socket::connections::Connections;
use crate::socket::connections::admit::Demand;
use crate::socket::connections::connection::{Connection, Membership};
use crate::socket::framing;
use crate::socket::metrics::Metrics;
use crate::socket::wire_format::WireFormat;

impl Memberships {
    /// The member is told from now on what it wants to know. Comes after the reply to its join.
    pub(in crate::socket) fn watch(
        &mut self,
        connections: &mut Connections,
        key: usize,
        joined: Membership,
        watch: Watch,
    ) {
        let (view, since) = match watch {
            Watch::None => return,
            Watch::Count => (View::Counts, None),
            Watch::Roster => (View::Members, None),
            Watch::Since(version) => (View::Members, Some(version)),
        };
        self.begin_watching(connections, key, joined, view, since);
    }

    fn begin_watching(
        &mut self,
        connections: &mut Connections,
        key: usize,
        joined: Membership,
        view: View,
        since: Option<u64>,
    ) {
        let to = connections[key].address(key, joined.serial);
        let subscribers = &mut self.subscribers[joined.subscribers as usize];
        let bytes = RosterFrames::most_bytes(view);
        if self.common.budget.has_room(bytes) {
            return subscribers.watch(self.index, joined.member, to, view, since);
        }
        subscribers.watch_later(joined.member, view);
        connections[key].activity.begin().missed_presence = true;
        connections.starve(key);
    }

    pub(in crate::socket) fn set_presence(
        &mut self,
        connections: &mut Connections,
        key: usize,
        set: PresenceSet,
    ) {
        let Some(joined) = connections.member(key, set.object, Some(set.id), Some(Verb::Presence))
        else {
            return;
        };
        if !connections.admit(key, Some(set.id), &Demand::SetPresence(set.data.as_ref())) {
            return;
        }
        let subscribers = &self.subscribers[joined.subscribers as usize];
        let action = Action::SetPresence(SetPresence {
            member: subscribers.members[joined.member as usize].number,
            owner: connections.owner(key),
            holder: connections.holder(key),
            data: set.data,
        });
        connections[key].activity.begin().in_flight += 1;
        self.post(connections, key, set.id, joined.object, action);
    }

    pub(in crate::socket) fn read_roster(
        &mut self,
        connections: &mut Connections,
        key: usize,
        get: &PresenceGet,
    ) {
        let Some(joined) = connections.member(key, get.object, Some(get.id), Some(Verb::Presence))
        else {
            return;
        };
        if !connections.admit(key, Some(get.id), &Demand::Read) {
            return;
        }
        // Like a page of the log, so that there is one at a time: many could be more than the outbox is meant to hold.
        connections[key].read_log();
        let PresenceGet { since, after, limit, .. } = *get;
        let action = Action::ReadRoster(ReadRoster { since, after, limit });
        self.post(connections, key, get.id, joined.object, action);
    }

    /// A roster has come for one member: the reply to its request, or what it has to know before it follows the changes.
    pub(in crate::socket) fn roster(
        &mut self,
        connections: &mut Connections,
        to: Address,
        roster: &Arc<RosterFrames>,
    ) {
        let Some(key) = connections.find(to) else { return };
        if roster.id.is_some() {
            connections.queue_roster(key, roster);
            return connections.finish_reading(key);
        }
        let joined = connections[key].joined(roster.object);
        let Some(joined) = joined.filter(|joined| joined.serial == to.request) else { return };
        let subscribers = &mut self.subscribers[joined.subscribers as usize];
        let member = &mut subscribers.members[joined.member as usize];
        let connection = &mut connections[key];
        let (view, is_good) = match member.watching {
            Watching::FromNext(view) => (view, true),
            Watching::FromOneAfterNext(view) => (view, false),
            Watching::Nobody | Watching::Following(_) | Watching::Missed(_) => return,
        };
        if is_good && connection.activity.outbox.bytes() <= self.common.settings.outbound_bytes {
            member.watching = Watching::Following(view);
            connections.queue_roster(key, roster);
        } else {
            miss(member, view, connection, &self.common.metrics);
            self.tell_missed(connections, key);
        }
    }

    /// Queues the changes of a roster for the members here that watch.
    pub(in crate::socket) fn fan_out_presence(
        &mut self,
        connections: &mut Connections,
        changes: &PresenceFrames,
    ) {
        let Some(&subscribers) = self.subscribers_of.get(&changes.object) else { return };
        let mut missed = Vec::new();
        let mut frames = Frames::new(changes, &self.common.budget);
        for member in &mut self.subscribers[subscribers as usize].members {
            let Watching::Following(view) = member.watching else { continue };
            let (connection, write_queue) = connections.with_write_queue(member.connection);
            let has_room = connection.activity.outbox.bytes()
                <= self.common.settings.outbound_bytes
                && connection.activity.has_memory(&self.common.budget);
            let Some(frame) = frames.get(connection.format, view).filter(|_| has_room) else {
                miss(member, view, connection, &self.common.metrics);
                missed.push(member.connection as usize);
                continue;
            };
            connection.queue_shared(frame);
            write_queue.add(member.connection, connection);
            self.common.metrics.delivered_presence.inc();
        }
        for key in missed {
            self.tell_missed(connections, key);
        }
    }

    /// The members here that watch have missed a change.
    pub(in crate::socket) fn miss_presence(
        &mut self,
        connections: &mut Connections,
        object: ObjectId,
    ) {
        let Some(&subscribers) = self.subscribers_of.get(&object) else { return };
        for place in 0..self.subscribers[subscribers as usize].members.len() {
            let member = &mut self.subscribers[subscribers as usize].members[place];
            let key = member.connection as usize;
            match member.watching {
                Watching::Following(view) => {
                    miss(member, view, &mut connections[key], &self.common.metrics);
                    self.tell_missed(connections, key);
                }
                // The roster may be older than the change.
                Watching::FromNext(view) => member.watching = Watching::FromOneAfterNext(view),
                Watching::Nobody | Watching::FromOneAfterNext(_) | Watching::Missed(_) => {}
            }
        }
    }

    /// Asks for one roster of which the connection has missed a change, if its socket takes more.
    pub(in crate::socket) fn tell_missed(&mut self, connections: &mut Connections, key: usize) {
        let connection = &connections[key];
        let work = &connection.activity;
        let is_full = work.outbox.bytes() > self.common.settings.outbound_bytes;
        if !work.missed_presence || is_full || work.starved || !connection.is_open() {
            return;
        }
        let missed = connection.joins.iter().find_map(|joined| {
            let member =
                &self.subscribers[joined.subscribers as usize].members[joined.member as usize];
            match member.watching {
                Watching::Missed(view) => Some((*joined, view)),
                _ => None,
            }
        });
        match missed {
            // The next one when this one has been written.
            Some((joined, view)) => self.begin_watching(connections, key, joined, view, None),
            None => connections[key].activity.begin().missed_presence = false,
        }
    }
}

impl Connections {
    /// Members that join at once share the same bytes.
    fn queue_roster(&mut self, key: usize, roster: &Arc<RosterFrames>) {
        let connection = &mut self[key];
        let format = connection.format;
        let [header, payload] = framing::roster(format, roster);
        connection.queue_frame(header);
        connection.queue_shared(payload);
        self.queue_write(key);
    }
}

/// The member gets the whole roster later: see [`Reactor::tell_missed`].
fn miss(member: &mut Member, view: View, connection: &mut Connection, metrics: &Metrics) {
    member.watching = Watching::Missed(view);
    connection.activity.begin().missed_presence = true;
    metrics.missed_presence.inc();
}

/// The changes of a roster as WebSocket frames, made where the first member needs them.
struct Frames<'a> {
    changes: &'a PresenceFrames,
    budget: &'a Budget,
    /// By view and format.
    made: [[Option<Bytes>; WireFormat::COUNT]; 2],
}

impl<'a> Frames<'a> {
    fn new(changes: &'a PresenceFrames, budget: &'a Budget) -> Self {
        Self { changes, budget, made: Default::default() }
    }

    /// None where there is no memory for it.
    fn get(&mut self, format: WireFormat, view: View) -> Option<Bytes> {
        let made = &mut self.made[view as usize][format.index()];
        if made.is_none() {
            let message = self.changes.encoded(format.encoding, view);
            *made = framing::encoded(format, message, self.budget);
        }
        made.clone()
    }
}
