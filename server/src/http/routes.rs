//! The table of routes, and the short ones themselves.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, MatchedPath, Request, State};
use axum::http::header::{CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::controls;
use super::gate::{self, Gate};
use super::handshake::Refusal;
use super::peer::Peer;
use super::problem::Problem;
use super::shared::{CONNECT, Shared};
use super::upgrade::{Asked, Pending};
use super::{api_keys, objects, page, revocations};

/// What clients and browsers may ask.
pub(super) fn public(shared: &Arc<Shared>) -> Router {
    let counted = from_fn_with_state(Arc::clone(shared), check_rate);
    finish(clients().fallback(unknown).layer(counted), Router::new(), shared)
}

/// The same, and what only operators may ask.
pub(super) fn internal(shared: &Arc<Shared>) -> Router {
    finish(clients().merge(operators(shared)).fallback(unknown), probes(), shared)
}

/// What only operators may ask, over a Unix socket.
pub(super) fn internal_unix(shared: &Arc<Shared>) -> Router {
    finish(operators(shared).fallback(unknown), probes(), shared)
}

fn clients() -> Router<Arc<Shared>> {
    Router::new().route(CONNECT, get(connect)).merge(page::routes())
}

fn probes() -> Router<Arc<Shared>> {
    Router::new().route("/health/ready", get(ready))
}

fn operators(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    Router::new()
        .merge(guarded(Router::new().route("/metrics", get(metrics))))
        .merge(guarded(objects::routes()))
        .merge(guarded_from_pages(revocations::routes(), shared))
        .merge(guarded_from_pages(api_keys::routes(), shared))
        .merge(guarded_from_pages(controls::routes(shared), shared))
}

/// Adds what holds for every answer.
fn finish(
    routes: Router<Arc<Shared>>,
    probes: Router<Arc<Shared>>,
    shared: &Arc<Shared>,
) -> Router {
    routes
        .layer(from_fn_with_state(Arc::clone(shared), check_host))
        // Probes may use any name, and learn nothing but the health.
        .merge(probes.route("/health/live", get(|| async { "live\n" })))
        .layer(from_fn_with_state(Arc::clone(shared), complete))
        .with_state(Arc::clone(shared))
}

/// What is much work to answer: one way for all of it.
fn guarded(routes: Router<Arc<Shared>>) -> Router<Arc<Shared>> {
    routes.route_layer(from_fn_with_state(Gate::new(), gate::pass))
}

/// For routes that change something: a web page that an operator visits must not be able to call them.
fn guarded_from_pages(routes: Router<Arc<Shared>>, shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    routes.route_layer(from_fn_with_state(Arc::clone(shared), check_origin))
}

async fn check_origin(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if !shared.origins.admit(request.headers()) {
        let why = "pages of this origin may not ask for this: name it in allowed_origins";
        return Err(Problem::new(StatusCode::FORBIDDEN, why));
    }
    Ok(next.run(request).await)
}

async fn connect(
    State(shared): State<Arc<Shared>>,
    Extension(pending): Extension<Pending>,
    Extension(mut peer): Extension<Peer>,
    request: Request,
) -> Response {
    match shared.grant(&request.into_parts().0, &mut peer) {
        Ok(upgrade) => {
            let response = (&upgrade.handshake).into_response();
            pending.put(Asked::Upgrade(upgrade));
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

/// Refuses requests of an address that connects too often.
async fn check_rate(
    State(shared): State<Arc<Shared>>,
    Extension(mut peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    // A handshake is counted by its own route.
    let is_handshake = request.uri().path() == CONNECT && request.method() == Method::GET;
    if !is_handshake && shared.count_connect(request.headers(), &mut peer).is_err() {
        return Refusal::Rate.into_response();
    }
    request.extensions_mut().insert(peer);
    next.run(request).await
}

/// Refuses requests that are addressed to another server: see [`Hosts`](super::host::Hosts).
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
