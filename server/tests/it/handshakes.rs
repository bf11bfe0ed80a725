//! Handshakes that a page or a proxy could abuse. Each goes both ways in: whole, which the accept loop looks at, and in two pieces,
//! which goes through hyper. The answers have to agree.

use std::io::{Read as _, Write as _};

use crate::support::{TestHttpServer, exchange, handshake, read_head};

/// The status of the answer to a request that arrives whole, and of one that arrives in two pieces.
fn statuses(http_server: &TestHttpServer, request: &str) -> [String; 2] {
    let status = |head: String| head[..head.len().min(12)].to_owned();
    let mut whole = http_server.connect();
    whole.write_all(request.as_bytes()).unwrap();
    let whole = status(read_head(&mut whole));
    let mut cut = http_server.connect();
    cut.write_all(&request.as_bytes()[..1]).unwrap();
    // The accept loop has seen the first byte alone once another connection is answered.
    http_server.get("/health/live");
    cut.write_all(&request.as_bytes()[1..]).unwrap();
    [whole, status(read_head(&mut cut))]
}

#[test]
fn both_ways_in_give_the_same_answer() {
    let http_server =
        TestHttpServer::start(|config| config.allowed_hosts = vec!["chat.example".into()]);
    let whole = handshake("", "");
    for (from, to, status) in [
        ("", "", "101"),
        // A body's bytes could be read as frames here, and as another request by a proxy.
        ("Host: localhost", "Host: localhost\r\nContent-Length: 5", "400"),
        ("Host: localhost", "Host: localhost\r\nContent-Length: 0", "101"),
        ("Host: localhost", "Host: localhost\r\nTransfer-Encoding: chunked", "400"),
        // DNS rebinding: the name resolves to this server, but is not one of its own.
        ("Host: localhost", "Host: evil.example\r\nOrigin: http://evil.example", "403"),
        ("Host: localhost", "Host: evil.example", "403"),
        ("Host: localhost", "Host: localhost\r\nHost: evil.example", "400"),
        ("Host: localhost", "Host: chat.example:443\r\nOrigin: https://chat.example:443", "101"),
        ("Host: localhost", "Host: 127.0.0.1:7700\r\nOrigin: http://127.0.0.1:7700", "101"),
        ("Host: localhost", "Host: localhost\r\nOrigin: http://evil.example", "403"),
        ("GET /v1/connect", "GET http://evil.example/v1/connect", "403"),
        // RFC 9112, section 2.2: a single line feed may end a line. Nothing follows on this connection that could be smuggled.
        ("\r\n", "\n", "101"),
    ] {
        let request = whole.replace(from, to);
        let request = if from.is_empty() { whole.clone() } else { request };
        let expected = format!("HTTP/1.1 {status}");
        assert_eq!(statuses(&http_server, &request), [expected.clone(), expected], "{to:?}");
    }
}

#[test]
fn a_rebound_page_reads_nothing() {
    let http_server = TestHttpServer::start(|config| config.test_controls = true);
    let ask = |address, request: &str| {
        let request = format!("{request} HTTP/1.1\r\nHost: evil.example:7700\r\n\r\n");
        exchange(address, &request)
    };
    let (public, internal) = (http_server.address, http_server.internal);
    for (address, request) in [
        (internal, "GET /v1/objects"),
        (internal, "GET /metrics"),
        (internal, "POST /v1/objects/room/a/sleep"),
        (internal, "GET /v1/connect"),
        (public, "GET /"),
        (public, "GET /v1/connect"),
    ] {
        let answer = ask(address, request);
        let refused = answer.starts_with("HTTP/1.1 403 ") && answer.contains("allowed_hosts");
        // A request that is no handshake is refused as such.
        assert!(refused || answer.starts_with("HTTP/1.1 426 "), "{request}: {answer}");
    }
    // Probes may use any name.
    assert!(ask(public, "GET /health/live").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_refused_body_is_not_read_as_frames() {
    let http_server = TestHttpServer::start(|_| {});
    let mut client = http_server.connect();
    let request = handshake("", "").replace("Upgrade: ", "Content-Length: 5\r\nUpgrade: ");
    client.write_all(format!("{request}12345").as_bytes()).unwrap();
    let mut answer = read_head(&mut client);
    let mut text = [0; 64];
    let length = client.read(&mut text).unwrap();
    answer.push_str(&String::from_utf8_lossy(&text[..length]));
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("no body"), "{answer}");
    assert!(http_server.accepted.try_recv().is_err(), "nothing was upgraded");
}
