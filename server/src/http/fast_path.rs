//! The short way in: a handshake that arrives whole, as nearly all do, needs none of the machinery of HTTP.
//!
//! It is looked at where it lies in the socket, as soon as that is accepted. What is not granted here at first sight is left
//! there for the long way (`connection.rs`), which refuses it with the right words, waits for the rest of it, or serves
//! something else. The answer is not sent from here: the reactor writes it together with the first message.

use std::io::Read as _;
use std::net::TcpStream;

use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use httparse::Status;

use super::handshake::Refusal;
use super::peer::Peer;
use super::shared::{CONNECT, Shared};
use super::upgrade::Upgrade;

/// The longest handshake that is taken at first sight; browsers send some 600 bytes.
const HEAD_BYTES: usize = 4 << 10;
/// The most headers that it may have.
const HEADERS: usize = 48;

/// A granted handshake.
pub(super) struct Granted {
    pub(super) upgrade: Upgrade,
    /// What the client is to be answered before anything else.
    pub(super) answer: Bytes,
}

/// Grants the handshake that lies in a non-blocking socket, or refuses it. `None` if the socket holds no
/// complete handshake. Reads no byte from the socket unless it grants the handshake.
pub(super) fn take(
    mut stream: &TcpStream,
    peer: &mut Peer,
    shared: &Shared,
) -> Option<Result<Granted, Refusal>> {
    let mut buffer = [0; HEAD_BYTES];
    let seen = stream.peek(&mut buffer).ok()?;
    let (granted, len) = match grant(&buffer[..seen], peer, shared)? {
        Ok(granted) => granted,
        Err(refusal) => return Some(Err(refusal)),
    };
    // These bytes are in the socket, and no other thread reads from it.
    stream.read_exact(&mut buffer[..len]).ok()?;
    Some(Ok(granted))
}

fn grant(
    bytes: &[u8],
    peer: &mut Peer,
    shared: &Shared,
) -> Option<Result<(Granted, usize), Refusal>> {
    let (request, len) = parse(bytes)?;
    let upgrade = match shared.grant(&request, peer) {
        Ok(upgrade) => upgrade,
        Err(refusal) => return Some(Err(refusal)),
    };
    shared.count(CONNECT, axum::http::StatusCode::SWITCHING_PROTOCOLS);
    let answer = write(&(&upgrade.handshake).into_response());
    Some(Ok((Granted { upgrade, answer }, len)))
}

/// A request to connect that is there to its last byte, and that length.
pub(super) fn parse(bytes: &[u8]) -> Option<(Parts, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(Status::Complete(len)) = request.parse(bytes) else { return None };
    let target = request.path.filter(|target| target.split('?').next() == Some(CONNECT))?;
    if request.method != Some(Method::GET.as_str()) || request.version != Some(1) {
        return None;
    }
    let mut parts = Request::get(target).body(()).ok()?.into_parts().0;
    for header in request.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        if matches!(
            name,
            axum::http::header::CONTENT_LENGTH | axum::http::header::TRANSFER_ENCODING
        ) {
            return None;
        }
        parts.headers.append(name, HeaderValue::from_bytes(header.value).ok()?);
    }
    Some((parts, len))
}

pub(super) fn write(response: &Response) -> Bytes {
    let status = response.status();
    let mut out = Vec::with_capacity(192);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    for (name, value) in response.headers() {
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(b"\r\n\r\n");
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str =
        "GET /v1/connect?session=x HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n";

    #[test]
    fn a_whole_request_to_connect_is_taken_up_to_its_end() {
        let (parts, len) = parse(format!("{WHOLE}frames").as_bytes()).unwrap();
        assert_eq!(len, WHOLE.len());
        assert_eq!(parts.uri.query(), Some("session=x"));
        assert_eq!(parts.headers["upgrade"], "websocket");
    }

    #[test]
    fn anything_else_is_left_to_the_long_way() {
        for end in 0..WHOLE.len() {
            assert!(parse(&WHOLE.as_bytes()[..end]).is_none(), "{end}");
        }
        for (from, to) in [
            ("GET", "POST"),
            ("/v1/connect?", "/v1/connects?"),
            ("/v1/connect?", "/metrics?"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("Host: localhost", "Content-Length: 1"),
            ("Host: localhost", "Transfer-Encoding: chunked"),
            ("Host: localhost", "Host: lo\u{1}st"),
        ] {
            assert!(parse(WHOLE.replace(from, to).as_bytes()).is_none(), "{to}");
        }
    }

    #[test]
    fn an_answer_is_written_as_http() {
        let mut response = axum::http::StatusCode::SWITCHING_PROTOCOLS.into_response();
        response.headers_mut().insert("upgrade", HeaderValue::from_static("websocket"));
        assert_eq!(
            write(&response),
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n"
        );
    }
}
