//! The built-in page: a few files inside the program, served as they are.

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use sha2::{Digest as _, Sha256};

/// Only content of this server runs, loads or is connected to, and no page may frame it.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

#[derive(Clone, Copy)]
struct File {
    path: &'static str,
    media_type: &'static str,
    content: &'static str,
}

const FILES: [File; 8] = [
    File { path: "/", media_type: HTML, content: include_str!("page/index.html") },
    File { path: "/page.css", media_type: CSS, content: include_str!("page/page.css") },
    File { path: "/page.js", media_type: JS, content: include_str!("page/page.js") },
    File { path: "/look.js", media_type: JS, content: include_str!("page/look.js") },
    File { path: "/people.js", media_type: JS, content: include_str!("page/people.js") },
    File { path: "/rest.js", media_type: JS, content: include_str!("page/rest.js") },
    File { path: "/favicon.svg", media_type: SVG, content: include_str!("page/favicon.svg") },
    File { path: "/dormouse.js", media_type: JS, content: include_str!("page/dormouse.js") },
];

pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.into_iter().fold(Router::new(), |router, file| {
        let tag = tag(file.content);
        router.route(
            file.path,
            get(move |headers: HeaderMap| async move { file.answer(&tag, &headers) }),
        )
    })
}

impl File {
    /// A browser asks each time whether its copy is still the one of the running version.
    fn answer(self, tag: &str, asked: &HeaderMap) -> Response {
        let headers: [(HeaderName, &str); 6] = [
            (CONTENT_TYPE, self.media_type),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
            (CACHE_CONTROL, "no-cache"),
            (ETAG, tag),
        ];
        let current =
            asked.get_all(IF_NONE_MATCH).iter().any(|copy| copy.as_bytes() == tag.as_bytes());
        if current {
            return (
                StatusCode::NOT_MODIFIED,
                headers.map(|(name, value)| (name, value.to_owned())),
            )
                .into_response();
        }
        (headers.map(|(name, value)| (name, value.to_owned())), self.content).into_response()
    }
}

fn tag(content: &str) -> String {
    format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(content)[..12]))
}
