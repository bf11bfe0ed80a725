//! Rate limits of clients: by address, user, connection and object. Also the number of open connections of each address and user.
//!
//! The algorithm is GCRA (ITU-T I.371), from the crate `governor`. This module owns the states of the limits, which have a bound, and
//! decides which clients are exempt. It knows no sockets and no requests: HTTP and the sockets call it before they work for a client.

mod address;
mod limit;
mod open;
mod states;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use prometheus::{IntCounterVec, Opts, Registry};
use tokio::time::Instant;

pub use self::address::{Network, NotANetwork, Proxies};
pub use self::limit::{Limit, NotALimit};
pub use self::open::Opened;

use self::address::prefix;
use self::open::OpenConnections;
use self::states::States;

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quantity {
    /// Requests for a WebSocket.
    Connects,
    /// Times that a client presented no valid token.
    FailedAuths,
    /// Messages and pings.
    Requests,
    /// Bytes of messages.
    Bytes,
    /// Publishes.
    Publishes,
    /// Members that a signal goes to.
    Deliveries,
    /// Joins, and reads of the history or of a roster.
    Reads,
    /// Refusals because of one of the other limits.
    Refusals,
}

/// What shares one limit, from the narrowest to the widest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// One connection.
    Connection,
    /// All connections of a user.
    User,
    /// All connections of an IPv4 address, or of an IPv6 network of 64 bits.
    Address,
    /// One object, for all clients together.
    Object,
}

/// The keys of a connection's limits. An exempt connection has none.
#[derive(Debug)]
pub struct Client {
    address: u64,
    user: Option<u64>,
    connection: u64,
    /// They count the connection as open for its address and its user.
    open: [Option<Opened>; 2],
}

/// A limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// What shares the limit.
    pub scope: Scope,
    /// The time after which the limit allows the request, if nothing else uses it.
    pub retry_after: Duration,
}

/// What the configuration says.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The limits.
    pub limits: Vec<(Scope, Quantity, Limit)>,
    /// Whether clients of the loopback interface are limited too.
    pub on_loopback: bool,
    /// Open connections of one address.
    pub connections_by_address: usize,
    /// Open connections of one user.
    pub connections_by_user: usize,
    /// The proxies whose `X-Forwarded-For` the server believes.
    pub proxies: Proxies,
}

/// The time since the start, by tokio's clock, which tests simulate.
#[derive(Debug, Clone, Copy)]
struct Elapsed(Instant);

impl Clock for Elapsed {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

struct Limiter {
    scope: Scope,
    burst: u32,
    counts: RateLimiter<u64, States, Elapsed, NoOpMiddleware<Duration>>,
}

/// All limits and their states.
pub struct Rates {
    /// For each quantity, the limits in the order in which they are checked. A request that one limit refuses does not count against
    /// the later ones. The narrowest scope is first, so a client that exceeds its own limit uses up nothing that it shares.
    limiters: [Vec<Limiter>; Quantity::ALL.len()],
    states: States,
    clock: Elapsed,
    on_loopback: bool,
    open: OpenConnections,
    proxies: Proxies,
    limited: IntCounterVec,
}

impl Rates {
    /// Limits that no client has used yet.
    pub fn new(settings: Settings, registry: &Registry) -> prometheus::Result<Self> {
        let limited = IntCounterVec::new(
            Opts::new("dormouse_rate_limited_total", "Times that a client reached a rate limit."),
            &["scope", "limit"],
        )?;
        registry.register(Box::new(limited.clone()))?;
        let (states, clock) = (States::new(), Elapsed(Instant::now()));
        let mut limits = settings.limits;
        limits.push((Scope::Connection, Quantity::Refusals, Limit::CONNECTION_REFUSALS));
        limits.push((Scope::Address, Quantity::Refusals, Limit::ADDRESS_REFUSALS));
        limits.sort_by_key(|(scope, ..)| *scope);
        let mut limiters = [const { Vec::new() }; Quantity::ALL.len()];
        for (scope, quantity, limit) in limits {
            limited.with_label_values(&[scope.name(), quantity.name()]);
            let Some(quota) = limit.quota() else { continue };
            let burst = quota.burst_size().get();
            let counts = RateLimiter::new(quota, states.clone(), clock);
            limiters[quantity as usize].push(Limiter { scope, burst, counts });
        }
        let open =
            OpenConnections::new(settings.connections_by_address, settings.connections_by_user);
        let Settings { on_loopback, proxies, .. } = settings;
        Ok(Self { limiters, states, clock, on_loopback, open, proxies, limited })
    }

    /// The address of the client of a connection. If the peer is a trusted proxy, it comes from `X-Forwarded-For`, whose values are given
    /// in their order.
    pub fn client_address<'a>(
        &self,
        peer: IpAddr,
        forwarded: impl DoubleEndedIterator<Item = &'a [u8]>,
    ) -> IpAddr {
        self.proxies.client(peer, forwarded)
    }

    /// Whether any proxy is trusted.
    pub fn has_proxies(&self) -> bool {
        !self.proxies.0.is_empty()
    }

    /// Whether this is the address of a trusted proxy.
    pub fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxies.trusts(address)
    }

    /// Counts a request to connect from this address, or refuses it.
    pub fn connect(&self, address: IpAddr) -> Result<(), Limited> {
        if self.is_exempt(address) {
            return Ok(());
        }
        let address = self.address_key(address);
        let (now, until) = (self.clock.now(), self.states.get(self.blocked_key(address)));
        if let Some(wait) = until.and_then(|until| until.checked_sub(now)) {
            return Err(self.limit(Scope::Address, Quantity::FailedAuths, wait));
        }
        self.check(Quantity::Connects, 1, |scope| (scope == Scope::Address).then_some(address))
    }

    /// Counts a connection without a valid token. Beyond the limit, [`Rates::connect`] refuses the address until it may fail once more.
    pub fn failed_auth(&self, address: IpAddr) {
        if self.is_exempt(address) {
            return;
        }
        // The refusal comes with the next request to connect.
        let _ = self.failed_auth_at(self.address_key(address));
    }

    /// The same for a token that a client sends on its open connection. The error: the address has reached its limit.
    pub fn failed_auth_of(&self, client: &Client) -> Result<(), Limited> {
        self.failed_auth_at(client.address)
    }

    fn failed_auth_at(&self, address: u64) -> Result<(), Limited> {
        let key = |scope| (scope == Scope::Address).then_some(address);
        let counted = self.check(Quantity::FailedAuths, 1, key);
        if let Err(limited) = &counted {
            self.states.put(self.blocked_key(address), self.clock.now() + limited.retry_after);
        }
        counted
    }

    /// Counts an open connection, and returns the keys of its limits; `None` if the client is exempt. `connection` is different for each
    /// connection. The error says whether the address or the user has too many connections.
    pub fn enter(
        &self,
        address: IpAddr,
        user: Option<&str>,
        connection: u64,
    ) -> Result<Option<Client>, Scope> {
        if self.is_exempt(address) {
            return Ok(None);
        }
        let address = self.address_key(address);
        let user = user.map(|user| self.states.key(user));
        let open = self.open.enter(address, user)?;
        Ok(Some(Client { address, user, connection, open }))
    }

    /// Counts an open connection without a user as a connection of this user. The error: the user has too many.
    pub fn name_user(&self, client: &mut Client, user: &str) -> Result<(), Scope> {
        let user = self.states.key(user);
        client.open[1] = Some(self.open.enter_user(user)?);
        client.user = Some(user);
        Ok(())
    }

    /// Counts `count` of a quantity against all limits of a connection, or says which limit refuses it. `object` is the id of the object, if
    /// the request is for one.
    pub fn admit(
        &self,
        client: &Client,
        quantity: Quantity,
        count: usize,
        object: Option<u64>,
    ) -> Result<(), Limited> {
        self.check(quantity, count, |scope| match scope {
            Scope::Address => Some(client.address),
            Scope::User => client.user,
            Scope::Connection => Some(client.connection),
            Scope::Object => object,
        })
    }

    fn check(
        &self,
        quantity: Quantity,
        count: usize,
        key: impl Fn(Scope) -> Option<u64>,
    ) -> Result<(), Limited> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        for Limiter { scope, burst, counts } in &self.limiters[quantity as usize] {
            let Some(key) = key(*scope) else { continue };
            // A count above the burst could never pass. It counts as the whole burst.
            let Some(count) = NonZeroU32::new(count.min(*burst)) else { continue };
            let key = self.states.key((*scope, quantity, key));
            if let Ok(Err(not_until)) = counts.check_key_n(&key, count) {
                let wait = not_until.wait_time_from(self.clock.now());
                return Err(self.limit(*scope, quantity, wait));
            }
        }
        Ok(())
    }

    fn limit(&self, scope: Scope, quantity: Quantity, retry_after: Duration) -> Limited {
        self.limited.with_label_values(&[scope.name(), quantity.name()]).inc();
        Limited { scope, retry_after }
    }

    fn is_exempt(&self, address: IpAddr) -> bool {
        !self.on_loopback && address.to_canonical().is_loopback()
    }

    fn address_key(&self, address: IpAddr) -> u64 {
        self.states.key(prefix(address))
    }

    fn blocked_key(&self, address: u64) -> u64 {
        self.states.key(("blocked", address))
    }
}

impl Quantity {
    /// All quantities, in the order of their discriminants.
    const ALL: [Self; 8] = [
        Self::Connects,
        Self::FailedAuths,
        Self::Requests,
        Self::Bytes,
        Self::Publishes,
        Self::Deliveries,
        Self::Reads,
        Self::Refusals,
    ];

    /// The label of the metric.
    fn name(self) -> &'static str {
        match self {
            Self::Connects => "connects",
            Self::FailedAuths => "failed_auths",
            Self::Requests => "requests",
            Self::Bytes => "bytes",
            Self::Publishes => "publishes",
            Self::Deliveries => "deliveries",
            Self::Reads => "reads",
            Self::Refusals => "refusals",
        }
    }
}

impl Scope {
    /// The label of the metric, and the name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::User => "user",
            Self::Connection => "connection",
            Self::Object => "object",
        }
    }
}

#[cfg(test)]
mod tests;
