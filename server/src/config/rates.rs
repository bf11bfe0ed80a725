//! The keys of `[rates]`: the rate limits of clients.
//!
//! The doc comments are also what `dormouse config` prints.

use serde::Serialize;

use super::list;
use crate::rates::{self, Limit, Network, Proxies, Quantity, Scope};

/// Rate limits, such as `100/s`, `100/s burst 500` (500 at once, then 100 a second), `10/min`, `1MiB/s burst 16MiB` or `none`. The server
/// refuses a request beyond a limit with `rate_limited` and the time to wait. It closes a connection (3008) that has more refusals than
/// `100/s burst 400`, or whose address has more than `500/s burst 2000`.
#[derive(Debug, Clone, PartialEq, Serialize, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct Rates {
    /// Whether the limits hold for clients of the loopback interface too. By default they do not, so that they do not disturb development and
    /// measurements. If a proxy runs on the same machine, name it in `trusted_proxies`: otherwise all its clients count as clients of the
    /// loopback interface.
    #[config(env = "DORMOUSE_RATES_ON_LOOPBACK", default = false)]
    pub on_loopback: bool,

    /// The proxies whose `X-Forwarded-For` the server believes: addresses or networks, such as `127.0.0.1` or `10.0.0.0/8`.
    #[config(env = "DORMOUSE_RATES_TRUSTED_PROXIES", default = [], deserialize_with = list::deserialize)]
    pub trusted_proxies: Vec<Network>,

    /// Whether each connection of a trusted proxy to `listen` begins with a header of the PROXY protocol, version 2, which has the
    /// client's address. For TCP (layer 4) proxies. A header from another address is an error of HTTP or TLS.
    #[config(env = "DORMOUSE_RATES_PROXY_PROTOCOL", default = false)]
    pub proxy_protocol: bool,

    /// All connections of one address together (of IPv6: of one network of 64 bits).
    #[config(nested)]
    pub address: Address,

    /// All connections of one user (`sub` of the token) together.
    #[config(nested)]
    pub user: User,

    /// One connection.
    #[config(nested)]
    pub connection: Connection,

    /// One object, from all clients together.
    #[config(nested)]
    pub object: Object,
}

/// All connections of one address together (of IPv6: of one network of 64 bits).
#[derive(Debug, Clone, PartialEq, Serialize, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct Address {
    /// Requests to connect, and other requests of HTTP but `/health/live`. The server answers one more with HTTP 429. Over TLS it counts
    /// each connection before its handshake, and ends one more without an answer.
    #[config(env = "DORMOUSE_RATES_ADDRESS_CONNECTS", default = "20/s burst 200")]
    pub connects: Limit,

    /// Connections without a valid token. Beyond the limit, the server answers requests to connect with HTTP 429.
    #[config(env = "DORMOUSE_RATES_ADDRESS_FAILED_AUTHS", default = "10/min burst 20")]
    pub failed_auths: Limit,

    /// Messages and pings.
    #[config(env = "DORMOUSE_RATES_ADDRESS_REQUESTS", default = "2000/s burst 10000")]
    pub requests: Limit,

    /// Bytes of messages.
    #[config(env = "DORMOUSE_RATES_ADDRESS_BYTES", default = "8MiB/s burst 32MiB")]
    pub bytes: Limit,

    /// Publishes.
    #[config(env = "DORMOUSE_RATES_ADDRESS_PUBLISHES", default = "500/s burst 2500")]
    pub publishes: Limit,

    /// Deliveries of signals: each signal counts once for each member that it goes to.
    #[config(env = "DORMOUSE_RATES_ADDRESS_DELIVERIES", default = "100000/s burst 400000")]
    pub deliveries: Limit,

    /// Joins, and reads of the history and of rosters.
    #[config(env = "DORMOUSE_RATES_ADDRESS_READS", default = "500/s burst 2500")]
    pub reads: Limit,
}

/// All connections of one user (`sub` of the token) together.
#[derive(Debug, Clone, PartialEq, Serialize, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct User {
    /// Messages and pings.
    #[config(env = "DORMOUSE_RATES_USER_REQUESTS", default = "400/s burst 2000")]
    pub requests: Limit,

    /// Publishes.
    #[config(env = "DORMOUSE_RATES_USER_PUBLISHES", default = "200/s burst 1000")]
    pub publishes: Limit,

    /// Joins, and reads of the history and of rosters.
    #[config(env = "DORMOUSE_RATES_USER_READS", default = "100/s burst 500")]
    pub reads: Limit,
}

/// One connection.
#[derive(Debug, Clone, PartialEq, Serialize, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct Connection {
    /// Messages and pings.
    #[config(env = "DORMOUSE_RATES_CONNECTION_REQUESTS", default = "200/s burst 1000")]
    pub requests: Limit,

    /// Bytes of messages.
    #[config(env = "DORMOUSE_RATES_CONNECTION_BYTES", default = "1MiB/s burst 16MiB")]
    pub bytes: Limit,

    /// Publishes.
    #[config(env = "DORMOUSE_RATES_CONNECTION_PUBLISHES", default = "100/s burst 500")]
    pub publishes: Limit,

    /// Deliveries of signals: each signal counts once for each member that it goes to.
    #[config(env = "DORMOUSE_RATES_CONNECTION_DELIVERIES", default = "20000/s burst 100000")]
    pub deliveries: Limit,

    /// Joins, and reads of the history and of rosters.
    #[config(env = "DORMOUSE_RATES_CONNECTION_READS", default = "50/s burst 300")]
    pub reads: Limit,
}

/// One object, from all clients together.
#[derive(Debug, Clone, PartialEq, Serialize, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct Object {
    /// Publishes.
    #[config(env = "DORMOUSE_RATES_OBJECT_PUBLISHES", default = "2000/s burst 10000")]
    pub publishes: Limit,

    /// Deliveries of signals: each signal counts once for each member that it goes to.
    #[config(env = "DORMOUSE_RATES_OBJECT_DELIVERIES", default = "500000/s burst 2000000")]
    pub deliveries: Limit,
}

impl Rates {
    /// The settings of the rate limits.
    pub fn settings(
        &self,
        connections_by_address: usize,
        connections_by_user: usize,
    ) -> rates::Settings {
        let Self { on_loopback, trusted_proxies, address, user, connection, object, .. } = self;
        let limits = vec![
            (Scope::Address, Quantity::Connects, address.connects),
            (Scope::Address, Quantity::FailedAuths, address.failed_auths),
            (Scope::Address, Quantity::Requests, address.requests),
            (Scope::Address, Quantity::Bytes, address.bytes),
            (Scope::Address, Quantity::Publishes, address.publishes),
            (Scope::Address, Quantity::Deliveries, address.deliveries),
            (Scope::Address, Quantity::Reads, address.reads),
            (Scope::User, Quantity::Requests, user.requests),
            (Scope::User, Quantity::Publishes, user.publishes),
            (Scope::User, Quantity::Reads, user.reads),
            (Scope::Connection, Quantity::Requests, connection.requests),
            (Scope::Connection, Quantity::Bytes, connection.bytes),
            (Scope::Connection, Quantity::Publishes, connection.publishes),
            (Scope::Connection, Quantity::Deliveries, connection.deliveries),
            (Scope::Connection, Quantity::Reads, connection.reads),
            (Scope::Object, Quantity::Publishes, object.publishes),
            (Scope::Object, Quantity::Deliveries, object.deliveries),
        ];
        let proxies = Proxies(trusted_proxies.clone());
        let on_loopback = *on_loopback;
        rates::Settings {
            limits,
            on_loopback,
            connections_by_address,
            connections_by_user,
            proxies,
        }
    }
}
