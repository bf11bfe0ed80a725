//! What connections want of objects: the only way in.
//!
//! Plain data: an input holds no handle, no channel and no callback, so that it can be kept, replayed, or sent to another
//! process or node. Where its replies go is said by its [`Source`].

use dormouse_protocol::{Encoding, Key, Kind, Payload};

use super::delivery::Address;
use super::presence::{Departing, Holder, View};
use crate::log::PageLimit;
use crate::session::SessionId;

/// A message to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The connection that it comes from.
    pub source: Source,
    /// What the connection wants.
    pub action: Action,
}

/// Where an input comes from, and where its replies go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The index of the sink that owns the connection.
    pub sink: usize,
    /// The connection and the request. Objects give it back with the reply, and do not look into it.
    pub address: Address,
}

/// What a connection wants of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// To become a member. Answered with [`Answer::Joined`](super::Answer::Joined).
    Join(Join),
    /// A membership has ended. Answered with [`Answer::Done`](super::Answer::Done) if the client wants an answer.
    Leave(Leave),
    /// The sink has no more members that speak this encoding, and waits for none. Not answered.
    Unsubscribe(Encoding),
    /// To store an event. Answered with [`Answer::Published`](super::Answer::Published).
    Publish(Publish),
    /// To tell the present members something that is not stored. Answered with [`Answer::Done`](super::Answer::Done) if
    /// the client wants an answer.
    Signal(Signal),
    /// To change what a member says of itself. Answered with [`Answer::Done`](super::Answer::Done).
    SetPresence(SetPresence),
    /// To get the roster, and every change of it from then on. Answered with
    /// [`Delivery::Roster`](super::Delivery::Roster).
    Watch(Watch),
    /// The sink has no more members that watch. Not answered.
    Unwatch,
    /// To read the roster. Answered with [`Delivery::Roster`](super::Delivery::Roster).
    ReadRoster(ReadRoster),
    /// To read the log. Answered with [`Delivery::Read`](super::Delivery::Read).
    Read(Read),
}

/// What an input asks for: what classes are interested in and rights are granted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// To become a member.
    Join,
    /// To end a membership. No class decides about it.
    Leave,
    /// To store an event.
    Publish,
    /// To signal.
    Signal,
    /// To change what a member says of itself.
    Presence,
    /// To read the log or the roster.
    Read,
}

/// A connection wants to become a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// The session of the connection.
    pub session: SessionId,
    /// The encoding that the connection speaks: its sink gets the object's events from now on.
    pub encoding: Encoding,
    /// The connection, as rosters know it.
    pub holder: Holder,
    /// The member that it was before its connection was lost, if it says so.
    pub member: Option<u64>,
    /// What it says of itself; without it, it does not stand in the roster.
    pub presence: Option<Payload>,
}

/// A membership has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leave {
    /// The member.
    pub member: u64,
    /// Its connection.
    pub holder: Holder,
    /// How it goes.
    pub how: Departing,
    /// Whether the client waits for an answer.
    pub is_request: bool,
}

/// A member wants to store an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// The session that sends.
    pub sender: SessionId,
    /// The kind of event.
    pub kind: Kind,
    /// The content.
    pub data: Payload,
    /// The key under which it is stored once.
    pub key: Option<Key>,
    /// Bytes that the request holds until it is answered.
    pub held: u32,
}

/// A member tells the others something that is not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// The session that sends.
    pub sender: SessionId,
    /// The content.
    pub data: Payload,
    /// Of several with the same sender and key, a slow member may get only the latest.
    pub key: Option<Key>,
    /// Whether the client waits for an answer.
    pub is_request: bool,
}

/// A member changes what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetPresence {
    /// The member.
    pub member: u64,
    /// The session of its connection.
    pub session: SessionId,
    /// Its connection.
    pub holder: Holder,
    /// What it says from now on; `None` takes it out of the roster.
    pub data: Option<Payload>,
}

/// A member wants to follow the roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// How much of it.
    pub view: View,
    /// The version that the member has: it gets only what has changed, if that is known.
    pub since: Option<u64>,
}

/// A member wants to read the roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadRoster {
    /// Only what has changed since this version, if that is known and fits one page.
    pub since: Option<u64>,
    /// Otherwise the members after this one.
    pub after: Option<u64>,
    /// At most so many; 0 for the counts alone.
    pub limit: Option<u32>,
}

/// A member wants to read the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// Which events.
    pub range: Range,
    /// How many at most.
    pub limit: PageLimit,
    /// The most memory that the events, and what the sink makes of them, may take in bytes.
    pub bytes: usize,
    /// Chosen by the sink, which gets it back with the events.
    pub tag: u32,
}

/// A part of a log, up to its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// The events after an offset, in order: how members catch up.
    After(u64),
    /// The events between two offsets, both left out; from the newest on with `reverse`.
    Between {
        /// Events after this offset.
        after: Option<u64>,
        /// Events before this offset.
        before: Option<u64>,
        /// From the newest on.
        reverse: bool,
    },
}

impl Action {
    /// What is asked for. `None` for what a membership needs of itself: it requires no right, and no class decides about it.
    pub fn verb(&self) -> Option<Verb> {
        match self {
            Self::Join(_) => Some(Verb::Join),
            Self::Publish(_) => Some(Verb::Publish),
            Self::Signal(_) => Some(Verb::Signal),
            Self::SetPresence(_) => Some(Verb::Presence),
            Self::Read(Read { range: Range::Between { .. }, .. }) | Self::ReadRoster(_) => {
                Some(Verb::Read)
            }
            // Parts of a membership, about which was decided at its join.
            Self::Read(Read { range: Range::After(_), .. })
            | Self::Watch(_)
            | Self::Leave(_)
            | Self::Unsubscribe(_)
            | Self::Unwatch => None,
        }
    }
}
