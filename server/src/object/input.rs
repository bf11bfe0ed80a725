//! Inputs: the messages from connections to objects, and the only way in.
//!
//! Plain data: an input holds no handle, channel or callback, so it can be stored, replayed, or sent to another
//! process or node. Its [`Source`] names the receiver of its replies.

use dormouse_protocol::{Encoding, Key, Kind, Payload};

use super::delivery::Address;
use super::presence::{Departing, Holder, Owner, View};
use crate::log::PageLimit;
use crate::session::{SessionId, UserName};

/// A message to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The connection that sends it.
    pub source: Source,
    /// The requested action.
    pub action: Action,
}

/// The sender of an input, which also receives the replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The index of the sink that owns the connection.
    pub sink: usize,
    /// The connection and the request. Objects return it with the reply and do not interpret it.
    pub address: Address,
}

/// An action that a connection requests from an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Become a member. Answered with [`Answer::Joined`](super::Answer::Joined).
    Join(Join),
    /// A membership has ended. Answered with [`Answer::Done`](super::Answer::Done) if the client wants an answer.
    Leave(Leave),
    /// The sink has no more members of this encoding, and no pending joins. Not answered.
    Unsubscribe(Encoding),
    /// Store an event. Answered with [`Answer::Published`](super::Answer::Published).
    Publish(Publish),
    /// Broadcast to the current members without storing. Answered with [`Answer::Done`](super::Answer::Done) if
    /// the client wants an answer.
    Signal(Signal),
    /// Change a member's presence data. Answered with [`Answer::Done`](super::Answer::Done).
    SetPresence(SetPresence),
    /// Get the roster and every later change. Answered with
    /// [`Delivery::Roster`](super::Delivery::Roster).
    Watch(Watch),
    /// The sink has no more members that watch. Not answered.
    Unwatch,
    /// Read the roster. Answered with [`Delivery::Roster`](super::Delivery::Roster).
    ReadRoster(ReadRoster),
    /// Read the log. Answered with [`Delivery::Read`](super::Delivery::Read).
    Read(Read),
}

/// The kind of an input, for which classes declare interests and tokens carry grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Become a member.
    Join,
    /// End a membership. No class decides about it.
    Leave,
    /// Store an event.
    Publish,
    /// Send a signal.
    Signal,
    /// Change presence data.
    Presence,
    /// Read the log or the roster.
    Read,
}

/// A connection wants to become a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// Whose connection it is.
    pub owner: Owner,
    /// The encoding that the connection speaks: its sink gets the object's events from now on.
    pub encoding: Encoding,
    /// The number of the connection in rosters.
    pub holder: Holder,
    /// The member number before the connection was lost, if the client sent it.
    pub member: Option<u64>,
    /// Its presence data. Without it, the roster does not list the member.
    pub presence: Option<Payload>,
}

/// A membership has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leave {
    /// The member.
    pub member: u64,
    /// Its connection.
    pub holder: Holder,
    /// The way the member departs.
    pub how: Departing,
    /// Whether the client waits for an answer.
    pub is_request: bool,
}

/// A member wants to store an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// The session that sends.
    pub sender: SessionId,
    /// The user of the sender's token. `None` without a token.
    pub user: Option<UserName>,
    /// The kind of event.
    pub kind: Kind,
    /// The content.
    pub data: Payload,
    /// The key under which it is stored once.
    pub key: Option<Key>,
    /// In a retry: the newest offset that the client knew when it first sent the request.
    pub after: Option<u64>,
    /// Bytes that the request holds until it is answered.
    pub held: u32,
}

/// A member broadcasts without storing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// The session that sends.
    pub sender: SessionId,
    /// The content.
    pub data: Payload,
    /// A slow member may get only the latest signal of each sender and key.
    pub key: Option<Key>,
    /// Whether the client waits for an answer.
    pub is_request: bool,
}

/// A member changes its presence data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetPresence {
    /// The member.
    pub member: u64,
    /// Whose connection it is.
    pub owner: Owner,
    /// Its connection.
    pub holder: Holder,
    /// The new data; `None` removes the member from the roster.
    pub data: Option<Payload>,
}

/// A member wants to follow the roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// The part of the roster to follow.
    pub view: View,
    /// The version that the member has: it gets only the changes, if they are known.
    pub since: Option<u64>,
}

/// A member wants to read the roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadRoster {
    /// Only the changes since this version, if they are known and fit one page.
    pub since: Option<u64>,
    /// Otherwise the members after this one.
    pub after: Option<u64>,
    /// Maximum number of members; 0 for the counts alone.
    pub limit: Option<u32>,
}

/// A member wants to read the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// The events to read.
    pub range: Range,
    /// Maximum size of the result.
    pub limit: PageLimit,
    /// Maximum memory of the events and their encodings in the sink, in bytes.
    pub bytes: usize,
    /// Chosen by the sink; returned with the events.
    pub tag: u32,
}

/// A part of a log, up to its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// The events after an offset, in order: how members catch up.
    After(u64),
    /// The events between two offsets, both excluded.
    Between {
        /// Events after this offset.
        after: Option<u64>,
        /// Events before this offset.
        before: Option<u64>,
        /// Newest first.
        reverse: bool,
    },
}

impl Action {
    /// The verb. `None` for internal parts of a membership: they need no grant, and no class decides about them.
    pub fn verb(&self) -> Option<Verb> {
        match self {
            Self::Join(_) => Some(Verb::Join),
            Self::Publish(_) => Some(Verb::Publish),
            Self::Signal(_) => Some(Verb::Signal),
            Self::SetPresence(_) => Some(Verb::Presence),
            Self::Read(Read { range: Range::Between { .. }, .. }) | Self::ReadRoster(_) => {
                Some(Verb::Read)
            }
            // Parts of a membership, which its join authorized.
            Self::Read(Read { range: Range::After(_), .. })
            | Self::Watch(_)
            | Self::Leave(_)
            | Self::Unsubscribe(_)
            | Self::Unwatch => None,
        }
    }
}
