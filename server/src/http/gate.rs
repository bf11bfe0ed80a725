//! Questions that make the server look at everything it has: one at a time, and after each a rest. So however many ask, they get a
//! quarter of one core, and the reactors are asked little.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::problem::Problem;

/// Requests that may wait; one more is refused with HTTP 503.
const LINE: usize = 32;
/// A rest lasts so many times as long as the answer took.
const REST: u32 = 3;
/// And no longer than this.
const MAX_REST: Duration = Duration::from_secs(1);

/// The way to answers of one kind. Clones are the same way.
#[derive(Clone)]
pub(super) struct Gate(Arc<Inner>);

struct Inner {
    turn: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// A waiting request.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Gate {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner { turn: Arc::new(Semaphore::new(1)), waiting: AtomicUsize::new(0) }))
    }
}

/// Lets a request pass when it is its turn.
pub(super) async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let waiting = Waiting(&gate.0.waiting);
    if waiting.0.fetch_add(1, Relaxed) >= LINE {
        return refuse();
    }
    let Ok(turn) = Arc::clone(&gate.0.turn).acquire_owned().await else { return refuse() };
    drop(waiting);
    let since = Instant::now();
    let response = next.run(request).await;
    let rest = (since.elapsed() * REST).min(MAX_REST);
    tokio::spawn(async move {
        sleep(rest).await;
        drop(turn);
    });
    response
}

fn refuse() -> Response {
    let why = "too many ask for this at the same time: try again later";
    let mut response = Problem::new(StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
