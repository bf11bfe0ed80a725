//! What the server sends. A client ignores messages and fields that it does not know.

use serde::{Deserialize, Serialize};

use crate::{ErrorCode, Event, Key, Payload};

/// A message from the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerMessage {
    /// The first message on every connection.
    Welcome(Welcome),
    /// The reply to a join.
    Joined(Joined),
    /// Events of one object, in order: a page of catch-up or what one commit brought.
    Events(Events),
    /// The member has every event up to here, and what follows is live.
    CaughtUp(CaughtUp),
    /// What the member has is no longer a prefix of the log.
    Reset(Reset),
    /// The acknowledgement of a publish: the event is on disk.
    Published(Published),
    /// Signals of one object.
    Signals(Signals),
    /// The reply to a history request.
    History(HistoryPage),
    /// Who is here: the reply to `presence.get`, and what a member that watches gets first.
    Roster(Roster),
    /// Who came, changed or went since the version before.
    Presence(Presence),
    /// The reply to a leave, to a ping, to `presence.set` and to a signal with an id.
    Done(Done),
    /// The token of access expires soon.
    TokenExpiring(TokenExpiring),
    /// The server has ended a membership.
    Removed(Removed),
    /// A request was refused.
    Error(ErrorReply),
}

/// The token of access expires soon. The client can send a new one with `auth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenExpiring {
    /// The time until the server closes the connection, in milliseconds.
    pub expires_in_ms: u64,
}

/// The server has ended a membership. Nothing of the object follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// The number of the object.
    pub object: u64,
    /// Why, for programs.
    pub code: ErrorCode,
    /// Why and what to do, for people.
    pub message: Box<str>,
}

/// The first message on every connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The session's public id: the `sender` of what it publishes.
    pub session: Box<str>,
    /// The secret that continues the session on another connection.
    pub token: Box<str>,
    /// Name and version of the server.
    pub server: Box<str>,
    /// How often the server pings a silent connection.
    pub ping_interval_ms: u64,
    /// What this server accepts.
    pub limits: Limits,
}

/// What a server accepts from one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of one message.
    pub message_bytes: u64,
    /// Objects that one connection may join.
    pub joins: u32,
    /// Requests that may wait for their reply at one time.
    pub in_flight: u32,
    /// Events in one page of history.
    pub history_events: u32,
    /// Bytes of a member's presence, in MessagePack.
    pub presence_bytes: u32,
    /// Members in one page of a roster.
    pub roster_members: u32,
}

/// The reply to a join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The request.
    pub id: u32,
    /// The object's id: how every further message names it.
    pub object: u64,
    /// The incarnation of the log.
    pub epoch: u32,
    /// The offset of the newest event at this moment.
    pub head: u64,
    /// What the member will receive starts after this offset.
    pub from: u64,
    /// Whether a position was asked for and is continued.
    pub resumed: bool,
    /// This membership's number, in the roster too.
    pub member: u64,
    /// Why the position that was asked for could not be continued; the whole log that is kept follows instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<ResetReason>,
}

/// Why a position can't be continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetReason {
    /// Events after the position are no longer kept.
    Trimmed,
    /// The position belongs to another incarnation of the log.
    OtherEpoch,
    /// The position is beyond the end of the log.
    Ahead,
}

/// Events of one object, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// The object's id.
    pub object: u64,
    /// The events, with offsets that follow one another.
    pub events: Vec<Event>,
}

/// The member has every event up to here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaughtUp {
    /// The object's id.
    pub object: u64,
    /// The last event that was sent.
    pub offset: u64,
}

/// What the member has is no longer a prefix of the log: drop it, the whole log that is kept follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// The object's id.
    pub object: u64,
    /// Why.
    pub reason: ResetReason,
    /// The incarnation of the log.
    pub epoch: u32,
    /// What follows starts after this offset.
    pub from: u64,
}

/// The acknowledgement of a publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The request.
    pub id: u32,
    /// Where the event stands in the log.
    pub offset: u64,
    /// The time that it got.
    pub time: u64,
    /// It was stored before, under the same key; nothing was added.
    pub duplicate: bool,
}

/// Signals of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signals {
    /// The object's id.
    pub object: u64,
    /// The signals.
    pub signals: Vec<SignalItem>,
}

/// One signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalItem {
    /// The session that sent it.
    pub sender: Box<str>,
    /// What was sent.
    pub data: Payload,
    /// The key under which the newest replaces the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
}

/// The reply to a history request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPage {
    /// The request.
    pub id: u32,
    /// The incarnation of the log.
    pub epoch: u32,
    /// There are more events in the direction and range that were asked for.
    pub more: bool,
    /// The events, newest first where the request said `reverse`.
    pub events: Vec<Event>,
}

/// Who is here: all, one page, or what has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// The request; null where the member watches and gets this first.
    pub id: Option<u32>,
    /// The object's id.
    pub object: u64,
    /// The roster's version; it only grows, also over restarts.
    pub version: u64,
    /// How many members the whole roster has.
    pub members: u32,
    /// How many users they are.
    pub users: u32,
    /// Where this tells only changes: the version that they lead on from.
    pub since: Option<u64>,
    /// The members, by their numbers; with `since` those who came or changed.
    pub present: Vec<Present>,
    /// With `since`: the members who went.
    pub left: Vec<u64>,
    /// There are members after the last of these.
    pub more: bool,
}

/// A member in the roster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Present {
    /// The membership's number. No other membership of the object ever has the same.
    pub member: u64,
    /// Whose connection it is; a user may have several.
    pub user: Box<str>,
    /// What it said of itself.
    pub data: Payload,
}

/// What has changed in the roster from one version to the next. A member that only wants the counts gets empty lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The object's id.
    pub object: u64,
    /// The roster's version after these changes.
    pub version: u64,
    /// How many members there are now.
    pub members: u32,
    /// How many users they are.
    pub users: u32,
    /// Who came.
    pub join: Vec<Arrival>,
    /// Who says something else of itself.
    pub update: Vec<Update>,
    /// Who went.
    pub leave: Vec<Departure>,
}

/// A member that came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// The membership's number.
    pub member: u64,
    /// Whose connection it is.
    pub user: Box<str>,
    /// What it says of itself.
    pub data: Payload,
    /// The user was not here before.
    pub first: bool,
}

/// A member that says something else of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// The membership's number.
    pub member: u64,
    /// What it says of itself now.
    pub data: Payload,
}

/// A member that went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departure {
    /// The membership's number.
    pub member: u64,
    /// Whose connection it was.
    pub user: Box<str>,
    /// The user is not here any more.
    pub last: bool,
}

/// A request without a result of its own was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The request.
    pub id: u32,
}

/// A request was refused; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// The request, where it could be told.
    pub id: Option<u32>,
    /// What went wrong, for programs.
    pub code: ErrorCode,
    /// What went wrong and what to do, for people.
    pub message: Box<str>,
    /// Of `rate_limited`: the time in milliseconds after which the request can be sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}
