//! Routes for operators that list, add and lift revocations. The answer to an added one comes when it is on disk and the connections with
//! such a token are closed.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::problem::Problem;
use super::shared::Shared;
use crate::auth::{Revocation, RevokeError};

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/revocations", get(list).post(revoke))
        .route("/v1/revocations/lift", post(lift))
}

#[derive(Serialize)]
struct All {
    revocations: Vec<Revocation>,
}

#[derive(Serialize)]
struct Revoked {
    /// The number of closed connections; null if a reactor did not answer in time. It closes its connections later.
    closed: Option<usize>,
}

#[derive(Serialize)]
struct Lifted {
    lifted: bool,
}

async fn list(State(shared): State<Arc<Shared>>) -> Json<All> {
    Json(All { revocations: shared.inside.auth.revocations() })
}

async fn revoke(
    State(shared): State<Arc<Shared>>,
    asked: Result<Json<Revocation>, JsonRejection>,
) -> Result<Json<Revoked>, Problem> {
    let Json(revocation) = asked?;
    let auth = shared.inside.auth.clone();
    on_disk(move || auth.revoke(revocation)).await?;
    Ok(Json(Revoked { closed: shared.inside.reactors.close_revoked().await }))
}

async fn lift(
    State(shared): State<Arc<Shared>>,
    asked: Result<Json<Revocation>, JsonRejection>,
) -> Result<Json<Lifted>, Problem> {
    let Json(revocation) = asked?;
    let auth = shared.inside.auth.clone();
    let lifted = on_disk(move || auth.lift(&revocation)).await?;
    Ok(Json(Lifted { lifted }))
}

async fn on_disk<T: Send + 'static>(
    change: impl FnOnce() -> Result<T, RevokeError> + Send + 'static,
) -> Result<T, Problem> {
    let changed = spawn_blocking(change).await;
    let changed = changed.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    changed.map_err(|error| match error {
        RevokeError::Invalid => Problem::bad(error.to_string()),
        RevokeError::Full => Problem::conflict(error.to_string()),
        RevokeError::Io(source) => {
            tracing::error!(error = %source, "revocations can't be written");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, RevokeError::Io(source).to_string())
        }
    })
}
