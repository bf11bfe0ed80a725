//! The table of routes, and the short ones themselves.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, MatchedPath, Request, State};
use axum::http::header::{CONNECTION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::connection::{Pending, Upgrade};
use super::controls;
use super::gate::{self, Gate};
use super::handshake::{Handshake, Offers, Refusal};
use super::health::Health;
use super::host::Hosts;
use super::log_throttle::LogThrottle;
use super::metrics::Counts;
use super::origin::Origins;
use super::{Inside, objects, page};
use crate::limits::Level;
use crate::metrics::Metrics;
use crate::socket::{ConnectionPermit, ConnectionPermits, NoConnectionPermit};

/// What the routes use.
pub(super) struct Shared {
    pub(super) slots: ConnectionPermits,
    pub(super) hosts: Hosts,
    pub(super) origins: Origins,
    pub(super) health: Health,
    pub(super) inside: Inside,
    pub(super) test_controls: bool,
    pub(super) offers: Offers,
    pub(super) counts: Counts,
    /// All places of connections are taken.
    pub(super) full: LogThrottle,
    pub(super) metrics: Metrics,
}

impl Shared {
    /// Grants a request to connect, or says why not.
    pub(super) fn grant(&self, request: &Parts) -> Result<(Handshake, ConnectionPermit), Refusal> {
        let handshake = Handshake::read(request, self.offers, &self.inside.sessions)?;
        if !self.hosts.admit(request) {
            return Err(Refusal::ForeignHost);
        }
        if !self.origins.admit(&request.headers) {
            return Err(Refusal::Origin);
        }
        if self.health.is_draining() {
            return Err(Refusal::Draining);
        }
        if self.inside.pressure.is(Level::NoConnections) {
            return Err(Refusal::Memory);
        }
        let slot = self.slots.take().map_err(|why| match why {
            NoConnectionPermit::Full => Refusal::Full,
            NoConnectionPermit::Memory => Refusal::Memory,
        })?;
        Ok((handshake, slot))
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

/// Where clients connect.
pub(super) const CONNECT: &str = "/v1/connect";

pub(super) fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route(CONNECT, get(connect))
        .merge(guarded(Router::new().route("/metrics", get(metrics))))
        .merge(guarded(objects::routes()))
        .merge(controls::routes(&shared))
        .merge(page::routes())
        .layer(from_fn_with_state(Arc::clone(&shared), check_host))
        // Probes may use any name, and learn nothing but the health.
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(ready))
        .fallback(unknown)
        .layer(from_fn_with_state(Arc::clone(&shared), complete))
        .with_state(shared)
}

/// What is much work to answer: one way for all of it.
fn guarded(routes: Router<Arc<Shared>>) -> Router<Arc<Shared>> {
    routes.route_layer(from_fn_with_state(Gate::new(), gate::pass))
}

async fn connect(
    State(shared): State<Arc<Shared>>,
    Extension(pending): Extension<Pending>,
    request: Request,
) -> Response {
    match shared.grant(&request.into_parts().0) {
        Ok((handshake, slot)) => {
            let response = (&handshake).into_response();
            pending.put(Upgrade::new(handshake, slot));
            response
        }
        Err(refusal) => {
            shared.counts.refused(refusal);
            if refusal == Refusal::Full && shared.full.is_due() {
                tracing::warn!("limits.connections is reached: connections are refused");
            }
            refusal.into_response()
        }
    }
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    match shared.health.not_ready() {
        None => "ready\n".into_response(),
        Some(reason) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", reason.reason())).into_response()
        }
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    shared.inside.reactors.survey().await;
    shared.metrics.count_tasks();
    match shared.metrics.gather() {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics can't be printed");
            (StatusCode::INTERNAL_SERVER_ERROR, "the metrics can't be printed\n").into_response()
        }
    }
}

/// Refuses requests that are addressed to another server: see [`Hosts`].
async fn check_host(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    // A handshake is refused by its own route, which counts that.
    if parts.uri.path() != CONNECT && !shared.hosts.admit(&parts) {
        return Refusal::ForeignHost.into_response();
    }
    next.run(Request::from_parts(parts, body)).await
}

async fn unknown() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "nothing is here; clients connect a WebSocket to /v1/connect\n")
}

/// Counts the answer and makes it the last of its connection. hyper's own switch for that would take the `Upgrade`
/// out of a handshake's `Connection` header.
async fn complete(
    State(shared): State<Arc<Shared>>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().append(CONNECTION, HeaderValue::from_static("close"));
    }
    let route = path.as_ref().map_or("unknown", MatchedPath::as_str);
    shared.count(route, response.status());
    response
}
