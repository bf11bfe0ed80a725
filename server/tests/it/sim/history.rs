//! What happened, as the clients know it: what each asked, what each was told, and what there was at the end.

use std::collections::{BTreeMap, BTreeSet};

use dormouse_protocol::{ClientMessage, Event, Payload, Roster, ServerMessage};

/// Of one seed.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) clients: Vec<Diary>,
    /// By the room's name.
    pub(super) rooms: BTreeMap<String, Room>,
    /// How often the server was started again.
    pub(super) restarts: u64,
    /// Rooms whose instance was made to crash: what it was about to do was then refused as `internal`.
    pub(super) crashed: BTreeSet<String>,
}

/// What a room was when everybody had done everything.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) epoch: u32,
    /// The end of the log up to which every member has to come.
    pub(super) head: u64,
    /// The version of the roster up to which everybody who watches has to come.
    pub(super) version: u64,
    pub(super) log: Vec<Event>,
    pub(super) roster: Roster,
}

/// Of one client, over its connections.
#[derive(Debug, Default)]
pub(super) struct Diary {
    pub(super) session: String,
    pub(super) connections: Vec<Connection>,
    /// Where it stands in rosters at the end.
    pub(super) places: Vec<Place>,
}

#[derive(Debug, Default)]
pub(super) struct Connection {
    /// What was sent and what arrived, in the client's order.
    pub(super) lines: Vec<Line>,
    pub(super) end: End,
}

#[derive(Debug)]
pub(super) enum Line {
    Sent(ClientMessage),
    Got(ServerMessage),
}

/// How a connection ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It did not: all that was asked is answered.
    #[default]
    Lived,
    /// The client broke it off, or let it be.
    Cut,
    /// The client closed it in order.
    Closed,
    /// The server closed it with this code, or without any.
    ByServer(Option<u16>),
}

/// An entry of a roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) room: String,
    pub(super) member: u64,
    pub(super) user: String,
    pub(super) data: Payload,
}
