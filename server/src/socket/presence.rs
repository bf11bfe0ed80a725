//! Presence on this side: what members say of themselves goes to their object's roster, and what rosters tell goes to the
//! members that watch.
//!
//! No version is kept for a member: a roster stands in the inbox exactly before the changes that follow on from it.

use std::sync::Arc;

use bytes::Bytes;
use dormouse_protocol::{PresenceGet, PresenceSet, Watch};

use super::admit::Demand;
use super::connection::{Connection, Membership};
use super::framing;
use super::metrics::Metrics;
use super::reactor::Reactor;
use super::subscribers::{Member, Watching};
use super::wire_format::WireFormat;
use crate::limits::Budget;
use crate::log::ObjectId;
use crate::object::Address;
use crate::object::input::{Action, ReadRoster, SetPresence};
use crate::object::presence::{Holder, PresenceFrames, RosterFrames, View};

impl Reactor {
    /// The connection as rosters know it.
    pub(super) fn holder(&self, key: usize) -> Holder {
        Holder(self.connections[key].slot.number())
    }

    /// The member is told from now on what it wants to know. Comes after the reply to its join.
    pub(super) fn watch(&mut self, key: usize, joined: Membership, watch: Watch) {
        let (view, since) = match watch {
            Watch::None => return,
            Watch::Count => (View::Counts, None),
            Watch::Roster => (View::Members, None),
            Watch::Since(version) => (View::Members, Some(version)),
        };
        self.begin_watching(key, joined, view, since);
    }

    fn begin_watching(&mut self, key: usize, joined: Membership, view: View, since: Option<u64>) {
        let to = self.connections[key].address(key, joined.serial);
        let subscribers = &mut self.subscribers[joined.subscribers as usize];
        let bytes = RosterFrames::most_bytes(view);
        if self.common.budget.has_room(bytes) {
            return subscribers.watch(self.index, joined.member, to, view, since);
        }
        subscribers.watch_later(joined.member, view);
        self.connections[key].activity.begin().missed_presence = true;
        self.starve(key);
    }

    pub(super) fn set_presence(&mut self, key: usize, set: PresenceSet) {
        let Some(joined) = self.member(key, set.object, Some(set.id)) else { return };
        if !self.admit(key, Some(set.id), &Demand::SetPresence(set.data.as_ref())) {
            return;
        }
        let subscribers = &self.subscribers[joined.subscribers as usize];
        let action = Action::SetPresence(SetPresence {
            member: subscribers.members[joined.member as usize].number,
            session: self.connections[key].session,
            holder: self.holder(key),
            data: set.data,
        });
        self.connections[key].activity.begin().in_flight += 1;
        self.post(key, set.id, joined.object, action);
    }

    pub(super) fn read_roster(&mut self, key: usize, get: &PresenceGet) {
        let Some(joined) = self.member(key, get.object, Some(get.id)) else { return };
        if !self.admit(key, Some(get.id), &Demand::Read) {
            return;
        }
        // Like a page of the log, so that there is one at a time: many could be more than the outbox is meant to hold.
        self.connections[key].read_log();
        let PresenceGet { since, after, limit, .. } = *get;
        let action = Action::ReadRoster(ReadRoster { since, after, limit });
        self.post(key, get.id, joined.object, action);
    }

    /// A roster has come for one member: the reply to its request, or what it has to know before it follows the changes.
    pub(super) fn roster(&mut self, to: Address, roster: &Arc<RosterFrames>) {
        let Some(key) = self.find(to) else { return };
        if roster.id.is_some() {
            self.queue_roster(key, roster);
            return self.finish_reading(key);
        }
        let joined = self.connections[key].joined(roster.object);
        let Some(joined) = joined.filter(|joined| joined.serial == to.request) else { return };
        let subscribers = &mut self.subscribers[joined.subscribers as usize];
        let member = &mut subscribers.members[joined.member as usize];
        let connection = &mut self.connections[key];
        let (view, is_good) = match member.watching {
            Watching::FromNext(view) => (view, true),
            Watching::FromOneAfterNext(view) => (view, false),
            Watching::Nobody | Watching::Following(_) | Watching::Missed(_) => return,
        };
        if is_good && connection.activity.outbox.bytes() <= self.common.settings.outbound_bytes {
            member.watching = Watching::Following(view);
            self.queue_roster(key, roster);
        } else {
            miss(member, view, connection, &self.common.metrics);
            self.tell_missed(key);
        }
    }

    /// Members that join at once share the same bytes.
    fn queue_roster(&mut self, key: usize, roster: &Arc<RosterFrames>) {
        let connection = &mut self.connections[key];
        let format = connection.format;
        let [header, payload] = framing::roster(format, roster);
        connection.queue_frame(header);
        connection.queue_shared(payload);
        self.queue_write(key);
    }

    /// Queues the changes of a roster for the members here that watch.
    pub(super) fn fan_out_presence(&mut self, changes: &PresenceFrames) {
        let Some(&subscribers) = self.subscribers_of.get(&changes.object) else { return };
        let mut missed = Vec::new();
        let mut frames = Frames::new(changes, &self.common.budget);
        for member in &mut self.subscribers[subscribers as usize].members {
            let Watching::Following(view) = member.watching else { continue };
            let connection = &mut self.connections[member.connection as usize];
            let has_room = connection.activity.outbox.bytes()
                <= self.common.settings.outbound_bytes
                && connection.activity.has_memory(&self.common.budget);
            let Some(frame) = frames.get(connection.format, view).filter(|_| has_room) else {
                miss(member, view, connection, &self.common.metrics);
                missed.push(member.connection as usize);
                continue;
            };
            connection.queue_shared(frame);
            self.write_queue.add(member.connection, connection);
            self.common.metrics.delivered_presence.inc();
        }
        for key in missed {
            self.tell_missed(key);
        }
    }

    /// The members here that watch have missed a change.
    pub(super) fn miss_presence(&mut self, object: ObjectId) {
        let Some(&subscribers) = self.subscribers_of.get(&object) else { return };
        for place in 0..self.subscribers[subscribers as usize].members.len() {
            let member = &mut self.subscribers[subscribers as usize].members[place];
            let key = member.connection as usize;
            match member.watching {
                Watching::Following(view) => {
                    miss(member, view, &mut self.connections[key], &self.common.metrics);
                    self.tell_missed(key);
                }
                // The roster may be older than the change.
                Watching::FromNext(view) => member.watching = Watching::FromOneAfterNext(view),
                Watching::Nobody | Watching::FromOneAfterNext(_) | Watching::Missed(_) => {}
            }
        }
    }

    /// Asks for one roster of which the connection has missed a change, if its socket takes more.
    pub(super) fn tell_missed(&mut self, key: usize) {
        let connection = &self.connections[key];
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
            Some((joined, view)) => self.begin_watching(key, joined, view, None),
            None => self.connections[key].activity.begin().missed_presence = false,
        }
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
