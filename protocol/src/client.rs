//! What clients send. Every request carries an `id` and gets exactly one reply or error that names it.
//!
//! A request with a field that the server does not know is refused: a client must not believe that a wish
//! was granted which was not understood.

use serde::{Deserialize, Serialize};

use crate::{Key, Kind, ObjectName, Payload};

/// A message from a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientMessage {
    /// Become a member of an object.
    Join(Join),
    /// Stop being a member.
    Leave(Leave),
    /// Store an event and deliver it to every member.
    Publish(Publish),
    /// Deliver to the members of now, without storing.
    Signal(Signal),
    /// Read a page of the log.
    History(History),
    /// Ask whether the server is there.
    Ping(Ping),
}

/// Become a member of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// Chosen by the client; the reply names it.
    pub id: u32,
    /// Which object.
    pub object: ObjectName,
    /// Where in the log to start.
    #[serde(default)]
    pub from: Start,
}

/// Where a member starts to receive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With the next event.
    #[default]
    Now,
    /// With the oldest event that is kept.
    All,
    /// With at most this many events before the next.
    Last(u32),
    /// With the event after this position: a resume.
    After(Position),
}

/// A place in one incarnation of an object's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Which incarnation of the log; offsets compare only within one.
    pub epoch: u32,
    /// The last event that was received; 0 for none.
    pub offset: u64,
}

/// Stop being a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leave {
    /// Chosen by the client; the reply names it.
    pub id: u32,
    /// The object's id from [`crate::Joined`].
    pub object: u64,
}

/// Store an event and deliver it to every member, the publisher too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// Chosen by the client; the reply names it.
    pub id: u32,
    /// The object's id from [`crate::Joined`].
    pub object: u64,
    /// What kind of event it is; `message` where none is named.
    #[serde(default)]
    pub kind: Kind,
    /// What to store.
    pub data: Payload,
    /// A retry with the same key by the same session is stored once and gets the first offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
}

/// Deliver to the members of now, without storing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// Chosen by the client; without it there is no reply.
    #[serde(default)]
    pub id: Option<u32>,
    /// The object's id from [`crate::Joined`].
    pub object: u64,
    /// What to deliver.
    pub data: Payload,
    /// Of the signals of one sender with one key, a slow member gets the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
}

/// Read a page of the log, by offsets that are themselves left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// Chosen by the client; the reply names it.
    pub id: u32,
    /// The object's id from [`crate::Joined`].
    pub object: u64,
    /// Only events after this offset.
    #[serde(default)]
    pub after: Option<u64>,
    /// Only events before this offset.
    #[serde(default)]
    pub before: Option<u64>,
    /// At most so many; the server may give fewer, and then says that there is more.
    #[serde(default)]
    pub limit: Option<u32>,
    /// Newest first.
    #[serde(default)]
    pub reverse: bool,
}

/// Ask whether the server is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ping {
    /// Chosen by the client; the reply names it.
    pub id: u32,
}
