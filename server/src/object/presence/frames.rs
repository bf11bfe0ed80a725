//! What is said about a roster, encoded once for all who are told the same.

use std::sync::OnceLock;

use dormouse_protocol::{self as wire, Encoding, ServerMessage};

use super::entry::Seen;
use super::flush::Delta;
use super::page::Page;
use crate::log::ObjectId;
use crate::object::encoded::Encoded;

/// How much of a roster a member watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum View {
    /// The members, and every change.
    Members,
    /// How many there are.
    Counts,
}

/// What has changed in a roster from the version before.
#[derive(Debug)]
pub struct PresenceFrames {
    /// Whose roster.
    pub object: ObjectId,
    delta: Delta,
    /// By view and encoding.
    encoded: [[OnceLock<Encoded>; 2]; 2],
}

impl PresenceFrames {
    pub(super) fn new(object: ObjectId, delta: Delta) -> Self {
        Self { object, delta, encoded: Default::default() }
    }

    /// The roster's version after these changes.
    pub fn version(&self) -> u64 {
        self.delta.version
    }

    /// About how many bytes the changes have, encoded.
    pub fn size(&self) -> usize {
        let Delta { join, update, leave, .. } = &self.delta;
        let seen = join.iter().map(|arrival| &arrival.seen).chain(update);
        64 + seen.map(weight).sum::<usize>() + 32 * leave.len()
    }

    /// The `presence` message in an encoding. Whoever asks first encodes it.
    pub fn encoded(&self, encoding: Encoding, view: View) -> &Encoded {
        self.encoded[view as usize][encoding as usize].get_or_init(|| {
            encoding.encode_server(&ServerMessage::Presence(self.message(view))).into()
        })
    }

    fn message(&self, view: View) -> wire::Presence {
        let Delta { version, members, users, join, update, leave } = &self.delta;
        let mut message = wire::Presence {
            object: self.object.0,
            version: *version,
            members: *members,
            users: *users,
            join: Vec::new(),
            update: Vec::new(),
            leave: Vec::new(),
        };
        if view == View::Counts {
            return message;
        }
        message.join = join
            .iter()
            .map(|arrival| {
                let wire::Present { member, user, data } = present(&arrival.seen);
                wire::Arrival { member, user, data, first: arrival.first }
            })
            .collect();
        message.update = update
            .iter()
            .map(|seen| wire::Update { member: seen.member, data: seen.data.payload() })
            .collect();
        message.leave = leave
            .iter()
            .map(|gone| wire::Departure {
                member: gone.member,
                user: (&*gone.user).into(),
                last: gone.last,
            })
            .collect();
        message
    }
}

/// A roster or a part of it, as of one version.
#[derive(Debug)]
pub struct RosterFrames {
    /// Whose roster.
    pub object: ObjectId,
    /// The request that this answers; none where a member that watches gets this first.
    pub id: Option<u32>,
    page: Page,
    /// By encoding.
    encoded: [OnceLock<Encoded>; 2],
}

impl RosterFrames {
    pub(super) fn new(object: ObjectId, id: Option<u32>, page: Page) -> Self {
        Self { object, id, page, encoded: Default::default() }
    }

    /// The version that is told.
    pub fn version(&self) -> u64 {
        self.page.version
    }

    /// About how many bytes it has, encoded.
    pub fn size(&self) -> usize {
        64 + self.page.present.iter().map(weight).sum::<usize>() + 9 * self.page.left.len()
    }

    /// The `roster` message in an encoding. Whoever asks first encodes it.
    pub fn encoded(&self, encoding: Encoding) -> &Encoded {
        self.encoded[encoding as usize].get_or_init(|| {
            let Page { version, members, users, since, present: seen, left, more } = &self.page;
            let message = wire::Roster {
                id: self.id,
                object: self.object.0,
                version: *version,
                members: *members,
                users: *users,
                since: *since,
                present: seen.iter().map(present).collect(),
                left: left.clone(),
                more: *more,
            };
            encoding.encode_server(&ServerMessage::Roster(message)).into()
        })
    }
}

fn present(seen: &Seen) -> wire::Present {
    wire::Present { member: seen.member, user: (&*seen.user).into(), data: seen.data.payload() }
}

/// A member's bytes, encoded, with its number and its user.
fn weight(seen: &Seen) -> usize {
    32 + seen.data.bytes().len()
}
