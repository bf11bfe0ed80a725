//! The configuration's keys: their names, types, defaults, documentation and bounds.
//!
//! The doc comments of this file are also what `dormouse config` prints.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dormouse_protocol::ObjectName;
use serde::Serialize;

use super::auth::Auth;
use super::limits::Limits;
use super::list;
use super::listen::{ListenAddress, OperatorsAddress};
use super::rates::Rates;
use super::size;
use super::tls::Tls;
use super::validators::{count, timer};

const CENTURY: Duration = Duration::from_hours(24 * 365 * 100);

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
    /// free one. Or a Unix socket, `unix:/run/dormouse.sock`, to which only the user that runs the server may connect; it answers operators
    /// only.
    #[config(env = "DORMOUSE_INTERNAL", default = "127.0.0.1:7701")]
    pub internal: OperatorsAddress,

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

    /// Encryption of connections.
    #[config(nested)]
    pub tls: Tls,

    /// What clients may use at most.
    #[config(nested)]
    pub limits: Limits,

    /// The rate limits of clients.
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
