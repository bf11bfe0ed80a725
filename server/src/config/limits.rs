//! The keys of `[limits]`: how much of the server clients may use.
//!
//! The doc comments are also what `dormouse config` prints.

use std::time::Duration;

use serde::Serialize;

use super::size::{self, Size};
use super::validators::{count, timer};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Bounds on what clients may use.
#[derive(Debug, Clone, PartialEq, Serialize, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)), validate = Self::check)]
pub struct Limits {
    /// WebSocket connections open at once. One more is refused with HTTP 503.
    #[config(env = "DORMOUSE_LIMITS_CONNECTIONS", default = 16_384, validate = count)]
    pub connections: usize,

    /// WebSocket connections that one address may have open at once (for IPv6: one network of 64 bits). The server refuses one more with
    /// HTTP 429. Clients of the loopback interface are exempt, as from `rates`.
    #[config(env = "DORMOUSE_LIMITS_CONNECTIONS_BY_ADDRESS", default = 1_000, validate = count)]
    pub connections_by_address: usize,

    /// WebSocket connections that one user may have open at once. The server refuses one more with HTTP 429.
    #[config(env = "DORMOUSE_LIMITS_CONNECTIONS_BY_USER", default = 100, validate = count)]
    pub connections_by_user: usize,

    /// The largest message of a client, whole or in fragments: 1KiB to 16MiB. A larger one closes its connection.
    #[config(
        env = "DORMOUSE_LIMITS_MESSAGE_BYTES",
        default = "64KiB",
        deserialize_with = size::deserialize,
        validate((KIB..=16 * MIB).contains(message_bytes), "must be between 1KiB and 16MiB")
    )]
    #[serde(serialize_with = "size::serialize")]
    pub message_bytes: usize,

    /// Objects that one connection may have joined at once.
    #[config(env = "DORMOUSE_LIMITS_JOINS", default = 128, validate = count)]
    pub joins: usize,

    /// Requests of one connection that may wait for their reply.
    #[config(env = "DORMOUSE_LIMITS_IN_FLIGHT", default = 256, validate = count)]
    pub in_flight: usize,

    /// Bytes of one connection's publishes that may wait for their reply; further ones wait in its socket.
    #[config(
        env = "DORMOUSE_LIMITS_IN_FLIGHT_BYTES",
        default = "256KiB",
        deserialize_with = size::deserialize,
        validate((KIB..=1024 * MIB).contains(in_flight_bytes), "must be between 1KiB and 1GiB")
    )]
    #[serde(serialize_with = "size::serialize")]
    pub in_flight_bytes: usize,

    /// Bytes queued to one connection; with more to send it is served from the log instead, at its own pace.
    #[config(
        env = "DORMOUSE_LIMITS_OUTBOUND_BYTES",
        default = "256KiB",
        deserialize_with = size::deserialize,
        validate((KIB..=1024 * MIB).contains(outbound_bytes), "must be between 1KiB and 1GiB")
    )]
    #[serde(serialize_with = "size::serialize")]
    pub outbound_bytes: usize,

    /// Events in one page of history.
    #[config(env = "DORMOUSE_LIMITS_HISTORY_EVENTS", default = 1000, validate = count)]
    pub history_events: usize,

    /// Messages that may wait for one object. More wait in their connections, and are refused as `overloaded` after 5 s.
    #[config(env = "DORMOUSE_LIMITS_MAILBOX", default = 4096, validate = count)]
    pub mailbox: usize,

    /// Signals kept for one slow connection: the newest of each sender and key.
    #[config(env = "DORMOUSE_LIMITS_SIGNALS", default = 64, validate = count)]
    pub signals: usize,

    /// Bytes of what a member says of itself, in MessagePack: 1B to 16KiB.
    #[config(
        env = "DORMOUSE_LIMITS_PRESENCE_BYTES",
        default = "1KiB",
        deserialize_with = size::deserialize,
        validate((1..=16 * KIB).contains(presence_bytes), "must be between 1B and 16KiB")
    )]
    #[serde(serialize_with = "size::serialize")]
    pub presence_bytes: usize,

    /// Members that one object's roster holds.
    #[config(env = "DORMOUSE_LIMITS_ROSTER_MEMBERS", default = 10_000, validate = count)]
    pub roster_members: usize,

    /// Members in one page of a roster. A page has at most 128KiB as well.
    #[config(env = "DORMOUSE_LIMITS_ROSTER_PAGE", default = 500, validate = count)]
    pub roster_page: usize,

    /// Memory of the process, as the system counts what is resident. The log gets 1/4 of it at most and the program 24MiB; 5/6 of the
    /// rest is a budget for what clients make the server hold. With 0B there is no limit, and the budget is half of the memory of the
    /// machine or the container. What holds bytes of clients takes them out of the budget first. Where there is no room, requests are
    /// refused as `overloaded`, slow members read from the log later, and sockets are not read. From 80 % of the budget on new
    /// connections are refused, from 85 % idle objects sleep, and after a second above 88 % the server closes the connections that
    /// hold the most and take nothing. At least 64MiB, and at least 48MiB more than 16 times `limits.message_bytes`; best some 80 % of
    /// what the machine or the container has.
    #[config(
        env = "DORMOUSE_LIMITS_MEMORY",
        default = "0B",
        deserialize_with = size::deserialize,
        validate(*memory == 0 || *memory >= 64 * MIB as u64, "must be 0B or at least 64MiB")
    )]
    #[serde(serialize_with = "size::serialize")]
    pub memory: u64,

    /// How long a message may take to arrive, from its first byte to its last. A slower one closes its connection.
    #[config(
        env = "DORMOUSE_LIMITS_MESSAGE_TIMEOUT",
        default = "1m",
        deserialize_with = humantime_serde::deserialize,
        validate = timer
    )]
    #[serde(serialize_with = "humantime_serde::serialize")]
    pub message_timeout: Duration,

    /// Connections that are in HTTP: handshakes and other requests under way. One more takes the place of the oldest, which
    /// is refused with HTTP 503.
    #[config(env = "DORMOUSE_LIMITS_HTTP_CONNECTIONS", default = 1024, validate = count)]
    pub http_connections: usize,

    /// How long a new connection may take to send its HTTP request.
    #[config(
        env = "DORMOUSE_LIMITS_HANDSHAKE_TIMEOUT",
        default = "10s",
        deserialize_with = humantime_serde::deserialize,
        validate = timer
    )]
    #[serde(serialize_with = "humantime_serde::serialize")]
    pub handshake_timeout: Duration,
}

impl Limits {
    /// A message that fits into no queue could only ever be read from the log, and one that is too large for the memory not even that.
    fn check(&self) -> Result<(), String> {
        let message_bytes = Size(self.message_bytes as u64);
        if self.outbound_bytes < self.message_bytes {
            let outbound_bytes = Size(self.outbound_bytes as u64);
            return Err(format!(
                "limits.outbound_bytes ({outbound_bytes}) must be at least limits.message_bytes ({message_bytes})"
            ));
        }
        let least = 16 * self.message_bytes as u64 + 48 * MIB as u64;
        if self.memory != 0 && self.memory < least {
            let (memory, least) = (Size(self.memory), Size(least));
            return Err(format!(
                "limits.memory ({memory}) must be at least {least} where limits.message_bytes is {message_bytes}: a page with one such event is held several times while it is made"
            ));
        }
        Ok(())
    }
}
