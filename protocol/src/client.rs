//! What clients send. Every request carries an `id` and gets exactly one reply or error that names it.
//!
//! The server refuses a request with an unknown field. Otherwise a client could believe that the server did what the field asks
//! for.

use std::fmt;

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
    /// Send a signal to the present members, without storing it.
    Signal(Signal),
    /// Read a page of the log.
    History(History),
    /// Set or remove this member's entry in the roster.
    #[serde(rename = "presence.set")]
    PresenceSet(PresenceSet),
    /// Read the roster.
    #[serde(rename = "presence.get")]
    PresenceGet(PresenceGet),
    /// Replace the token of access of this connection.
    Auth(Auth),
    /// Check that the server still answers.
    Ping(Ping),
}

/// Replace the token of access of this connection by another one of the same user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The id of the request, chosen by the client. The reply repeats it.
    pub id: u32,
    /// The token. It is a secret, which `Debug` leaves out.
    pub token: Box<str>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Become a member of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The id of the request, chosen by the client. The reply repeats it.
    pub id: u32,
    /// The object's name.
    pub object: ObjectName,
    /// The place in the log at which to start.
    #[serde(default)]
    pub from: Start,
    /// The value that the roster shows for this member. Without it, the member is not in the roster.
    #[serde(default)]
    pub presence: Option<Payload>,
    /// What to receive of the roster.
    #[serde(default)]
    pub watch: Watch,
    /// The number of the membership that a lost connection of this session had. The new membership takes over its roster entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<u64>,
}

/// What a member receives of the roster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Watch {
    /// Nothing.
    #[default]
    None,
    /// The numbers of members and users.
    Count,
    /// The roster, then every change.
    Roster,
    /// The changes since this version, then every later change. For a client that has the roster of this version.
    Since(u64),
}

impl Join {
    /// A join without presence and without a roster.
    pub fn new(id: u32, object: ObjectName, from: Start) -> Self {
        Self { id, object, from, presence: None, watch: Watch::None, member: None }
    }
}

/// Where a member starts to receive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// At the next event.
    #[default]
    Now,
    /// At the oldest event that is kept.
    All,
    /// With at most this many of the newest events.
    Last(u32),
    /// At the event after this position: a resume.
    After(Position),
}

/// A place in one incarnation of an object's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The incarnation of the log. Offsets of different epochs cannot be compared.
    pub epoch: u32,
    /// The last event that was received; 0 for none.
    pub offset: u64,
}

/// Stop being a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leave {
    /// The id of the request, chosen by the client. The reply repeats it.
    pub id: u32,
    /// The object's id from [`crate::Joined`].
    pub object: u64,
}

/// Store an event and deliver it to every member, the publisher too.
///
/// With a key, the event is stored once (promise 4): the server recognises a retry while the event is in the object's window, which
/// is bounded by age and by number of events. A retry that comes later is stored again, unless it says `after`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PublishFields")]
pub struct Publish {
    /// The id of the request, chosen by the client. The reply repeats it.
    pub id: u32,
    /// The object's id from [`crate::Joined`].
    pub object: u64,
    /// The kind of the event; `message` by default.
    #[serde(default)]
    pub kind: Kind,
    /// The event's payload.
    pub data: Payload,
    /// A retry with the same key by the same session is stored once and gets the first offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// Sent with a retry: the newest offset of the object that the client knew when it first sent this publish. Only with a key.
    ///
    /// Where the server no longer has all keys of events after this offset, it cannot tell whether the event was stored. It then
    /// refuses the publish with `key_expired`: the client reads the history after this offset and looks for its own sender and key.
    /// Offsets compare only within one epoch, so a client whose epoch has changed leaves this out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// The fields of [`Publish`] before they are checked together.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishFields {
    id: u32,
    object: u64,
    #[serde(default)]
    kind: Kind,
    data: Payload,
    #[serde(default)]
    key: Option<Key>,
    #[serde(default)]
    after: Option<u64>,
}

impl TryFrom<PublishFields> for Publish {
    type Error = &'static str;

    fn try_from(fields: PublishFields) -> Result<Self, Self::Error> {
        let PublishFields { id, object, kind, data, key, after } = fields;
        if after.is_some() && key.is_none() {
            return Err("`after` needs a `key`");
        }
        Ok(Self { id, object, kind, data, key, after })
    }
}

/// Send a signal to the present members, without storing it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// The id of the request, chosen by the client. Without it there is no reply.
    #[serde(default)]
    pub id: Option<u32>,
    /// The object's id from [`crate::Joined`].
    pub object: u64,
    /// The signal's payload.
    pub data: Payload,
    /// Of all signals with the same sender and key, a slow member receives the newest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
}

/// Read a page of the log: the events between two offsets, without the events at these offsets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// The id of the request, chosen by the client. The reply repeats it.
    pub id: u32,
    /// The object's id from [`crate::Joined`].
    pub object: u64,
    /// Only events after this offset.
    #[serde(default)]
    pub after: Option<u64>,
    /// Only events before this offset.
    #[serde(default)]
    pub before: Option<u64>,
    /// The maximum number of events. The server may send fewer, and then says that there are more.
    #[serde(default)]
    pub limit: Option<u32>,
    /// Whether the newest event comes first.
    #[serde(default)]
    pub reverse: bool,
}

/// Set or remove this member's entry in the roster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresenceSet {
    /// The id of the request, chosen by the client. The reply repeats it.
    pub id: u32,
    /// The object's id from [`crate::Joined`].
    pub object: u64,
    /// The value that the roster shows for this member; null removes the member from the roster. A message without the field is
    /// refused, because a forgotten field must not remove a member. (`deserialize_with` makes serde require the field.)
    #[serde(deserialize_with = "Option::deserialize")]
    pub data: Option<Payload>,
}

/// Read the roster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresenceGet {
    /// The id of the request, chosen by the client. The reply repeats it.
    pub id: u32,
    /// The object's id from [`crate::Joined`].
    pub object: u64,
    /// Only the changes since this version, if the server still knows them.
    #[serde(default)]
    pub since: Option<u64>,
    /// Only members with a greater number than this: the next page.
    #[serde(default)]
    pub after: Option<u64>,
    /// The maximum number of members. With 0, the reply has only the counts.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// Check that the server still answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ping {
    /// The id of the request, chosen by the client. The reply repeats it.
    pub id: u32,
}
