//! Refusals of requests about objects: a status, and why, as JSON.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dormouse_protocol::ObjectName;
use serde::Serialize;
use tokio::task::spawn_blocking;

use crate::log::ReadError;

/// Makes a change that writes to the disk.
pub(super) async fn on_disk<T, E>(
    change: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Problem>
where
    T: Send + 'static,
    E: Into<Problem> + Send + 'static,
{
    let changed = spawn_blocking(change).await;
    let changed = changed.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    changed.map_err(Into::into)
}

/// Why a request is not served.
#[derive(Debug)]
pub(super) struct Problem(StatusCode, String);

#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
}

impl Problem {
    pub(super) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self(status, why.into())
    }

    pub(super) fn unknown(name: &ObjectName) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no object {name}"))
    }

    pub(super) fn bad(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }

    pub(super) fn unavailable(why: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, why)
    }

    pub(super) fn conflict(why: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, why)
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::bad(rejection.body_text())
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        tracing::error!(%error, "an object can't be looked at");
        Self::unavailable("the log can't be read at present")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.0, Json(Body { error: &self.1 })).into_response()
    }
}
