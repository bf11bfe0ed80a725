//! What the routes and the fast path share: the parts of the server, and the decision about a handshake.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};

use super::Inside;
use super::credentials::{access_token, cookie_token};
use super::handshake::{Handshake, Offers, Refusal};
use super::health::Health;
use super::host::Hosts;
use super::log_throttle::LogThrottle;
use super::metrics::Counts;
use super::origin::Origins;
use super::peer::Peer;
use super::upgrade::Upgrade;
use crate::auth::{self, Admitted};
use crate::limits::Level;
use crate::metrics::Metrics;
use crate::rates::Scope;
use crate::socket::{ConnectionPermits, NoConnectionPermit};

/// What the routes use.
pub(super) struct Shared {
    pub(super) slots: ConnectionPermits,
    pub(super) hosts: Hosts,
    pub(super) origins: Origins,
    pub(super) health: Health,
    pub(super) inside: Inside,
    pub(super) test_controls: bool,
    pub(super) offers: Offers,
    /// The cookie that holds tokens; empty for none.
    pub(super) cookie: String,
    /// How long a client may take to send its token in a message.
    pub(super) auth_time: Duration,
    pub(super) counts: Counts,
    /// Throttles the log line about `limits.connections`.
    pub(super) full: LogThrottle,
    /// Throttles the log line about `rates.trusted_proxies`.
    pub(super) unknown_proxy: LogThrottle,
    pub(super) metrics: Metrics,
}

impl Shared {
    /// Grants a request to connect, or says why not.
    pub(super) fn grant(&self, request: &Parts, peer: &mut Peer) -> Result<Upgrade, Refusal> {
        let Inside { auth: tokens, registry, sessions, pressure, rates, .. } = &self.inside;
        let address = self.count_connect(&request.headers, peer)?;
        let handshake = Handshake::read(request, self.offers, sessions)?;
        if !self.hosts.admit(request) {
            return Err(Refusal::ForeignHost);
        }
        if !self.origins.admit(&request.headers) {
            return Err(Refusal::Origin);
        }
        if self.health.is_draining() {
            return Err(Refusal::Draining);
        }
        if pressure.is(Level::NoConnections) {
            return Err(Refusal::Memory);
        }
        let slot = self.slots.take().map_err(|why| match why {
            NoConnectionPermit::Full => Refusal::Full,
            NoConnectionPermit::Memory => Refusal::Memory,
        })?;
        // Last, because the check of a signature is the most expensive step.
        let headers = &request.headers;
        let token = access_token(headers).or_else(|| {
            self.origins.trusts(headers).then(|| cookie_token(headers, &self.cookie)).flatten()
        });
        let admitted = match tokens.admit(token, peer.certificate.as_deref(), registry.now_ms()) {
            Err(auth::Refusal::Missing) if handshake.promises_token => {
                Ok(Some(Admitted::until_auth(self.auth_time)))
            }
            admitted => admitted,
        };
        if admitted.is_err() {
            rates.failed_auth(address);
        }
        let access = admitted.as_ref().ok().and_then(Option::as_ref);
        let user = access.and_then(|admitted| admitted.access.subject.user());
        let client = rates.enter(address, user, slot.number()).map_err(|scope| match scope {
            Scope::User => Refusal::UserConnections,
            _ => Refusal::AddressConnections,
        })?;
        Ok(Upgrade { handshake, admitted, client, slot })
    }

    /// Counts a connection against the rate limit of its client's address, unless that was done; returns the address.
    pub(super) fn count_connect(
        &self,
        headers: &HeaderMap,
        peer: &mut Peer,
    ) -> Result<IpAddr, Refusal> {
        let rates = &self.inside.rates;
        let forwarded = headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
        let address = rates.client_address(peer.address, forwarded);
        if !rates.has_proxies()
            && headers.contains_key(FORWARDED_FOR)
            && self.unknown_proxy.is_due()
        {
            tracing::warn!(
                peer = %peer.address,
                "a request has X-Forwarded-For, but rates.trusted_proxies is empty: the rate limits count all clients of a proxy as one, \
                 and a proxy on this machine makes them exempt"
            );
        }
        if peer.counted != Some(address) {
            rates.connect(address).map_err(|_| Refusal::Rate)?;
            peer.counted = Some(address);
        }
        Ok(address)
    }

    /// Counts an answer.
    pub(super) fn count(&self, route: &str, status: StatusCode) {
        let code = match status.as_u16() {
            100..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        self.counts.requests.with_label_values(&[route, code]).inc();
    }
}

/// The header in which proxies report the address of a client.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Where clients connect.
pub(super) const CONNECT: &str = "/v1/connect";
