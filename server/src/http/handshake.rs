//! The WebSocket handshake of RFC 6455, section 4.2, as far as it is reading a request and writing an answer.
//!
//! Pure: no socket, no clock. Whether there is room for one more connection is the route's business.

use axum::http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use dormouse_protocol::{Encoding, SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK};
use sha1::{Digest as _, Sha1};

use super::compression::Compression;
use super::credentials::SUBPROTOCOL_TOKEN;
use super::headers::{only, tokens};
use crate::session::{BadToken, Session, Sessions};
use crate::socket::WireFormat;

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY_BYTES: usize = 16;
/// The server echoes every message of a connection with this subprotocol: for tests of frames and compression.
const SUBPROTOCOL_ECHO: &str = "dormouse.test.echo";
const RETRY_AFTER_SECONDS: &str = "5";

/// A handshake that is in order.
#[derive(Debug)]
pub(super) struct Handshake {
    accept: String,
    subprotocol: Option<&'static str>,
    compression: Option<Compression>,
    pub(super) format: WireFormat,
    pub(super) echoes: bool,
    pub(super) session: Result<Session, BadToken>,
    /// The client will send its token in a request `auth`.
    pub(super) promises_token: bool,
}

/// What clients may ask for besides messages of objects.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offers {
    pub(super) compression: bool,
    pub(super) echo: bool,
}

/// Why a request to connect is not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Method,
    NotWebSocket,
    Version,
    Key,
    Host,
    Body,
    Subprotocol,
    ForeignHost,
    Origin,
    Full,
    Memory,
    Draining,
    Rate,
    AddressConnections,
    UserConnections,
}

impl Handshake {
    pub(super) fn read(
        request: &Parts,
        offers: Offers,
        sessions: &Sessions,
    ) -> Result<Self, Refusal> {
        let headers = &request.headers;
        if request.method != Method::GET {
            return Err(Refusal::Method);
        }
        if request.version < Version::HTTP_11
            || !has_token(headers, &CONNECTION, "upgrade")
            || !has_token(headers, &UPGRADE, "websocket")
        {
            return Err(Refusal::NotWebSocket);
        }
        if only(headers, &SEC_WEBSOCKET_VERSION) != Some("13") {
            return Err(Refusal::Version);
        }
        let key =
            only(headers, &SEC_WEBSOCKET_KEY).filter(|key| is_key(key)).ok_or(Refusal::Key)?;
        if only(headers, &HOST).is_none() && request.uri.authority().is_none() {
            return Err(Refusal::Host);
        }
        // A proxy in HTTP server could take what follows for a body, and we for frames.
        if headers.contains_key(TRANSFER_ENCODING) || has_content(headers) {
            return Err(Refusal::Body);
        }
        let query = request.uri.query().unwrap_or_default();
        let subprotocol = subprotocol(headers, offers.echo)?;
        let extensions = offers.compression.then(|| tokens(headers, &SEC_WEBSOCKET_EXTENSIONS));
        let compression = extensions.and_then(|mut offers| offers.find_map(Compression::accept));
        let encoding = subprotocol.and_then(Encoding::from_subprotocol).unwrap_or(Encoding::Json);
        Ok(Self {
            accept: accept(key),
            subprotocol,
            format: WireFormat { encoding, deflated: compression.is_some() },
            compression,
            echoes: subprotocol == Some(SUBPROTOCOL_ECHO),
            session: session(query, sessions),
            promises_token: query.split('&').any(|pair| pair == "auth=message"),
        })
    }
}

impl IntoResponse for &Handshake {
    fn into_response(self) -> Response {
        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        let accept = HeaderValue::from_str(&self.accept).expect("base64 is a valid header");
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        if let Some(name) = self.subprotocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
        }
        if let Some(compression) = self.compression {
            headers.insert(SEC_WEBSOCKET_EXTENSIONS, compression.answer());
        }
        response
    }
}

impl Refusal {
    pub(super) const ALL: [Self; 15] = [
        Self::Method,
        Self::NotWebSocket,
        Self::Version,
        Self::Key,
        Self::Host,
        Self::Body,
        Self::Subprotocol,
        Self::ForeignHost,
        Self::Origin,
        Self::Full,
        Self::Memory,
        Self::Draining,
        Self::Rate,
        Self::AddressConnections,
        Self::UserConnections,
    ];

    /// The label of the metric.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::NotWebSocket => "not_websocket",
            Self::Version => "version",
            Self::Key => "key",
            Self::Host => "host",
            Self::Body => "body",
            Self::Subprotocol => "subprotocol",
            Self::ForeignHost => "foreign_host",
            Self::Origin => "origin",
            Self::Full => "connections",
            Self::Memory => "memory",
            Self::Draining => "draining",
            Self::Rate => "rate",
            Self::AddressConnections => "connections_by_address",
            Self::UserConnections => "connections_by_user",
        }
    }

    /// Whether the client has reached a limit of its own.
    pub(super) fn is_limit(self) -> bool {
        self.status() == StatusCode::TOO_MANY_REQUESTS
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Method => "connect with GET\n",
            Self::NotWebSocket => {
                "this is a WebSocket endpoint: connect with a WebSocket client, \
                 for example `websocat ws://HOST/v1/connect`\n"
            }
            Self::Version => "Sec-WebSocket-Version must be 13\n",
            Self::Key => "Sec-WebSocket-Key must be 16 bytes in base64\n",
            Self::Host => "the Host header is missing\n",
            Self::Body => {
                "a handshake has no body: leave out Content-Length and Transfer-Encoding\n"
            }
            Self::ForeignHost => {
                "this server does not answer to the name in Host: add the name to allowed_hosts\n"
            }
            Self::Subprotocol => {
                "none of the subprotocols is known: offer dormouse.v1.msgpack, dormouse.v1.json, or none\n"
            }
            Self::Origin => "pages of this origin may not connect: name it in allowed_origins\n",
            Self::Full => "limits.connections is reached: try again later\n",
            Self::Memory => "the server is short of memory: try again later\n",
            Self::Draining => "the server is stopping: try again later\n",
            Self::Rate => "the rate limit of this address is reached: try again later\n",
            Self::AddressConnections => {
                "limits.connections_by_address is reached: close a connection, or try again later\n"
            }
            Self::UserConnections => {
                "limits.connections_by_user is reached: close a connection, or try again later\n"
            }
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotWebSocket | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Key | Self::Host | Self::Body | Self::Subprotocol => StatusCode::BAD_REQUEST,
            Self::ForeignHost | Self::Origin => StatusCode::FORBIDDEN,
            Self::Full | Self::Memory | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
            Self::Rate | Self::AddressConnections | Self::UserConnections => {
                StatusCode::TOO_MANY_REQUESTS
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, self.text()).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UPGRADE_REQUIRED {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        response
    }
}

fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

fn has_content(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_LENGTH).iter().any(|length| length.as_bytes() != b"0")
}

fn is_key(key: &str) -> bool {
    BASE64_STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES)
}

fn accept(key: &str) -> String {
    BASE64_STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// The first that the client offers and the server knows; `None` where it offers none at all.
fn subprotocol(headers: &HeaderMap, echo: bool) -> Result<Option<&'static str>, Refusal> {
    let known = [SUBPROTOCOL_MSGPACK, SUBPROTOCOL_JSON, SUBPROTOCOL_ECHO];
    let known = &known[..if echo { 3 } else { 2 }];
    let chosen = tokens(headers, &SEC_WEBSOCKET_PROTOCOL)
        .find_map(|offered| known.iter().find(|name| **name == offered).copied());
    let mut offered = tokens(headers, &SEC_WEBSOCKET_PROTOCOL).peekable();
    let is_token_only =
        offered.peek().is_some() && offered.all(|offered| offered.starts_with(SUBPROTOCOL_TOKEN));
    if chosen.is_none() && headers.contains_key(SEC_WEBSOCKET_PROTOCOL) && !is_token_only {
        return Err(Refusal::Subprotocol);
    }
    Ok(chosen)
}

/// The session that a query names, or a new one. The characters of a token need no escape in a URL, so escaped text is not a token.
pub(super) fn session(query: &str, sessions: &Sessions) -> Result<Session, BadToken> {
    match query.split('&').find_map(|pair| pair.strip_prefix("session=")) {
        Some(token) => sessions.accept(token),
        None => Ok(sessions.issue()),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn request(change: impl FnOnce(&mut Parts)) -> Parts {
        let request = Request::get("/v1/connect")
            .header(HOST, "localhost")
            .header(CONNECTION, "keep-alive, Upgrade")
            .header(UPGRADE, "WebSocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==");
        let mut parts = request.body(()).unwrap().into_parts().0;
        change(&mut parts);
        parts
    }

    fn read(request: &Parts) -> Result<Handshake, Refusal> {
        Handshake::read(request, Offers { compression: false, echo: false }, &sessions())
    }

    fn sessions() -> Sessions {
        Sessions::new(&[7; 32])
    }

    fn with(name: HeaderName, value: &'static str) -> Parts {
        request(|parts| {
            parts.headers.insert(name, HeaderValue::from_static(value));
        })
    }

    #[test]
    fn the_example_of_the_rfc_is_answered_as_there() {
        let handshake = read(&request(|_| {})).unwrap();
        assert_eq!(handshake.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let response = (&handshake).into_response();
        assert_eq!(response.status(), 101);
        assert!(!response.headers().contains_key(SEC_WEBSOCKET_PROTOCOL));
    }

    #[test]
    fn each_fault_has_its_refusal() {
        let refusal = |parts| read(&parts).unwrap_err();
        assert_eq!(refusal(request(|parts| parts.method = Method::HEAD)), Refusal::Method);
        assert_eq!(
            refusal(request(|parts| parts.version = Version::HTTP_10)),
            Refusal::NotWebSocket
        );
        assert_eq!(refusal(with(UPGRADE, "h2c")), Refusal::NotWebSocket);
        assert_eq!(refusal(with(CONNECTION, "upgraded")), Refusal::NotWebSocket);
        assert_eq!(refusal(with(SEC_WEBSOCKET_VERSION, "8")), Refusal::Version);
        assert_eq!(refusal(with(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZ")), Refusal::Key);
        assert_eq!(refusal(with(SEC_WEBSOCKET_KEY, "c2hvcnQ=")), Refusal::Key);
        assert_eq!(
            refusal(with(SEC_WEBSOCKET_PROTOCOL, "chat, dormouse.v2")),
            Refusal::Subprotocol
        );
        let without = |name| {
            request(|parts| {
                parts.headers.remove(name);
            })
        };
        assert_eq!(refusal(without(HOST)), Refusal::Host);
        assert_eq!(refusal(without(SEC_WEBSOCKET_VERSION)), Refusal::Version);
        assert_eq!(refusal(without(SEC_WEBSOCKET_KEY)), Refusal::Key);
        assert_eq!(refusal(with(CONTENT_LENGTH, "5")), Refusal::Body);
        assert_eq!(refusal(with(TRANSFER_ENCODING, "chunked")), Refusal::Body);
        assert!(read(&with(CONTENT_LENGTH, "0")).is_ok());
        let twice = request(|parts| {
            let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
            parts.headers.append(SEC_WEBSOCKET_KEY, key);
        });
        assert_eq!(refusal(twice), Refusal::Key);
    }

    #[test]
    fn the_first_known_subprotocol_of_the_client_is_taken() {
        for (offered, encoding) in [
            ("dormouse.v1.msgpack, dormouse.v1.json", Encoding::Msgpack),
            ("chat,dormouse.v1.json,dormouse.v1.msgpack", Encoding::Json),
        ] {
            let handshake = read(&with(SEC_WEBSOCKET_PROTOCOL, offered)).unwrap();
            assert_eq!(handshake.format.encoding, encoding);
            let named = handshake.subprotocol.and_then(Encoding::from_subprotocol);
            assert_eq!(named, Some(encoding));
        }
        assert_eq!(read(&request(|_| {})).unwrap().format.encoding, Encoding::Json);
    }

    #[test]
    fn a_session_is_new_continued_or_bad() {
        let session = |query: &str| session(query, &sessions());
        let token = sessions().issue().token;
        assert_eq!(&*session(&format!("a=b&session={token}")).unwrap().token, &*token);
        assert_ne!(session("a=b").unwrap().token, token);
        assert_eq!(session("session="), Err(BadToken));
        assert_eq!(session("session=%41"), Err(BadToken));
    }

    #[test]
    fn the_first_offer_of_compression_that_can_be_kept_is_accepted() {
        let offers = "permessage-bzip2, permessage-deflate; server_max_window_bits=8, \
                      permessage-deflate; server_max_window_bits=15, permessage-deflate";
        let request = with(SEC_WEBSOCKET_EXTENSIONS, offers);
        let handshake =
            Handshake::read(&request, Offers { compression: true, echo: false }, &sessions())
                .unwrap();
        assert!(handshake.format.deflated);
        let answer = (&handshake).into_response().headers()[SEC_WEBSOCKET_EXTENSIONS].clone();
        assert!(answer.to_str().unwrap().ends_with("; server_max_window_bits=12"), "{answer:?}");
        let handshake = read(&request).unwrap();
        assert!(!handshake.format.deflated, "it is off");
        assert!(!(&handshake).into_response().headers().contains_key(SEC_WEBSOCKET_EXTENSIONS));
    }

    #[test]
    fn the_echo_is_there_only_where_tests_may_be_made() {
        let request = with(SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL_ECHO);
        assert_eq!(read(&request).unwrap_err(), Refusal::Subprotocol);
        let offers = Offers { compression: false, echo: true };
        assert!(Handshake::read(&request, offers, &sessions()).unwrap().echoes);
        assert!(!Handshake::read(&with(HOST, "test"), offers, &sessions()).unwrap().echoes);
    }
}
