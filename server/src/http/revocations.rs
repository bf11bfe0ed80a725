//! Routes for operators that list, add and lift revocations. The answer to an added one comes when it is on disk and the connections with
//! such a token are closed.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;

use super::problem::{Problem, on_disk};
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

impl From<RevokeError> for Problem {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::Invalid => Self::bad(error.to_string()),
            RevokeError::Full => Self::conflict(error.to_string()),
            RevokeError::Io(source) => {
                tracing::error!(error = %source, "revocations can't be written");
                Self::unavailable(RevokeError::Io(source).to_string())
            }
        }
    }
}
