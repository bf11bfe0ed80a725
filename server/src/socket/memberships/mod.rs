//! The memberships of one reactor: for each object its members here, what is batched for them, and what they wait for.
//!
//! Owns the subscribers. Reaches connections through [`Connections`] only: it queues frames for them, and refuses, pauses and
//! resumes their requests.

pub(in crate::socket) mod batch;
pub(in crate::socket) mod catch_up;
pub(in crate::socket) mod fan_out;
pub(in crate::socket) mod frames;
pub(in crate::socket) mod history;
pub(in crate::socket) mod join;
pub(in crate::socket) mod post;
pub(in crate::socket) mod presence;
pub(in crate::socket) mod signals;
pub(in crate::socket) mod subscribers;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dormouse_protocol::ObjectName;
use slab::Slab;
use tokio::time::Instant;

use self::catch_up::Reader;
use self::join::PendingJoin;
use self::subscribers::{Member, Subscribers};
use super::Common;
use super::connections::Connections;
use super::inbox::Inbox;
use super::page::PageKey;
use super::survey::Census;
use crate::log::ObjectId;
use crate::object::Address;
use crate::object::presence::Departing;
use crate::socket::connections::connection::Membership;

/// The time until the next iteration while an input waits for room in a mailbox: mailboxes do not report room.
const RETRY: Duration = Duration::from_millis(1);

/// The memberships of all connections of a reactor.
pub(in crate::socket) struct Memberships {
    /// Of the reactor, and of its sink at the objects.
    index: usize,
    inbox: Arc<Inbox>,
    common: Common,
    subscribers: Slab<Subscribers>,
    subscribers_of: HashMap<ObjectId, u32>,
    /// Objects with a batch.
    batch: Vec<ObjectId>,
    /// The earliest end of a linger.
    next_flush: Option<Instant>,
    /// Connections with members that have fallen behind in this iteration.
    behind: Vec<u32>,
    /// Joins that their objects have not answered yet.
    joining: HashMap<Address, PendingJoin>,
    /// The members that wait for each page of the log.
    readers: HashMap<PageKey, Vec<Reader>>,
    /// Connections with an input that waits for room in a mailbox.
    stalled: Vec<Address>,
    /// The number of memberships so far.
    joins: u32,
}

impl Memberships {
    pub(in crate::socket) fn new(index: usize, inbox: Arc<Inbox>, common: Common) -> Self {
        Self {
            index,
            inbox,
            common,
            subscribers: Slab::new(),
            subscribers_of: HashMap::new(),
            batch: Vec::new(),
            next_flush: None,
            behind: Vec::new(),
            joining: HashMap::new(),
            readers: HashMap::new(),
            stalled: Vec::new(),
            joins: 0,
        }
    }

    /// Ends all memberships of a connection.
    pub(in crate::socket) fn leave_all(
        &mut self,
        connections: &mut Connections,
        key: usize,
        how: Departing,
    ) {
        let joins: Vec<ObjectId> =
            connections[key].joins.iter().map(|joined| joined.object).collect();
        for object in joins {
            self.leave(connections, key, object, how);
        }
    }

    /// The name of the object that a membership is in.
    pub(in crate::socket) fn name_of(&self, joined: Membership) -> ObjectName {
        self.subscribers[joined.subscribers as usize].handle.identity().name.clone()
    }

    /// How soon something of them is due.
    pub(in crate::socket) fn timeout(&self, now: Instant) -> Option<Duration> {
        let retry = (!self.stalled.is_empty()).then_some(RETRY);
        let flush = self.next_flush.map(|at| at.saturating_duration_since(now));
        [retry, flush].into_iter().flatten().min()
    }

    /// Lets members that have fallen behind in this iteration read the log.
    pub(in crate::socket) fn catch_up_all(&mut self, connections: &mut Connections) {
        for key in std::mem::take(&mut self.behind) {
            self.catch_up(connections, key as usize);
        }
    }

    /// Drops what is kept for members that catch up.
    pub(in crate::socket) fn forget_recent(&mut self) {
        for (_, subscribers) in &mut self.subscribers {
            subscribers.forget_recent();
        }
    }

    /// The number of objects with members, and the bytes that are kept for members that catch up.
    pub(in crate::socket) fn survey(&self) -> (usize, usize) {
        let recent = self.subscribers.iter().map(|(_, subscribers)| subscribers.recent_bytes());
        (self.subscribers.len(), recent.sum())
    }

    /// Counts the object's members on this reactor.
    pub(in crate::socket) fn census(&self, connections: &Connections, object: ObjectId) -> Census {
        let Some(&key) = self.subscribers_of.get(&object) else { return Census::default() };
        let members = &self.subscribers[key as usize].members;
        let is_at_rest =
            |member: &&Member| connections[member.connection as usize].activity.is_at_rest();
        Census {
            members: members.len() as u64,
            at_rest: members.iter().filter(is_at_rest).count() as u64,
            bytes: size_of::<Subscribers>()
                + members.capacity() * size_of::<Member>()
                + members.len() * size_of::<Membership>(),
        }
    }
}
