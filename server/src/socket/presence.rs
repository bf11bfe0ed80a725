//! Presence on this side: what members say of themselves goes to their object's roster, and what rosters tell goes to the
//! members that watch.
//!
//! No version is kept for a member: a roster stands in the inbox exactly before the changes that follow on from it.

use std::sync::Arc;

use bytes::Bytes;
use dormouse_protocol::{ErrorCode, Join, Payload, PresenceGet, PresenceSet, Watch};

use super::audience::{Member, Watching};
use super::connection::{Connection, Joined};
use super::form::Form;
use super::framing;
use super::metrics::Metrics;
use super::reactor::Reactor;
use crate::limits::{Budget, Purpose};
use crate::log::ObjectId;
use crate::object::presence::{
    Data, Entrant, Holder, PresenceFrames, RosterFrames, RosterFull, View,
};
use crate::object::{Address, Handle};

/// Why a member did not come into the roster.
pub(super) enum NotPresent {
    RosterFull,
    NoMemory,
}

impl Reactor {
    /// The connection as rosters know it.
    pub(super) fn holder(&self, key: usize) -> Holder {
        Holder(self.connections[key].slot.number())
    }

    /// Gives a member its number, and a place in the roster if it wants one.
    pub(super) fn enter(
        &self,
        key: usize,
        handle: &Arc<Handle>,
        join: &Join,
    ) -> Result<u64, NotPresent> {
        let member = handle.new_member();
        let Some(payload) = &join.presence else { return Ok(member) };
        let data = self.hold_presence(payload).ok_or(NotPresent::NoMemory)?;
        let user = self.connections[key].session;
        let holder = self.holder(key);
        let entrant = Entrant { asked: join.member, member, user, holder, data };
        handle.present(entrant).map_err(|RosterFull| NotPresent::RosterFull)
    }

    /// What a member says of itself, if there is memory for it.
    fn hold_presence(&self, payload: &Payload) -> Option<Data> {
        let permit = self.common.budget.try_acquire(Purpose::Presence, Data::cost(payload))?;
        Some(Data::new(payload, permit))
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
        if let Some(permit) = self.common.budget.try_acquire(Purpose::Roster, bytes) {
            return audience.watch(self.index, joined.member, to, view, since, permit);
        }
        audience.watch_later(joined.member, view);
        self.connections[key].work.begin().missed_presence = true;
        self.starve(key);
    }

    pub(super) fn set_presence(&mut self, key: usize, set: &PresenceSet) {
        let connection = &self.connections[key];
        let Some(joined) = connection.joined(ObjectId(set.object)) else {
            return self.refuse_not_joined(key, Some(set.id));
        };
        if set.data.as_ref().is_some_and(|data| self.is_too_large(data)) {
            return self.refuse_presence(key, set.id);
        }
        let data = match &set.data {
            None => None,
            Some(payload) => match self.hold_presence(payload) {
                Some(data) => Some(data),
                None => return self.refuse_for_memory(key, set.id),
            },
        };
        let connection = &self.connections[key];
        let (user, holder) = (connection.session, self.holder(key));
        let audience = &self.audiences[joined.audience as usize];
        let number = audience.members[joined.member as usize].number;
        match audience.handle.update(number, user, holder, data) {
            Ok(()) => self.done(key, set.id),
            Err(RosterFull) => self.refuse_full_roster(key, set.id),
        }
    }

    pub(super) fn read_roster(&mut self, key: usize, get: &PresenceGet) {
        let connection = &self.connections[key];
        let Some(joined) = connection.joined(ObjectId(get.object)) else {
            return self.refuse_not_joined(key, Some(get.id));
        };
        let bytes = RosterFrames::most_bytes(View::Members);
        let Some(permit) = self.common.budget.try_acquire(Purpose::Roster, bytes) else {
            return self.refuse_for_memory(key, get.id);
        };
        // Like a page of the log, so that there is one at a time: many could be more than the outbox is meant to hold.
        let connection = &mut self.connections[key];
        connection.read_log();
        let to = connection.address(key, get.id);
        let handle = &self.audiences[joined.audience as usize].handle;
        handle.roster(self.index, to, get.since, get.after, get.limit, permit);
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

    pub(super) fn is_too_large(&self, presence: &Payload) -> bool {
        presence.as_msgpack().len() > self.common.settings.limits.presence_bytes as usize
    }

    pub(super) fn refuse_presence(&mut self, key: usize, id: u32) {
        let limit = self.common.settings.limits.presence_bytes;
        let why = format!("a presence has at most {limit} bytes in MessagePack");
        self.refuse(key, Some(id), ErrorCode::PresenceTooLarge, &why);
    }

    pub(super) fn refuse_full_roster(&mut self, key: usize, id: u32) {
        let why =
            "the roster holds as many members as it may; join without presence, or try again later";
        self.refuse(key, Some(id), ErrorCode::RosterFull, why);
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
