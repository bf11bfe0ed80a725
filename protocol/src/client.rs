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
    /// Say who one is, to the members who watch.
    #[serde(rename = "presence.set")]
    PresenceSet(PresenceSet),
    /// Ask who is here.
    #[serde(rename = "presence.get")]
    PresenceGet(PresenceGet),
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
    /// What the roster is to say of this member; without it the member is not in the roster.
    #[serde(default)]
    pub presence: Option<Payload>,
    /// What to be told of the others.
    #[serde(default)]
    pub watch: Watch,
    /// The member that this connection was before it was lost: it takes that one's place in the roster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<u64>,
}

/// What a member is told of who is here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Watch {
    /// Nothing.
    #[default]
    None,
    /// How many are here.
    Count,
    /// The roster, and every change of it.
    Roster,
    /// The same, by a client that has the roster of this version.
    Since(u64),
}

impl Join {
    /// To become a member without presence.
    pub fn new(id: u32, object: ObjectName, from: Start) -> Self {
        Self { id, object, from, presence: None, watch: Watch::None, member: None }
    }
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
///
/// With a key, the event is stored once (promise 4): the server recognises a retry while the event is in the object's window, which
/// is bounded by age and by number of events. A retry that comes later is stored again, unless it says `after`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PublishFields")]
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

/// Say who one is, to the members who watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresenceSet {
    /// Chosen by the client; the reply names it.
    pub id: u32,
    /// The object's id from [`crate::Joined`].
    pub object: u64,
    /// The value that the roster shows for this member; null removes the member from the roster. A message without the field is
    /// refused, because a forgotten field must not remove a member. (`deserialize_with` makes serde require the field.)
    #[serde(deserialize_with = "Option::deserialize")]
    pub data: Option<Payload>,
}

/// Ask who is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresenceGet {
    /// Chosen by the client; the reply names it.
    pub id: u32,
    /// The object's id from [`crate::Joined`].
    pub object: u64,
    /// Only what has changed since this version, if the server can still tell.
    #[serde(default)]
    pub since: Option<u64>,
    /// Only members after this one: the next page.
    #[serde(default)]
    pub after: Option<u64>,
    /// At most so many members; with 0 the answer only counts.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// Ask whether the server is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ping {
    /// Chosen by the client; the reply names it.
    pub id: u32,
}
