//! Routes for operators that list, make and revoke API keys.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::problem::{Problem, on_disk};
use super::shared::Shared;
use crate::auth::{ApiKeyError, ApiKeyInfo, Grant};

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/api-keys", get(list).post(create))
        .route("/v1/api-keys/revoke", post(revoke))
}

#[derive(Serialize)]
struct All {
    api_keys: Vec<ApiKeyInfo>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    name: String,
    grants: Vec<Grant>,
}

#[derive(Serialize)]
struct Created {
    /// The key. The server cannot show it again.
    key: String,
    /// Whether the server has access control now. A server that started without any key has it only after its next start.
    counts: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
}

#[derive(Serialize)]
struct Revoked {
    /// Whether there was such a key.
    revoked: bool,
    /// The number of closed connections; null if a reactor did not answer in time. It closes its connections later.
    closed: Option<usize>,
}

async fn list(State(shared): State<Arc<Shared>>) -> Json<All> {
    Json(All { api_keys: shared.inside.auth.api_keys() })
}

async fn create(
    State(shared): State<Arc<Shared>>,
    asked: Result<Json<Wanted>, JsonRejection>,
) -> Result<Json<Created>, Problem> {
    let Json(Wanted { name, grants }) = asked?;
    let (auth, now) = (shared.inside.auth.clone(), shared.inside.registry.now_ms() / 1000);
    let counts = !auth.is_open();
    let key = on_disk(move || auth.create_api_key(&name, grants, now)).await?;
    Ok(Json(Created { key, counts }))
}

async fn revoke(
    State(shared): State<Arc<Shared>>,
    asked: Result<Json<Named>, JsonRejection>,
) -> Result<Json<Revoked>, Problem> {
    let Json(Named { name }) = asked?;
    let auth = shared.inside.auth.clone();
    let revoked = on_disk(move || auth.revoke_api_key(&name)).await?;
    let closed = if revoked { shared.inside.reactors.close_revoked().await } else { Some(0) };
    Ok(Json(Revoked { revoked, closed }))
}

impl From<ApiKeyError> for Problem {
    fn from(error: ApiKeyError) -> Self {
        match error {
            ApiKeyError::Name | ApiKeyError::Grants => Self::bad(error.to_string()),
            ApiKeyError::Taken | ApiKeyError::Full => Self::conflict(error.to_string()),
            ApiKeyError::Io(source) => {
                tracing::error!(error = %source, "API keys can't be written");
                Self::unavailable(ApiKeyError::Io(source).to_string())
            }
        }
    }
}
