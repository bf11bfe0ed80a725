//! The configuration's keys: their names, types, defaults, documentation and bounds.
//!
//! The doc comments of this file are also what `dormouse config` prints.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dormouse_protocol::ObjectName;
use serde::Serialize;

use super::auth::Auth;
use super::list;
use super::listen::ListenAddress;
use super::rates::Rates;
use super::size::{self, Size};

const DAY: Duration = Duration::from_hours(24);
const CENTURY: Duration = Duration::from_hours(24 * 365 * 100);
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Configuration of the Dormouse server.
#[derive(Debug, Clone, PartialEq, Serialize, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct Config {
    /// The host and port to listen on. Of a host by name, the server listens on all its addresses. Port 0 takes any free one; the
    /// addresses are printed at start, one a line.
    #[config(env = "DORMOUSE_LISTEN", default = "127.0.0.1:7700")]
    pub listen: ListenAddress,

    /// The host and port for operators: metrics, readiness, objects and the controls for tests, and all that `listen` answers. The
    /// endpoints for operators need no token: keep this address on the loopback interface or in a private network. Port 0 takes any
    /// free one.
    #[config(env = "DORMOUSE_INTERNAL", default = "127.0.0.1:7701")]
    pub internal: ListenAddress,

    /// Listens beyond the loopback interface even if no key of tokens is configured. Every client that reaches the server can then read
    /// and write every room.
    #[config(env = "DORMOUSE_INSECURE", default = false)]
    pub insecure: bool,

    /// The directory that holds the log. It is made where it is missing; one server at a time uses it.
    #[config(env = "DORMOUSE_DATA", default = "./dormouse-data", validate = path)]
    pub data: PathBuf,

    /// Web pages that may connect besides the server's own: `scheme://host[:port]` of each, or `*` for all. Programs that are
    /// no browsers are not asked.
    #[config(
        env = "DORMOUSE_ALLOWED_ORIGINS",
        default = [],
        deserialize_with = list::deserialize,
        validate = origins
    )]
    pub allowed_origins: Vec<String>,

    /// Names that requests may give in `Host`, without a port, besides `localhost` and IP addresses: a page of another name that is made
    /// to resolve to this server (DNS rebinding) is refused with 403. `*.example.com` stands for all names below `example.com`, `*` for
    /// every name. A server that clients reach by a name, behind a proxy too, needs that name here. Health checks are not asked.
    #[config(env = "DORMOUSE_ALLOWED_HOSTS", default = [], deserialize_with = list::deserialize, validate = hosts)]
    pub allowed_hosts: Vec<String>,

    /// Threads that own sockets, at most 64. 0 is one for each core.
    #[config(
        env = "DORMOUSE_REACTORS",
        default = 0,
        validate(*reactors <= 64, "must be at most 64")
    )]
    pub reactors: usize,

    /// Compresses messages of 256 bytes and more for clients that offer `permessage-deflate`, as browsers do, and takes compressed
    /// ones of theirs. Saves traffic for CPU time: a message is compressed once for all members of its object.
    #[config(env = "DORMOUSE_COMPRESSION", default = false)]
    pub compression: bool,

    /// Lets `POST /v1/objects/{class}/{name}/sleep`, `…/crash` and `/v1/log/delay?ms=100` put objects to sleep, crash them and
    /// slow the log down, and clients connect with the subprotocol `dormouse.test.echo`: for tests, and for operators who rehearse failures. Never on a public server.
    #[config(env = "DORMOUSE_TEST_CONTROLS", default = false)]
    pub test_controls: bool,

    /// How long a stop may take: accepted requests are answered, commits finished and clients told to reconnect.
    #[config(
        env = "DORMOUSE_SHUTDOWN_TIMEOUT",
        default = "10s",
        deserialize_with = humantime_serde::deserialize,
        validate = timer
    )]
    #[serde(serialize_with = "humantime_serde::serialize")]
    pub shutdown_timeout: Duration,

    /// Who may do what.
    #[config(nested)]
    pub auth: Auth,

    /// What clients may use at most.
    #[config(nested)]
    pub limits: Limits,

    /// How often clients may do what.
    #[config(nested)]
    pub rates: Rates,

    /// When a silent connection is dead.
    #[config(nested)]
    pub liveness: Liveness,

    /// How many objects are awake and what they remember.
    #[config(nested)]
    pub objects: Objects,

    /// The log on disk.
    #[config(nested)]
    pub log: Log,

    /// How rosters are kept.
    #[config(nested)]
    pub presence: Presence,

    /// The classes of objects.
    #[config(nested)]
    pub classes: Classes,
}

/// Bounds on what clients may use.
#[derive(Debug, Clone, PartialEq, Serialize, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)), validate = Self::check)]
pub struct Limits {
    /// WebSocket connections open at once. One more is refused with HTTP 503.
    #[config(env = "DORMOUSE_LIMITS_CONNECTIONS", default = 16_384, validate = count)]
    pub connections: usize,

    /// WebSocket connections that one address may have open at once (of IPv6: one network of 64 bits). One more is refused with HTTP
    /// 429. Clients of the loopback interface are exempt, as from `rates`.
    #[config(env = "DORMOUSE_LIMITS_CONNECTIONS_BY_ADDRESS", default = 1_000, validate = count)]
    pub connections_by_address: usize,

    /// WebSocket connections that one user may have open at once. One more is refused with HTTP 429.
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

/// How dead connections are found.
#[derive(Debug, Clone, PartialEq, Serialize, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct Liveness {
    /// A connection that was silent for this long is pinged.
    #[config(
        env = "DORMOUSE_LIVENESS_PING_INTERVAL",
        default = "25s",
        deserialize_with = humantime_serde::deserialize,
        validate = timer
    )]
    #[serde(serialize_with = "humantime_serde::serialize")]
    pub ping_interval: Duration,

    /// A connection that stays silent for this long after a ping is dead.
    #[config(
        env = "DORMOUSE_LIVENESS_PONG_TIMEOUT",
        default = "10s",
        deserialize_with = humantime_serde::deserialize,
        validate = timer
    )]
    #[serde(serialize_with = "humantime_serde::serialize")]
    pub pong_timeout: Duration,

    /// A connection that takes nothing of what waits for it for this long is closed, even if it is there.
    #[config(
        env = "DORMOUSE_LIVENESS_STALL_TIMEOUT",
        default = "5m",
        deserialize_with = humantime_serde::deserialize,
        validate = timer
    )]
    #[serde(serialize_with = "humantime_serde::serialize")]
    pub stall_timeout: Duration,

    /// How long a client may take to answer a close before its socket is cut.
    #[config(
        env = "DORMOUSE_LIVENESS_CLOSE_TIMEOUT",
        default = "5s",
        deserialize_with = humantime_serde::deserialize,
        validate = timer
    )]
    #[serde(serialize_with = "humantime_serde::serialize")]
    pub close_timeout: Duration,
}

/// The life of objects of every class.
#[derive(Debug, Clone, PartialEq, Serialize, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)), validate = Self::check)]
pub struct Objects {
    /// Objects that may be awake at one time. When one more is to wake, the one that was used the longest ago sleeps.
    #[config(env = "DORMOUSE_OBJECTS_MAX_AWAKE", default = 10_000, validate = count)]
    pub max_awake: usize,

    /// Objects that may read their logs to wake at one time. More wait in line, and are served in the order in which they came.
    #[config(env = "DORMOUSE_OBJECTS_MAX_WAKING", default = 64, validate = count)]
    pub max_waking: usize,

    /// Objects that are woken at the start and do not fall asleep, `class/name` each. Fewer than `max_awake`.
    #[config(env = "DORMOUSE_OBJECTS_PINNED", default = [], deserialize_with = list::deserialize)]
    pub pinned: Vec<ObjectName>,

    /// How long the key of a publish is remembered, so that its repeat is not stored again.
    #[config(
        env = "DORMOUSE_OBJECTS_DEDUPE_WINDOW",
        default = "10m",
        deserialize_with = humantime_serde::deserialize,
        validate = timer
    )]
    #[serde(serialize_with = "humantime_serde::serialize")]
    pub dedupe_window: Duration,

    /// Of how many last events of an object the keys are remembered. A waking object reads so many at most.
    #[config(env = "DORMOUSE_OBJECTS_DEDUPE_EVENTS", default = 10_000, validate = count)]
    pub dedupe_events: usize,
}

/// The log on disk, of all classes.
#[derive(Debug, Clone, PartialEq, Serialize, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct Log {
    /// Space that is kept free on the disk of `data`. With less, publishes are refused as `disk_full` and everything else goes on,
    /// until there is a quarter more than this. Retention, which needs some space to make more, lives on it. 0B keeps none.
    #[config(
        env = "DORMOUSE_LOG_MIN_FREE",
        default = "256MiB",
        deserialize_with = size::deserialize
    )]
    #[serde(serialize_with = "size::serialize")]
    pub min_free: u64,
}

/// How rosters are kept: who is present in each object.
#[derive(Debug, Clone, PartialEq, Serialize, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct Presence {
    /// The shortest time between two messages about one roster, in which changes are gathered: 10ms to 10s.
    #[config(
        env = "DORMOUSE_PRESENCE_INTERVAL",
        default = "100ms",
        deserialize_with = humantime_serde::deserialize,
        validate(
            (Duration::from_millis(10)..=Duration::from_secs(10)).contains(interval),
            "must be between 10ms and 10s"
        )
    )]
    #[serde(serialize_with = "humantime_serde::serialize")]
    pub interval: Duration,

    /// How long a member whose connection was lost stays in the roster; also after a restart. At most 5min; with 0s it leaves
    /// at once.
    #[config(
        env = "DORMOUSE_PRESENCE_GRACE",
        default = "10s",
        deserialize_with = humantime_serde::deserialize,
        validate(*grace <= Duration::from_mins(5), "must be at most 5min")
    )]
    #[serde(serialize_with = "humantime_serde::serialize")]
    pub grace: Duration,
}

/// What differs between classes of objects.
#[derive(Debug, Clone, PartialEq, Serialize, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct Classes {
    /// The built-in class.
    #[config(nested)]
    pub room: Class,
}

/// One class of objects.
#[derive(Debug, Clone, PartialEq, Serialize, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct Class {
    /// An object with nothing to do for this long falls asleep.
    #[config(
        env = "DORMOUSE_CLASSES_ROOM_SLEEP_AFTER",
        default = "10s",
        deserialize_with = humantime_serde::deserialize,
        validate = timer
    )]
    #[serde(serialize_with = "humantime_serde::serialize")]
    pub sleep_after: Duration,

    /// How much of a log is kept.
    #[config(nested)]
    pub retention: Retention,
}

/// How much of an object's log is kept. The oldest events beyond any of these bounds are trimmed.
#[derive(Debug, Clone, PartialEq, Serialize, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct Retention {
    /// Events of one object; 0 is no limit.
    #[config(
        env = "DORMOUSE_CLASSES_ROOM_RETENTION_MAX_EVENTS",
        default = 1_000_000,
        validate(*max_events < 1 << 53, "must be below 2^53")
    )]
    pub max_events: u64,

    /// Age of an event; 0s is no limit.
    #[config(
        env = "DORMOUSE_CLASSES_ROOM_RETENTION_MAX_AGE",
        default = "0s",
        deserialize_with = humantime_serde::deserialize,
        validate(*max_age <= CENTURY, "must be at most 100 years")
    )]
    #[serde(serialize_with = "humantime_serde::serialize")]
    pub max_age: Duration,

    /// Bytes of one object's events; 0 is no limit.
    #[config(
        env = "DORMOUSE_CLASSES_ROOM_RETENTION_MAX_BYTES",
        default = "256MiB",
        deserialize_with = size::deserialize
    )]
    #[serde(serialize_with = "size::serialize")]
    pub max_bytes: u64,
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

impl Objects {
    /// If pinned objects held all awake permits, no other object could wake.
    fn check(&self) -> Result<(), String> {
        if self.pinned.len() < self.max_awake {
            return Ok(());
        }
        Err(format!(
            "objects.pinned ({} objects) must leave a place of objects.max_awake ({}) free",
            self.pinned.len(),
            self.max_awake
        ))
    }
}

#[expect(clippy::ptr_arg, reason = "the form of a validator")]
fn origins(origins: &Vec<String>) -> Result<(), &'static str> {
    let is_origin = |origin: &String| {
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        origin == "*" || !host.is_empty() && !host.contains(['/', ' '])
    };
    if origins.iter().all(is_origin) {
        Ok(())
    } else {
        Err("must be `scheme://host[:port]` each, as in https://app.example, or `*`")
    }
}

#[expect(clippy::ptr_arg, reason = "the form of a validator")]
fn hosts(hosts: &Vec<String>) -> Result<(), &'static str> {
    let is_host = |host: &String| {
        let name = host.strip_prefix("*.").unwrap_or(host);
        host == "*" || !name.is_empty() && !name.contains(['*', ':', '/', ' '])
    };
    if hosts.iter().all(is_host) {
        Ok(())
    } else {
        Err("must be names without scheme and port, as in chat.example or *.chat.example, or `*`")
    }
}

fn path(path: &PathBuf) -> Result<(), &'static str> {
    if path == Path::new("") { Err("must not be empty") } else { Ok(()) }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form of a validator")]
fn count(count: &usize) -> Result<(), &'static str> {
    if (1..=10_000_000).contains(count) { Ok(()) } else { Err("must be between 1 and 10000000") }
}

fn timer(time: &Duration) -> Result<(), &'static str> {
    if (Duration::from_millis(1)..=DAY).contains(time) {
        Ok(())
    } else {
        Err("must be between 1ms and 1day")
    }
}
