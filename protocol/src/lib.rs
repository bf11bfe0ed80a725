//! The Dormouse wire protocol: message types, their MessagePack and JSON forms, error codes and close codes.
//!
//! `PROTOCOL.md` beside this crate describes the same for people; `vectors/` holds the bytes that every
//! implementation must agree on. This crate does no I/O and knows nothing of sockets, clocks or storage.

mod client;
mod close;
mod codec;
mod error;
mod event;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod name;
mod payload;
mod server;

pub use client::{
    Auth, ClientMessage, History, Join, Leave, Ping, Position, PresenceGet, PresenceSet, Publish,
    Signal, Start, Watch,
};
pub use close::CloseCode;
pub use codec::{DecodeError, Encoding, SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK};
pub use error::ErrorCode;
pub use event::{Event, encode_events};
pub use name::{InvalidText, Key, Kind, ObjectName};
pub use payload::{InvalidPayload, MAX_DEPTH, Payload};
pub use server::{
    Arrival, CaughtUp, Departure, Done, ErrorReply, Events, HistoryPage, Joined, Limits, Presence,
    Present, Published, Removed, Reset, ResetReason, Roster, ServerMessage, SignalItem, Signals,
    TokenExpiring, Update, Welcome,
};
