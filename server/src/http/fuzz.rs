//! What holds for any bytes that somebody sends to the HTTP port: the fuzz targets `handshake`, `proxy_header` and `query`.

use std::cell::Cell;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use axum::extract::Query;
use axum::http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL};
use axum::http::request::Parts;
use axum::http::{Response, Uri};
use axum::response::IntoResponse as _;
use dormouse_protocol::ObjectName;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::handshake::{Handshake, Offers};
use super::origin::Origins;
use super::{connection, controls, fast_path, objects};
use crate::session::{SessionId, Sessions};

/// Bytes on a new connection: what the short way takes, hyper takes for the same request, and a handshake that is granted is
/// answered as tungstenite would.
pub fn handshake(bytes: &[u8]) {
    let long = by_hyper(bytes);
    if let Some((short, len)) = fast_path::parse(bytes) {
        assert!(fast_path::parse(&bytes[..len - 1]).is_none(), "the head ends at its end");
        let (whole, _) = fast_path::parse(&bytes[..len]).expect("what follows is not looked at");
        let long = long.as_ref().expect("hyper takes it too");
        for request in [&whole, long] {
            assert_eq!(request.method, short.method);
            assert_eq!(request.uri, short.uri);
            assert_eq!(request.version, short.version);
            assert_eq!(request.headers, short.headers);
        }
    }
    let Some(request) = long else { return };
    let _ = Origins::new(&[]).admit(&request.headers);
    let _ = request.uri.path().split('/').map(str::parse::<ObjectName>).count();
    let offers = Offers { compression: true, echo: true };
    if let Ok(handshake) = Handshake::read(&request, offers, &sessions()) {
        is_answered(&request, &handshake);
    }
}

fn is_answered(request: &Parts, handshake: &Handshake) {
    let answer = fast_path::write(&handshake.into_response());
    let mut headers = [httparse::EMPTY_HEADER; 8];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(&answer).expect("the answer is HTTP");
    assert_eq!(parsed, httparse::Status::Complete(answer.len()));
    assert_eq!(response.code, Some(101));
    let header = |name: &str| response.headers.iter().find(|header| header.name == name);
    let accept = header(SEC_WEBSOCKET_ACCEPT.as_str()).expect("the key is answered").value;
    let key = request.headers[SEC_WEBSOCKET_KEY].to_str().expect("a key is text").trim();
    assert_eq!(accept, derive_accept_key(key.as_bytes()).as_bytes());
    if let Some(chosen) = header(SEC_WEBSOCKET_PROTOCOL.as_str()) {
        let mut offers = request.headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
        let chosen = std::str::from_utf8(chosen.value).expect("a subprotocol is text");
        assert!(offers.any(|offer| offer.to_str().is_ok_and(|offer| offer.contains(chosen))));
    }
}

/// The head of the first request as hyper reads it, set up as for the long way.
fn by_hyper(bytes: &[u8]) -> Option<Parts> {
    let first = Cell::new(None);
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let before = first.take();
        first.set(before.or(Some(request.into_parts().0)));
        std::future::ready(Ok::<_, Infallible>(Response::new(String::new())))
    });
    let wire = TokioIo::new(tokio::io::join(bytes, tokio::io::sink()));
    let served = connection::http1().serve_connection(wire, service);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let _ = runtime.expect("a runtime without I/O is made").block_on(served);
    first.take()
}

/// A path and a query: what is read from them has the format that it must have.
pub fn query(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    a_name(text);
    a_session(text);
    let Ok(uri) = text.parse::<Uri>() else { return };
    let _ = Query::<objects::Asked>::try_from_uri(&uri);
    let _ = Query::<controls::Delay>::try_from_uri(&uri);
    let query = uri.query().unwrap_or_default();
    if let (Some(token), Ok(session)) =
        (query.strip_prefix("session="), super::handshake::session(query, &sessions()))
    {
        let token = token.split('&').next();
        assert_eq!(token, Some(&*session.token), "the session is that of the token");
    }
}

/// The first bytes of a trusted proxy's connection: `read` takes exactly the header, or fails.
pub fn proxy_header(bytes: &[u8]) {
    let read = |bytes: &[u8]| {
        let mut rest = bytes;
        let client = match pin!(super::proxy_header::read(&mut rest)).poll(&mut noop()) {
            Poll::Ready(client) => client.map_err(|error| error.kind()),
            Poll::Pending => unreachable!("the bytes are there"),
        };
        (client, bytes.len() - rest.len())
    };
    let (client, len) = read(bytes);
    if let Ok(client) = client {
        assert_eq!(len, 16 + usize::from(u16::from_be_bytes([bytes[14], bytes[15]])));
        assert_eq!(read(&bytes[..len]), (Ok(client), len), "what follows is not looked at");
        assert_eq!(read(&bytes[..len - 1]).0, Err(ErrorKind::UnexpectedEof));
    }
}

fn noop() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn a_name(text: &str) {
    let Ok(name) = text.parse::<ObjectName>() else { return };
    assert_eq!(name.as_str(), text);
    let (class, rest) = text.split_once('/').expect("a name has a class");
    assert_eq!(name.class(), class);
    assert!(class.len() <= 32 && rest.len() <= 128 && !rest.contains('/') && text.is_ascii());
    let uri: Uri = format!("/v1/objects/{text}").parse().expect("a name needs no escapes");
    assert_eq!(uri.path().strip_prefix("/v1/objects/"), Some(text));
}

fn sessions() -> Sessions {
    Sessions::new(&[7; 32])
}

fn a_session(text: &str) {
    if let Ok(session) = sessions().accept(text) {
        assert_eq!(&*session.token, text, "a token has one form");
        assert_eq!(SessionId::from_text(&session.id), Some(session.id));
    }
}
