//! Roster messages, each encoded once for all its receivers.

use std::sync::OnceLock;

use dormouse_protocol::{self as wire, Encoding, ServerMessage};

use super::entry::Seen;
use super::flush::Delta;
use super::page::{self, RosterPage};
use crate::limits::{Budget, Permit};
use crate::log::ObjectId;
use crate::object::encoded::Encoded;

/// Upper bound of a message's bytes besides its members.
const HEAD: usize = 64;
/// A roster is held as a list, and in each encoding that is asked for.
const COPIES: usize = 3;

/// How much of a roster a member watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum View {
    /// The members, and every change.
    Members,
    /// The counts of members and users.
    Counts,
}

/// What has changed in a roster from the version before.
#[derive(Debug)]
pub struct PresenceFrames {
    /// The object of the roster.
    pub object: ObjectId,
    delta: Delta,
    /// For the encoded changes.
    permit: Permit,
    /// By view and encoding.
    encoded: [[OnceLock<Encoded>; 2]; 2],
}

impl PresenceFrames {
    pub(super) fn new(object: ObjectId, delta: Delta, budget: &Budget) -> Self {
        let mut frames =
            Self { object, delta, permit: budget.charge(0), encoded: Default::default() };
        // Bounded: each change is of a member that has a permit of its own.
        frames.permit.charge(2 * frames.size());
        frames
    }

    /// The roster's version after these changes.
    pub fn version(&self) -> u64 {
        self.delta.version
    }

    /// About how many bytes the changes have, encoded.
    pub fn size(&self) -> usize {
        let Delta { join, update, leave, .. } = &self.delta;
        let seen = join.iter().map(|arrival| &arrival.seen).chain(update);
        let left = leave.iter().map(|departure| 32 + departure.owner.name_bytes());
        HEAD + seen.map(weight).sum::<usize>() + left.sum::<usize>()
    }

    /// The `presence` message in an encoding. The first call encodes it.
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
                user: gone.owner.name(),
                last: gone.last,
            })
            .collect();
        message
    }
}

/// A roster or a part of it, as of one version.
#[derive(Debug)]
pub struct RosterFrames {
    /// The object of the roster.
    pub object: ObjectId,
    /// The request that this answers; none where a member that watches gets this first.
    pub id: Option<u32>,
    page: RosterPage,
    /// For the members and what is encoded of them.
    permit: Permit,
    /// By encoding.
    encoded: [OnceLock<Encoded>; 2],
}

impl RosterFrames {
    /// The permit that one of `view` needs until it has been made: some of it is given back then.
    pub fn most_bytes(view: View) -> usize {
        let bytes = match view {
            View::Members => page::MOST_BYTES,
            View::Counts => 0,
        };
        COPIES * (bytes + HEAD)
    }

    pub(super) fn new(object: ObjectId, id: Option<u32>, page: RosterPage, permit: Permit) -> Self {
        let mut frames = Self { object, id, page, permit, encoded: Default::default() };
        frames.permit.shrink_to(COPIES * frames.size());
        frames
    }

    /// The roster's version.
    pub fn version(&self) -> u64 {
        self.page.version
    }

    /// About how many bytes it has, encoded.
    pub fn size(&self) -> usize {
        HEAD + self.page.present.iter().map(weight).sum::<usize>() + 9 * self.page.left.len()
    }

    /// The `roster` message in an encoding. The first call encodes it.
    pub fn encoded(&self, encoding: Encoding) -> &Encoded {
        self.encoded[encoding as usize].get_or_init(|| {
            let RosterPage { version, members, users, since, present: seen, left, more } =
                &self.page;
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
    wire::Present { member: seen.member, user: seen.owner.name(), data: seen.data.payload() }
}

/// A member's bytes, encoded, with its number and its user.
fn weight(seen: &Seen) -> usize {
    32 + seen.owner.name_bytes() + seen.data.bytes().len()
}
