//! How often clients may do what: rate limits by address, user, connection and object, and the count of open connections of each address
//! and user.
//!
//! The limits are GCRA (of ITU-T I.371), by the crate `governor`. Owns their states, which are bounded, and knows who is exempt. Knows
//! nothing of sockets or requests: they ask before they do anything for a client.

mod address;
mod limit;
mod open;
mod states;

use std::net::IpAddr;
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

/// Whom a limit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All connections of an IPv4 address, or of an IPv6 network of 64 bits.
    Address,
    /// All connections of a user.
    User,
    /// One connection.
    Connection,
    /// One object, from all clients together.
    Object,
}

/// A client that limits hold for; nothing is kept for clients that are exempt.
#[derive(Debug)]
pub struct Client {
    address: u64,
    user: Option<u64>,
    connection: u64,
    /// Count it as an open connection of its address and of its user.
    _open: [Option<Opened>; 2],
}

/// A limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// Whose.
    pub scope: Scope,
    /// From when on it is worth to try again.
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
    /// Whom to believe about addresses.
    pub proxies: Proxies,
}

/// Time since the start, of tokio's clock: tests simulate it.
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
    quantity: Quantity,
    most: u32,
    counts: RateLimiter<u64, States, Elapsed, NoOpMiddleware<Duration>>,
}

/// All limits, and how far each client has used them.
pub struct Rates {
    limiters: Vec<Limiter>,
    states: States,
    clock: Elapsed,
    on_loopback: bool,
    open: OpenConnections,
    proxies: Proxies,
    limited: IntCounterVec,
}

impl Rates {
    /// No client has done anything yet.
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
        let mut limiters = Vec::new();
        for (scope, quantity, limit) in limits {
            limited.with_label_values(&[scope.name(), quantity.name()]);
            let Some(quota) = limit.quota() else { continue };
            let most = quota.burst_size().get();
            let counts = RateLimiter::new(quota, states.clone(), clock);
            limiters.push(Limiter { scope, quantity, most, counts });
        }
        let open =
            OpenConnections::new(settings.connections_by_address, settings.connections_by_user);
        let Settings { on_loopback, proxies, .. } = settings;
        Ok(Self { limiters, states, clock, on_loopback, open, proxies, limited })
    }

    /// The address of the client behind a connection: what trusted proxies say, given the values of `X-Forwarded-For` in order.
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

    /// Whether a client of this address may connect now. It counts.
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

    /// Counts that a client presented no valid token. One that goes on cannot connect for a while.
    pub fn failed_auth(&self, address: IpAddr) {
        if self.is_exempt(address) {
            return;
        }
        let address = self.address_key(address);
        let key = |scope| (scope == Scope::Address).then_some(address);
        if let Err(limited) = self.check(Quantity::FailedAuths, 1, key) {
            self.states.put(self.blocked_key(address), self.clock.now() + limited.retry_after);
        }
    }

    /// Begins to count for a connection, which has this number. `None` if the client is exempt.
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
        Ok(Some(Client { address, user, connection, _open: open }))
    }

    /// Whether a client may do so much of something now, with an object if there is one. It counts.
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
        for Limiter { scope, most, counts, .. } in
            self.limiters.iter().filter(|it| it.quantity == quantity)
        {
            let Some(key) = key(*scope) else { continue };
            // What is more than may come at once waits until all of that may come.
            let Some(count) = u32::try_from(count).unwrap_or(u32::MAX).min(*most).try_into().ok()
            else {
                continue;
            };
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
