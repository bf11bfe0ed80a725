//! One fetch of an issuer's keys over HTTP, bounded in size and time. Redirects are not followed.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use ureq::Agent;
use ureq::http::header::CACHE_CONTROL;
use ureq::tls::{RootCerts, TlsConfig};

use super::{Place, set};
use crate::auth::key::Key;
use crate::auth::settings::Endpoint;

/// Bytes of one response.
const MAX_BYTES: u64 = 256 << 10;

/// Why keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// There is no answer, or one that is not HTTP, too large or too slow.
    #[error("no usable answer from {url}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// What went wrong.
        source: Box<ureq::Error>,
    },
    /// The answer is not 200.
    #[error("{url} answers with HTTP status {status}; redirects are not followed")]
    Status {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
    },
    /// The discovery document is none.
    #[error("the issuer's discovery document is not one")]
    NotADiscovery,
    /// The discovery document speaks for another issuer.
    #[error("the discovery document names another issuer than auth.oidc")]
    OtherIssuer,
    /// The discovery document leads to where keys must not come from.
    #[error("the discovery document's `jwks_uri` must have https")]
    Insecure,
    /// The set of keys is none.
    #[error("the answer is not a set of keys (JWKS)")]
    NotAKeySet,
    /// The set has too many keys.
    #[error("the set has more than 100 keys")]
    TooManyKeys,
    /// No key of the set can check tokens.
    #[error("the set has no key that can check tokens")]
    NoUsableKey,
}

/// The HTTP client.
pub(super) struct Fetcher {
    agent: Agent,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Fetcher {
    /// A client for which each request may take so long.
    pub(super) fn new(place: &Place, timeout: Duration) -> Self {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(Arc::new(provider))
            .build();
        let mut config = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(timeout))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .max_response_header_size(16 << 10)
            .max_idle_connections(0);
        let (Place::Set(url) | Place::Issuer(url)) = place;
        if url.is_loopback() {
            config = config.proxy(None);
        }
        Self { agent: config.build().new_agent() }
    }

    /// The keys, and for how long the issuer says that they may be kept.
    pub(super) fn fetch(&self, place: &Place) -> Result<(Vec<Key>, Option<Duration>), FetchError> {
        match place {
            Place::Set(url) => self.fetch_set(url, None),
            Place::Issuer(issuer) => {
                let base = issuer.as_str();
                let document =
                    format!("{}/.well-known/openid-configuration", base.trim_end_matches('/'));
                let (json, _) = self.get(&document)?;
                let found: Discovery =
                    serde_json::from_slice(&json).map_err(|_| FetchError::NotADiscovery)?;
                if found.issuer != base {
                    return Err(FetchError::OtherIssuer);
                }
                let url = found.jwks_uri.parse().map_err(|_| FetchError::Insecure)?;
                self.fetch_set(&url, Some(&base.into()))
            }
        }
    }

    fn fetch_set(
        &self,
        url: &Endpoint,
        issuer: Option<&Arc<str>>,
    ) -> Result<(Vec<Key>, Option<Duration>), FetchError> {
        let (json, max_age) = self.get(url.as_str())?;
        Ok((set::parse(&json, issuer)?, max_age))
    }

    fn get(&self, url: &str) -> Result<(Vec<u8>, Option<Duration>), FetchError> {
        let failed = |source| FetchError::Unreachable { url: url.into(), source: Box::new(source) };
        let mut response = self.agent.get(url).call().map_err(failed)?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(FetchError::Status { url: url.into(), status });
        }
        let cache = response.headers().get(CACHE_CONTROL).and_then(|value| value.to_str().ok());
        let max_age = cache.and_then(max_age);
        let body = response.body_mut().with_config().limit(MAX_BYTES).read_to_vec();
        Ok((body.map_err(failed)?, max_age))
    }
}

/// The lifetime in a `Cache-Control`; none may be kept with `no-store` and `no-cache`.
fn max_age(header: &str) -> Option<Duration> {
    let mut found = None;
    for directive in header.split(',') {
        let directive = directive.trim().to_ascii_lowercase();
        if directive == "no-store" || directive == "no-cache" {
            return Some(Duration::ZERO);
        }
        if let Some(seconds) = directive.strip_prefix("max-age=") {
            found = seconds.trim_matches('"').parse().ok().map(Duration::from_secs);
        }
    }
    found
}
