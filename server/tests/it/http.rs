//! The HTTP server: routes, the handshake, its refusals, its bounds, and its end.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use dormouse::session::BadToken;
use dormouse_protocol::Encoding;
use tokio::runtime::Builder;
use tokio::task::yield_now;
use tokio::time::Instant;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::support::{
    PATIENCE, TestHttpServer, exchange, handshake, read_head, sessions, wait_until_refused,
};

#[test]
fn a_client_is_upgraded_and_handed_over() {
    let http_server = TestHttpServer::start(|_| {});
    let session = sessions().issue();
    let url = format!("ws://{}/v1/connect?session={}", http_server.address, session.token);
    let mut request = url.into_client_request().unwrap();
    let offered = "dormouse.v1.msgpack, dormouse.v1.json".parse().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", offered);
    let (_client, answer) = http_server.runtime.block_on(connect_async(request)).unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], "dormouse.v1.msgpack");
    let accepted = http_server.accepted();
    assert_eq!(accepted.format.encoding, Encoding::Msgpack);
    assert_eq!(accepted.session, Ok(session));
    assert!(accepted.read.is_empty());
    assert!(accepted.stream.nodelay().unwrap());
}

#[test]
fn without_a_subprotocol_json_is_spoken_in_a_new_session() {
    let http_server = TestHttpServer::start(|_| {});
    let (url, mut sessions) = (format!("ws://{}/v1/connect", http_server.address), Vec::new());
    for _ in 0..2 {
        let (_client, answer) = http_server.runtime.block_on(connect_async(&url)).unwrap();
        assert!(!answer.headers().contains_key("sec-websocket-protocol"));
        let accepted = http_server.accepted();
        assert_eq!(accepted.format.encoding, Encoding::Json);
        sessions.push(accepted.session.unwrap());
    }
    assert_ne!(sessions[0].id, sessions[1].id);
}

#[test]
fn bytes_after_the_handshake_are_not_lost_and_the_socket_does_not_block() {
    let http_server = TestHttpServer::start(|_| {});
    let mut client = http_server.connect();
    client.write_all(format!("{}first frames", handshake("", "")).as_bytes()).unwrap();
    let head = read_head(&mut client);
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    let mut accepted = http_server.accepted();
    let mut received = accepted.read.to_vec();
    // What TCP did not carry together with the handshake is still in the socket.
    while received.len() < "first frames".len() {
        let mut rest = [0; 64];
        match accepted.stream.read(&mut rest) {
            Ok(count) => received.extend(&rest[..count]),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    assert_eq!(received, b"first frames");
    let empty = accepted.stream.read(&mut [0]).unwrap_err();
    assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);

    accepted.stream.write_all(b"an answer").unwrap();
    let mut answer = [0; 9];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"an answer");
}

/// Browsers can't see why an upgrade was refused, so it is the sockets that refuse a bad token.
#[test]
fn a_bad_token_is_upgraded_and_marked() {
    let http_server = TestHttpServer::start(|_| {});
    let mut client = http_server.connect();
    client.write_all(handshake("?session=forged", "").as_bytes()).unwrap();
    assert!(read_head(&mut client).starts_with("HTTP/1.1 101 "));
    assert_eq!(http_server.accepted().session, Err(BadToken));
}

#[test]
fn a_request_that_is_no_handshake_is_refused_with_the_reason() {
    let http_server = TestHttpServer::start(|_| {});
    let plain = http_server.get("/v1/connect");
    assert!(plain.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{plain}");
    assert!(plain.contains("\r\nupgrade: websocket\r\n") && plain.contains("websocat"), "{plain}");

    for (from, to, status, text) in [
        ("Version: 13", "Version: 8", "426", "\r\nsec-websocket-version: 13\r\n"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", "400", "16 bytes"),
        ("Upgrade: websocket", "Upgrade: h2c", "426", "WebSocket endpoint"),
        ("Host: localhost\r\n", "", "400", "Host"),
        (
            "Host: localhost\r\n",
            "Host: localhost\r\nOrigin: http://evil.example\r\n",
            "403",
            "allowed_origins",
        ),
        ("GET", "POST", "405", "\r\nallow: GET,HEAD\r\n"),
        ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: chat\r\n\r\n", "400", "dormouse.v1.json"),
    ] {
        let answer = http_server.exchange(&handshake("", "").replacen(from, to, 1));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{to}: {answer}");
        assert!(answer.contains(text), "{to}: {answer}");
    }
    assert!(http_server.accepted.try_recv().is_err());
    let metrics = http_server.get_internal("/metrics");
    assert!(
        metrics.contains("dormouse_connections_refused_total{reason=\"key\"} 1\n"),
        "{metrics}"
    );
}

#[test]
fn one_connection_more_than_the_bound_is_told_to_come_again() {
    let http_server = TestHttpServer::start(|config| config.limits.connections = 2);
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let mut client = http_server.connect();
            client.write_all(handshake("", "").as_bytes()).unwrap();
            read_head(&mut client);
            (client, http_server.accepted())
        })
        .collect();
    let refused = http_server.exchange(&handshake("", ""));
    assert!(refused.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{refused}");
    assert!(refused.contains("\r\nretry-after: 5\r\n"), "{refused}");
    assert!(refused.ends_with("limits.connections is reached: try again later\n"), "{refused}");
    let metrics = http_server.get_internal("/metrics");
    let counted = "dormouse_connections_refused_total{reason=\"connections\"} 1\n";
    assert!(metrics.contains(counted), "{metrics}");

    drop(clients);
    let mut client = http_server.connect();
    client.write_all(handshake("", "").as_bytes()).unwrap();
    assert!(read_head(&mut client).starts_with("HTTP/1.1 101 "));
}

#[test]
fn who_sends_no_request_in_time_is_cut_off() {
    let http_server = TestHttpServer::start(|config| {
        config.limits.handshake_timeout = Duration::from_millis(20);
    });
    for begun in ["", "GET / HTTP/1.1\r\nHost: lo"] {
        let answer = http_server.exchange(begun);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
}

#[test]
fn a_huge_head_is_refused() {
    let http_server = TestHttpServer::start(|_| {});
    let mut client = http_server.connect();
    let request =
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nCookie: {}\r\n\r\n", "x".repeat(40_000));
    // The server stops reading before the end, and may close before the client has written all.
    let _ = client.write_all(request.as_bytes());
    let mut answer = [0; 12];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 431");
}

#[test]
fn the_page_runs_only_what_comes_from_the_server() {
    let http_server = TestHttpServer::start(|_| {});
    for (path, media_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/favicon.svg", "image/svg+xml"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/look.js", "text/javascript; charset=utf-8"),
        ("/people.js", "text/javascript; charset=utf-8"),
        ("/rest.js", "text/javascript; charset=utf-8"),
        ("/dormouse.js", "text/javascript; charset=utf-8"),
    ] {
        let answer = http_server.get(path);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains(&format!("\r\ncontent-type: {media_type}\r\n")), "{answer}");
        assert!(answer.contains("\r\ncontent-security-policy: default-src 'self';"), "{answer}");
        assert!(!answer.contains("style="), "an inline style would be blocked: {answer}");

        let tag = answer.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
        let again =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {tag}\r\n\r\n");
        let again = http_server.exchange(&again);
        assert!(again.starts_with("HTTP/1.1 304 Not Modified\r\n"), "{again}");
        assert!(again.ends_with("\r\n\r\n"), "{again}");
    }
    assert!(!http_server.get("/").contains("<style"));
}

/// Promise 11: what is for operators is not on the public address.
#[test]
fn the_public_address_answers_no_question_of_operators() {
    let http_server = TestHttpServer::start(|config| config.test_controls = true);
    for request in [
        "GET /metrics",
        "GET /health/ready",
        "GET /v1/objects",
        "GET /v1/objects/room/a",
        "POST /v1/objects/room/a/sleep",
        "POST /v1/objects/room/a/crash",
        "POST /v1/log/delay?ms=1",
    ] {
        let request = format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let lost = http_server.exchange(&request);
        assert!(lost.starts_with("HTTP/1.1 404 ") && lost.contains("/v1/connect"), "{lost}");
        let known = exchange(http_server.internal, &request);
        assert!(!known.contains("/v1/connect"), "{known}");
    }
    // Clients may come in by the other one too: so does the page that operators open.
    let mut client = TcpStream::connect(http_server.internal).unwrap();
    client.write_all(handshake("", "").as_bytes()).unwrap();
    assert!(read_head(&mut client).starts_with("HTTP/1.1 101 "));
}

#[test]
fn health_and_metrics_are_told() {
    let http_server = TestHttpServer::start(|_| {});
    assert!(http_server.get("/health/live").starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(http_server.get_internal("/health/ready").starts_with("HTTP/1.1 200 OK\r\n"));
    let lost = http_server.get("/admin");
    assert!(lost.starts_with("HTTP/1.1 404 Not Found\r\n") && lost.contains("/v1/connect"));

    http_server.health.drain();
    assert!(http_server.get("/health/live").starts_with("HTTP/1.1 200 OK\r\n"));
    let unready = http_server.get_internal("/health/ready");
    assert!(unready.starts_with("HTTP/1.1 503 ") && unready.ends_with("draining\n"), "{unready}");
    assert!(http_server.exchange(&handshake("", "")).starts_with("HTTP/1.1 503 "));

    let metrics = http_server.get_internal("/metrics");
    for line in [
        "dormouse_build_info{version=",
        "dormouse_http_requests_total{code=\"2xx\",route=\"/health/live\"} 2\n",
        "dormouse_http_requests_total{code=\"5xx\",route=\"/health/ready\"} 1\n",
        "dormouse_http_requests_total{code=\"4xx\",route=\"unknown\"} 1\n",
        "dormouse_connections_refused_total{reason=\"draining\"} 1\n",
        "dormouse_http_accept_errors_total 0\n",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[test]
fn a_stop_closes_the_listener_and_connections_without_a_request() {
    let mut http_server = TestHttpServer::start(|_| {});
    let mut silent = http_server.connect();
    http_server.get("/health/live");
    let stop = http_server.http_server.take().unwrap().stop(Instant::now() + PATIENCE);
    http_server.runtime.block_on(stop);
    // Where the system holds connections back until they say something, this one ends with its first word.
    let _ = silent.write_all(b"G");
    let end = silent.read(&mut [0]).map_err(|error| error.kind());
    assert!(matches!(end, Ok(0) | Err(io::ErrorKind::ConnectionReset)), "{end:?}");
    assert!(std::net::TcpStream::connect(http_server.address).is_err());
}

#[test]
fn a_stop_waits_for_a_request_under_way() {
    let mut http_server = TestHttpServer::start(|_| {});
    let mut slow = http_server.connect();
    slow.write_all(b"GET /health/live HTTP/1.1\r\n").unwrap();
    http_server.get("/health/live");
    let stop = http_server.http_server.take().unwrap().stop(Instant::now() + PATIENCE);
    let stop = http_server.runtime.spawn(stop);
    wait_until_refused(http_server.address);
    slow.write_all(b"Host: localhost\r\n\r\n").unwrap();
    assert!(read_head(&mut slow).starts_with("HTTP/1.1 200 OK\r\n"));
    http_server.runtime.block_on(stop).unwrap();
}

#[test]
fn a_stop_does_not_wait_beyond_its_deadline() {
    let mut http_server = TestHttpServer::start(|_| {});
    let mut slow = http_server.connect();
    slow.write_all(b"GET /health/live HTTP/1.1\r\n").unwrap();
    http_server.get("/health/live");
    let stop = http_server.http_server.take().unwrap().stop(Instant::now());
    http_server.runtime.block_on(stop);
    // Cut off: the end of the stream, or a reset for the bytes that nobody read.
    assert_eq!(slow.read(&mut [0]).unwrap_or(0), 0);
}

/// They are granted where they are accepted, one after the other: other tasks of the thread have their turn in between.
#[test]
fn a_storm_of_handshakes_leaves_room_for_others() {
    const CLIENTS: usize = 400;
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let http_server = TestHttpServer::start_on(runtime, |_| {});
    let connect = || {
        let mut client = http_server.connect();
        client.write_all(handshake("", "").as_bytes()).unwrap();
        client
    };
    let clients: Vec<_> = std::iter::repeat_with(connect).take(CLIENTS).collect();
    // Nothing has run yet.
    let turns = http_server.runtime.block_on(async {
        let (mut accepted, mut turns) = (0, 0);
        while accepted < clients.len() {
            yield_now().await;
            let since = http_server.accepted.try_iter().count();
            accepted += since;
            turns += usize::from(since > 0);
        }
        turns
    });
    assert!(turns > 1);
}
