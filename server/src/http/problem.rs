//! Refusals of requests about objects: a status, and why, as JSON.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dormouse_protocol::ObjectName;
use serde::Serialize;

use crate::log::ReadError;

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
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the log can't be read at present")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.0, Json(Body { error: &self.1 })).into_response()
    }
}
