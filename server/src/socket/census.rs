//! How many members an object has and how many of their connections are at rest, for operators.

use std::ops::Add;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Reactors;
use super::audience::{Audience, Member};
use super::connection::{Connection, Joined};
use super::inbox::Letter;
use super::reactor::Reactor;
use crate::log::ObjectId;

/// A reactor answers within a turn of its loop, unless it is overloaded or has ended.
const PATIENCE: Duration = Duration::from_secs(2);

/// The members of one object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Connections that are joined to the object.
    pub members: u64,
    /// Those of them that nothing waits on.
    pub at_rest: u64,
    /// The memory that the memberships take, roughly: the connections themselves are left out.
    pub bytes: usize,
}

impl Add for Census {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            members: self.members + other.members,
            at_rest: self.at_rest + other.at_rest,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl Reactors {
    /// Asks every reactor about an object. `None` if one of them does not answer within two seconds.
    pub async fn census(&self, object: ObjectId) -> Option<Census> {
        let ask = |inbox: &super::Inbox| {
            let (reply, answer) = oneshot::channel();
            inbox.push(Letter::Census { object, reply });
            answer
        };
        let answers: Vec<_> = self.inboxes.iter().map(|inbox| ask(inbox)).collect();
        let sum = async {
            let mut sum = Census::default();
            for answer in answers {
                sum = sum + answer.await.ok()?;
            }
            Some(sum)
        };
        timeout(PATIENCE, sum).await.ok().flatten()
    }
}

impl Reactor {
    /// Counts the object's members on this reactor.
    pub(super) fn census(&self, object: ObjectId) -> Census {
        let Some(&key) = self.audience_of.get(&object) else { return Census::default() };
        let members = &self.audiences[key as usize].members;
        let is_at_rest =
            |member: &&Member| self.connections[member.connection as usize].is_at_rest();
        Census {
            members: members.len() as u64,
            at_rest: members.iter().filter(is_at_rest).count() as u64,
            bytes: size_of::<Audience>()
                + members.capacity() * size_of::<Member>()
                + members.len() * size_of::<Joined>(),
        }
    }
}

impl Connection {
    /// Whether nothing waits on the connection, in either direction.
    fn is_at_rest(&self) -> bool {
        self.is_open()
            && self.outbox.bytes() == 0
            && self.unread.is_empty()
            && self.decoder.is_between_messages()
            && self.signals.is_empty()
            && self.in_flight == 0
            && !self.reading_page
    }
}
