//! Joining and leaving.

use dormouse_protocol::{
    self as wire, ErrorCode, Join, Joined as Reply, ResetReason, ServerMessage, Start,
};
use tracing::error;

use super::Memberships;
use super::catch_up::FirstPage;
use super::subscribers::Subscribers;
use crate::limits::{Permit, Purpose};
use crate::log::ObjectId;
use crate::object::input::{self, Action, Leave};
use crate::object::presence::{Departing, Holder};
use crate::object::{Address, Answer};
use crate::socket::connections::Connections;
use crate::socket::connections::admit::{Demand, SHORT_OF_MEMORY};
use crate::socket::connections::connection::Membership;
use crate::socket::inbox::{Command, JoinOpened};
use crate::socket::wire_format::WireFormat;

/// To join or to leave, in the unit of [`crate::socket::read`].
const JOIN_WORK: u64 = 64;

/// A join that its object has not answered yet.
pub(in crate::socket) struct PendingJoin {
    object: ObjectId,
    join: Join,
    holder: Holder,
    format: WireFormat,
    /// For the memory of the membership.
    permit: Permit,
}

impl Memberships {
    pub(in crate::socket) fn join(
        &mut self,
        connections: &mut Connections,
        key: usize,
        join: Join,
    ) {
        connections.work += JOIN_WORK;
        if !connections.admit(key, Some(join.id), &Demand::Join(&join)) {
            return;
        }
        let connection = &mut connections[key];
        connection.read_log();
        let joiner = connection.address(key, join.id);
        match self.common.registry.get(&join.object) {
            Some(handle) => {
                self.join_opened(connections, JoinOpened { joiner, join, opened: Ok(handle) });
            }
            None => self.open(joiner, join),
        }
    }

    fn open(&mut self, joiner: Address, join: Join) {
        let inbox = self.inbox.clone();
        let name = join.object.clone();
        self.common.registry.open(&name, move |opened| {
            inbox.push(Command::Opened(Box::new(JoinOpened { joiner, join, opened })));
        });
    }

    pub(in crate::socket) fn join_opened(
        &mut self,
        connections: &mut Connections,
        opened: JoinOpened,
    ) {
        let JoinOpened { joiner, join, opened } = opened;
        // One that is closing has left everything that it had joined, and joins nothing more.
        let is_open = |key: &usize| connections[*key].is_open();
        let Some(key) = connections.find(joiner).filter(is_open) else { return };
        let request = joiner.request;
        let handle = match opened {
            Ok(handle) => handle,
            Err(error) => {
                error!(%error, object = %join.object, "an object can't be opened");
                let why = "the log can't be read at present; try again later";
                connections.refuse(key, Some(request), ErrorCode::Unavailable, why);
                return connections.finish_reading(key);
            }
        };
        let object = handle.id();
        let connection = &mut connections[key];
        if connection.joined(object).is_some() {
            let why = "this connection is a member already; leave first to join from elsewhere";
            connections.refuse(key, Some(request), ErrorCode::AlreadyJoined, why);
            return connections.finish_reading(key);
        }
        let format = connection.format;
        let is_new = !self.subscribers_of.contains_key(&object);
        let bytes = Subscribers::MEMBER_BYTES + if is_new { Subscribers::OBJECT_BYTES } else { 0 };
        let Some(permit) = self.common.budget.try_acquire(Purpose::Join, bytes) else {
            connections.refuse(key, Some(request), ErrorCode::Overloaded, SHORT_OF_MEMORY);
            return connections.finish_reading(key);
        };
        let entry = self
            .subscribers_of
            .entry(object)
            .or_insert_with(|| self.subscribers.insert(Subscribers::new(handle)) as u32);
        // Before the object knows of it: nothing that it delivers from now on may find no subscribers.
        self.subscribers[*entry as usize].expect(format);
        let holder = connections.holder(key);
        let action = Action::Join(input::Join {
            owner: connections.owner(key),
            encoding: format.encoding,
            holder,
            member: join.member,
            presence: join.presence.clone(),
        });
        self.joining.insert(joiner, PendingJoin { object, join, holder, format, permit });
        self.post(connections, key, request, object, action);
    }

    /// The object has answered a join.
    pub(in crate::socket) fn join_answered(
        &mut self,
        connections: &mut Connections,
        to: Address,
        answer: Answer,
    ) {
        let Some(pending) = self.joining.remove(&to) else { return };
        let PendingJoin { object, join, holder, format, permit } = pending;
        let Some(&entry) = self.subscribers_of.get(&object) else { return };
        let connection = connections.find(to).filter(|key| connections[*key].is_open());
        match (answer, connection) {
            (Answer::Joined { member: number, head }, Some(key)) => {
                let subscribers = &mut self.subscribers[entry as usize];
                let member = subscribers.add(key as u32, number, head, permit);
                self.joins = self.joins.wrapping_add(1);
                let verbs = connections.verbs(key, &join.object);
                let serial = self.joins;
                let joined = Membership { object, subscribers: entry, member, serial, verbs };
                connections[key].joins.push(joined);
                self.common.metrics.members.inc();
                self.start_member(connections, key, joined, &join, head);
            }
            // The connection is gone, or has left all that it had joined and joins nothing more.
            (Answer::Joined { member, .. }, None) => {
                let leave = Leave { member, holder, how: Departing::Lost, is_request: false };
                self.subscribers[entry as usize].post(self.index, to, Action::Leave(leave));
                self.speaker_gone(object, format);
            }
            (answer, key) => {
                self.speaker_gone(object, format);
                if let (Answer::Refused(refusal), Some(key)) = (answer, key) {
                    connections.refuse(key, Some(to.request), refusal.code, &refusal.message);
                    connections.finish_reading(key);
                }
            }
        }
    }

    /// A member that was expected does not come.
    fn speaker_gone(&mut self, object: ObjectId, format: WireFormat) {
        let Some(&entry) = self.subscribers_of.get(&object) else { return };
        self.subscribers[entry as usize].drop_speaker(self.index, format);
        self.remove_if_empty(entry, object);
    }

    fn remove_if_empty(&mut self, entry: u32, object: ObjectId) {
        if self.subscribers[entry as usize].is_empty() {
            self.subscribers.remove(entry as usize);
            self.subscribers_of.remove(&object);
        }
    }

    /// Decides where a new member starts; `head` is the newest event when it became a member.
    fn start_member(
        &mut self,
        connections: &mut Connections,
        key: usize,
        joined: Membership,
        join: &Join,
        head: u64,
    ) {
        let subscribers = &mut self.subscribers[joined.subscribers as usize];
        let epoch = subscribers.handle.identity().epoch;
        let (after, is_resume, reset) = match join.from {
            Start::Now => (head, false, None),
            Start::All => (0, false, None),
            Start::Last(count) => (head.saturating_sub(count.into()), false, None),
            // A client that has nothing yet has missed nothing of another incarnation.
            Start::After(position) if position.epoch != epoch && position.offset > 0 => {
                (0, true, Some(ResetReason::OtherEpoch))
            }
            Start::After(position) if position.offset > head => (0, true, Some(ResetReason::Ahead)),
            Start::After(position) => (position.offset, true, None),
        };
        if after < head {
            let first = FirstPage { request: join.id, head, is_resume, reset, watch: join.watch };
            return self.read_page(connections, key, joined, after, Some(first));
        }
        let connection = &mut connections[key];
        let member = &mut subscribers.members[joined.member as usize];
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
        self.watch(connections, key, joined, join.watch);
        self.go_live(connections, key, joined);
        connections.queue_write(key);
        connections.finish_reading(key);
    }

    /// A client leaves. The object answers, so that its answers to earlier requests go first.
    pub(in crate::socket) fn leave_request(
        &mut self,
        connections: &mut Connections,
        key: usize,
        request: &wire::Leave,
    ) {
        if connections.member(key, request.object, Some(request.id), None).is_some() {
            connections[key].activity.begin().in_flight += 1;
            self.end_membership(
                connections,
                key,
                ObjectId(request.object),
                Departing::Leave,
                Some(request.id),
            );
        }
    }

    /// Ends a membership, if there is one.
    pub(in crate::socket) fn leave(
        &mut self,
        connections: &mut Connections,
        key: usize,
        object: ObjectId,
        how: Departing,
    ) {
        self.end_membership(connections, key, object, how, None);
    }

    fn end_membership(
        &mut self,
        connections: &mut Connections,
        key: usize,
        object: ObjectId,
        how: Departing,
        request: Option<u32>,
    ) {
        let holder = connections.holder(key);
        let connection = &mut connections[key];
        let Some(index) = connection.joins.iter().position(|joined| joined.object == object) else {
            return;
        };
        let joined = connection.joins.swap_remove(index);
        if let Some(work) = connection.activity.go_on() {
            work.signals.retain(|kept| kept.object != object);
        }
        let format = connection.format;
        let subscribers = &mut self.subscribers[joined.subscribers as usize];
        let (gone, moved) = subscribers.remove(self.index, joined.member, format);
        let address = connection.address(key, request.unwrap_or_default());
        let leave = Leave { member: gone.number, holder, how, is_request: request.is_some() };
        subscribers.post(self.index, address, Action::Leave(leave));
        connections.work += JOIN_WORK;
        if let Some(moved) = moved {
            let joins = &mut connections[moved.connection as usize].joins;
            if let Some(other) = joins.iter_mut().find(|other| other.object == object) {
                other.member = joined.member;
            }
        }
        self.remove_if_empty(joined.subscribers, object);
        self.common.metrics.members.dec();
    }
}
