//! Joining and leaving.

use dormouse_protocol::{ErrorCode, Join, Joined as Reply, ResetReason, ServerMessage, Start};
use tracing::error;

use super::audience::Audience;
use super::catch_up::FirstPage;
use super::connection::Joined;
use super::inbox::Letter;
use super::presence::NotPresent;
use super::reactor::Reactor;
use crate::limits::Purpose;
use crate::log::ObjectId;
use crate::object::presence::Departing;
use crate::object::{Address, Opened};

/// An object was opened for a join.
pub(super) struct JoinOpened {
    joiner: Address,
    join: Join,
    opened: Opened,
}

/// To join or to leave, in the unit of [`super::read`].
const JOIN_WORK: u64 = 64;

impl Reactor {
    pub(super) fn join(&mut self, key: usize, join: Join) {
        self.work += JOIN_WORK;
        let limits = &self.common.settings.limits;
        let connection = &mut self.connections[key];
        if !self.common.registry.knows_class(join.object.class()) {
            let why = format!("there is no class `{}` here; try `room/…`", join.object.class());
            return self.refuse(key, Some(join.id), ErrorCode::UnknownClass, &why);
        }
        if connection.joins.len() >= limits.joins as usize {
            let why = format!("a connection may join {} objects; leave one first", limits.joins);
            return self.refuse(key, Some(join.id), ErrorCode::TooManyJoins, &why);
        }
        if join.presence.as_ref().is_some_and(|presence| self.is_too_large(presence)) {
            return self.refuse_presence(key, join.id);
        }
        let connection = &mut self.connections[key];
        connection.read_log();
        let joiner = connection.address(key, join.id);
        match self.common.registry.get(&join.object) {
            Some(handle) => self.join_opened(JoinOpened { joiner, join, opened: Ok(handle) }),
            None => self.open(joiner, join),
        }
    }

    fn open(&mut self, joiner: Address, join: Join) {
        let inbox = self.inbox.clone();
        let name = join.object.clone();
        self.common.registry.open(&name, move |opened| {
            inbox.push(Letter::Opened(Box::new(JoinOpened { joiner, join, opened })));
        });
    }

    pub(super) fn join_opened(&mut self, opened: JoinOpened) {
        let JoinOpened { joiner, join, opened } = opened;
        // One that is closing has left everything that it had joined, and joins nothing more.
        let is_open = |key: &usize| self.connections[*key].is_open();
        let Some(key) = self.find(joiner).filter(is_open) else { return };
        let request = joiner.request;
        let handle = match opened {
            Ok(handle) => handle,
            Err(error) => {
                error!(%error, object = %join.object, "an object can't be opened");
                let why = "the log can't be read at present; try again later";
                self.refuse(key, Some(request), ErrorCode::Unavailable, why);
                return self.finish_reading(key);
            }
        };
        let object = handle.id();
        let connection = &mut self.connections[key];
        if connection.joined(object).is_some() {
            let why = "this connection is a member already; leave first to join from elsewhere";
            self.refuse(key, Some(request), ErrorCode::AlreadyJoined, why);
            return self.finish_reading(key);
        }
        let is_new = !self.audience_of.contains_key(&object);
        let bytes = Audience::MEMBER_BYTES + if is_new { Audience::OBJECT_BYTES } else { 0 };
        let Some(permit) = self.common.budget.try_acquire(Purpose::Join, bytes) else {
            self.refuse_for_memory(key, request);
            return self.finish_reading(key);
        };
        let number = match self.enter(key, &handle, &join) {
            Ok(number) => number,
            Err(NotPresent::RosterFull) => {
                self.refuse_full_roster(key, request);
                return self.finish_reading(key);
            }
            Err(NotPresent::NoMemory) => {
                self.refuse_for_memory(key, request);
                return self.finish_reading(key);
            }
        };
        let connection = &mut self.connections[key];
        let entry = self
            .audience_of
            .entry(object)
            .or_insert_with(|| self.audiences.insert(Audience::new(handle.clone())) as u32);
        let audience = &mut self.audiences[*entry as usize];
        let member = audience.add(self.index, key as u32, connection.form, number, permit);
        self.joins = self.joins.wrapping_add(1);
        let serial = self.joins;
        let joined = Joined { object, audience: *entry, member, serial };
        connection.joins.push(joined);
        self.common.metrics.members.inc();
        self.start_member(key, joined, &join);
    }

    /// Decides where a new member starts. It is heard of already, so the head is read after the registration.
    fn start_member(&mut self, key: usize, joined: Joined, join: &Join) {
        let audience = &mut self.audiences[joined.audience as usize];
        let epoch = audience.handle.identity().epoch;
        let head = audience.newest;
        let (after, is_resume, reset) = match join.from {
            Start::Now => (head, false, None),
            Start::All => (0, false, None),
            Start::Last(count) => (head.saturating_sub(count.into()), false, None),
            // Who has nothing yet has missed nothing of another incarnation.
            Start::After(position) if position.epoch != epoch && position.offset > 0 => {
                (0, true, Some(ResetReason::OtherEpoch))
            }
            Start::After(position) if position.offset > head => (0, true, Some(ResetReason::Ahead)),
            Start::After(position) => (position.offset, true, None),
        };
        if after < head {
            let first = FirstPage { request: join.id, head, is_resume, reset, watch: join.watch };
            return self.read_page(key, joined, after, Some(first));
        }
        let connection = &mut self.connections[key];
        let member = &mut audience.members[joined.member as usize];
        member.position = head;
        connection.queue(&ServerMessage::Joined(Reply {
            id: join.id,
            object: joined.object.0,
            epoch,
            head,
            from: head,
            resumed: is_resume && reset.is_none(),
            member: member.number,
            reset,
        }));
        self.common.metrics.count_join(is_resume, reset);
        self.watch(key, joined, join.watch);
        self.go_live(key, joined);
        self.mark_dirty(key);
        self.finish_reading(key);
    }

    /// Ends a membership, if there is one.
    pub(super) fn leave(&mut self, key: usize, object: ObjectId, how: Departing) -> bool {
        let holder = self.holder(key);
        let connection = &mut self.connections[key];
        let Some(index) = connection.joins.iter().position(|joined| joined.object == object) else {
            return false;
        };
        self.work += JOIN_WORK;
        let joined = connection.joins.swap_remove(index);
        if let Some(work) = connection.work.go_on() {
            work.signals.retain(|kept| kept.object != object);
        }
        let form = connection.form;
        let audience = &mut self.audiences[joined.audience as usize];
        let (gone, moved) = audience.remove(self.index, joined.member, form);
        audience.handle.depart(gone.number, holder, how);
        let is_empty = audience.is_empty();
        if let Some(moved) = moved {
            let joins = &mut self.connections[moved.connection as usize].joins;
            if let Some(other) = joins.iter_mut().find(|other| other.object == object) {
                other.member = joined.member;
            }
        }
        if is_empty {
            self.audiences.remove(joined.audience as usize);
            self.audience_of.remove(&object);
        }
        self.common.metrics.members.dec();
        true
    }
}
