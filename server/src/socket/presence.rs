//! Presence on this side: what members say of themselves goes to their object's roster, and what rosters tell goes to the
//! members that watch.
//!
//! No version is kept for a member: a roster stands in the inbox exactly before the changes that follow on from it.

use std::sync::Arc;

use bytes::Bytes;
use dormouse_protocol::{PresenceGet, PresenceSet, Watch};

use super::admit::Demand;
use super::audience::{Member, Watching};
use super::connection::{Connection, Joined};
use super::form::Form;
use super::framing;
use super::metrics::Metrics;
use super::reactor::Reactor;
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
    pub(super) fn watch(&mut self, key: usize, joined: Joined, watch: Watch) {
        let (view, since) = match watch {
            Watch::None => return,
            Watch::Count => (View::Counts, None),
            Watch::Roster => (View::Members, None),
            Watch::Since(version) => (View::Members, Some(version)),
        };
        self.begin_watching(key, joined, view, since);
    }

    fn begin_watching(&mut self, key: usize, joined: Joined, view: View, since: Option<u64>) {
        let to = self.connections[key].address(key, joined.serial);
        let audience = &mut self.audiences[joined.audience as usize];
        let bytes = RosterFrames::most_bytes(view);
        if self.common.budget.has_room(bytes) {
            return audience.watch(self.index, joined.member, to, view, since);
        }
        audience.watch_later(joined.member, view);
        self.connections[key].work.begin().missed_presence = true;
        self.starve(key);
    }

    pub(super) fn set_presence(&mut self, key: usize, set: PresenceSet) {
        let Some(joined) = self.member(key, set.object, Some(set.id)) else { return };
        if !self.admit(key, Some(set.id), &Demand::SetPresence(set.data.as_ref())) {
            return;
        }
        let audience = &self.audiences[joined.audience as usize];
        let action = Action::SetPresence(SetPresence {
            member: audience.members[joined.member as usize].number,
            session: self.connections[key].session,
            holder: self.holder(key),
            data: set.data,
        });
        self.connections[key].work.begin().in_flight += 1;
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
        let audience = &mut self.audiences[joined.audience as usize];
        let member = &mut audience.members[joined.member as usize];
        let connection = &mut self.connections[key];
        let (view, is_good) = match member.watching {
            Watching::FromNext(view) => (view, true),
            Watching::FromOneAfterNext(view) => (view, false),
            Watching::Nobody | Watching::Following(_) | Watching::Missed(_) => return,
        };
        if is_good && connection.work.outbox.bytes() <= self.common.settings.outbound_bytes {
            member.watching = Watching::Following(view);
            self.queue_roster(key, roster);
        } else {
            miss(member, view, connection, &self.common.metrics);
            self.tell_missed(key);
        }
    }

    /// Many who join at once get the same bytes.
    fn queue_roster(&mut self, key: usize, roster: &Arc<RosterFrames>) {
        let connection = &mut self.connections[key];
        let form = connection.form;
        let [header, payload] = framing::roster(form, roster);
        connection.queue_frame(header);
        connection.queue_shared(payload);
        self.mark_dirty(key);
    }

    /// Queues the changes of a roster for the members here that watch.
    pub(super) fn fan_out_presence(&mut self, changes: &PresenceFrames) {
        let Some(&audience) = self.audience_of.get(&changes.object) else { return };
        let mut missed = Vec::new();
        let mut frames = Frames::new(changes, &self.common.budget);
        for member in &mut self.audiences[audience as usize].members {
            let Watching::Following(view) = member.watching else { continue };
            let connection = &mut self.connections[member.connection as usize];
            let has_room = connection.work.outbox.bytes() <= self.common.settings.outbound_bytes
                && connection.work.has_memory(&self.common.budget);
            let Some(frame) = frames.get(connection.form, view).filter(|_| has_room) else {
                miss(member, view, connection, &self.common.metrics);
                missed.push(member.connection as usize);
                continue;
            };
            connection.queue_shared(frame);
            self.dirty.add(member.connection, connection);
            self.common.metrics.delivered_presence.inc();
        }
        for key in missed {
            self.tell_missed(key);
        }
    }

    /// The members here that watch have missed a change.
    pub(super) fn miss_presence(&mut self, object: ObjectId) {
        let Some(&audience) = self.audience_of.get(&object) else { return };
        for place in 0..self.audiences[audience as usize].members.len() {
            let member = &mut self.audiences[audience as usize].members[place];
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
        let work = &connection.work;
        let is_full = work.outbox.bytes() > self.common.settings.outbound_bytes;
        if !work.missed_presence || is_full || work.starved || !connection.is_open() {
            return;
        }
        let missed = connection.joins.iter().find_map(|joined| {
            let member = &self.audiences[joined.audience as usize].members[joined.member as usize];
            match member.watching {
                Watching::Missed(view) => Some((*joined, view)),
                _ => None,
            }
        });
        match missed {
            // The next one when this one has been written.
            Some((joined, view)) => self.begin_watching(key, joined, view, None),
            None => self.connections[key].work.begin().missed_presence = false,
        }
    }
}

/// The member gets the whole roster later: see [`Reactor::tell_missed`].
fn miss(member: &mut Member, view: View, connection: &mut Connection, metrics: &Metrics) {
    member.watching = Watching::Missed(view);
    connection.work.begin().missed_presence = true;
    metrics.missed_presence.inc();
}

/// The changes of a roster as WebSocket frames, made where the first member needs them.
struct Frames<'a> {
    changes: &'a PresenceFrames,
    budget: &'a Budget,
    /// By view and form.
    made: [[Option<Bytes>; Form::COUNT]; 2],
}

impl<'a> Frames<'a> {
    fn new(changes: &'a PresenceFrames, budget: &'a Budget) -> Self {
        Self { changes, budget, made: Default::default() }
    }

    /// None where there is no memory for it.
    fn get(&mut self, form: Form, view: View) -> Option<Bytes> {
        let made = &mut self.made[view as usize][form.index()];
        if made.is_none() {
            let message = self.changes.encoded(form.encoding, view);
            *made = framing::encoded(form, message, self.budget);
        }
        made.clone()
    }
}
