//! Ways to rehearse failures: objects that are made to sleep or to crash, a log that is made slow. Off unless
//! `test_controls` is set.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::objects::{NamePath, find, name};
use super::problem::Problem;
use super::shared::Shared;
use crate::object::{self, SleepAnswer};

/// The longest wait before a commit, in milliseconds.
const MAX_DELAY_MS: u64 = 10_000;

pub(super) fn routes(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/objects/{class}/{name}/sleep", post(sleep))
        .route("/v1/objects/{class}/{name}/crash", post(crash))
        .route("/v1/log/delay", post(delay))
        .route_layer(from_fn_with_state(Arc::clone(shared), admit))
}

/// The object's state when it was asked.
#[derive(Serialize)]
struct Done {
    state: &'static str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Delay {
    ms: u64,
}

#[derive(Serialize)]
struct Delayed {
    delay_ms: u64,
}

async fn admit(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if !shared.test_controls {
        let why = "the controls for tests are off: test_controls = true turns them on";
        return Err(Problem::new(StatusCode::NOT_FOUND, why));
    }
    Ok(next.run(request).await)
}

/// Asks an object to sleep as soon as it has nothing to do.
async fn sleep(
    State(shared): State<Arc<Shared>>,
    path: NamePath,
) -> Result<(StatusCode, Json<Done>), Problem> {
    let name = name(path)?;
    let handle = match find(&shared.inside, &name).await? {
        (Some(handle), _) => handle,
        (None, Some(_)) => return Ok(done(StatusCode::OK, object::State::Asleep)),
        (None, None) => return Err(Problem::unknown(&name)),
    };
    match handle.sleep() {
        SleepAnswer::Asleep => Ok(done(StatusCode::OK, object::State::Asleep)),
        SleepAnswer::Asked => Ok(done(StatusCode::ACCEPTED, handle.state())),
        SleepAnswer::Refused => {
            Err(Problem::conflict(format!("{name} does not sleep: objects.pinned names it")))
        }
    }
}

/// Makes the instance of an object panic.
async fn crash(
    State(shared): State<Arc<Shared>>,
    path: NamePath,
) -> Result<(StatusCode, Json<Done>), Problem> {
    let name = name(path)?;
    match find(&shared.inside, &name).await? {
        (Some(handle), _) if handle.crash() => {
            return Ok(done(StatusCode::ACCEPTED, handle.state()));
        }
        (None, None) => return Err(Problem::unknown(&name)),
        _ => {}
    }
    Err(Problem::conflict(format!("{name} has no instance that could crash: it is not awake")))
}

async fn delay(
    State(shared): State<Arc<Shared>>,
    asked: Result<Query<Delay>, QueryRejection>,
) -> Result<Json<Delayed>, Problem> {
    let Query(Delay { ms }) = asked.map_err(|rejection| Problem::bad(rejection.body_text()))?;
    if ms > MAX_DELAY_MS {
        return Err(Problem::bad(format!("ms must be at most {MAX_DELAY_MS}")));
    }
    shared.inside.log.delay_commits(Duration::from_millis(ms));
    Ok(Json(Delayed { delay_ms: ms }))
}

fn done(status: StatusCode, state: object::State) -> (StatusCode, Json<Done>) {
    (status, Json(Done { state: state.as_str() }))
}
