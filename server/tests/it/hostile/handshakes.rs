//! Handshakes that never end: promise 9.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::bystander;
use crate::server::TestServer;
use crate::support::{PATIENCE, handshake};

/// All that the server says until it closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // The end may come as a reset, where bytes were still on their way to the server.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server closes");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn cut(server: &TestServer, reason: &str) -> u64 {
    server.metric(&format!("dormouse_http_cut_total{{reason=\"{reason}\"}}")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_come_byte_by_byte_are_ended_by_their_deadline() {
    let server = TestServer::start(|config| {
        config.limits.handshake_timeout = Duration::from_millis(300);
    })
    .await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    // The deadline counts from the beginning, however many bytes come meanwhile.
    for byte in handshake("", "").into_bytes().into_iter().cycle() {
        let gap = timeout(Duration::from_millis(5), slow.readable());
        if gap.await.is_ok() || slow.write_all(&[byte]).await.is_err() {
            break;
        }
    }
    let answer = rest(&mut slow).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    server.metric_is("dormouse_http_cut_total{reason=\"handshake_timeout\"}", |cut| cut == 1).await;
    bystander(server.address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_stop_in_the_middle_are_told_why_they_are_ended() {
    let server = TestServer::start(|config| {
        config.limits.handshake_timeout = Duration::from_millis(50);
    })
    .await;
    for begun in
        ["GET /v1/connect HTTP/1.1\r\n", "GET /v1/connect HTTP/1.1\r\nHost: localhost\r\nX-A: "]
    {
        let mut slow = TcpStream::connect(server.address).await.unwrap();
        slow.write_all(begun.as_bytes()).await.unwrap();
        let answer = rest(&mut slow).await;
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
        assert!(answer.contains("the request did not come in time"), "{answer}");
    }
    assert_eq!(cut(&server, "handshake_timeout").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_headers_without_end_are_refused() {
    let server = TestServer::start(|_| {}).await;
    for header in ["X-Filler: and so on and on and on\r\n".to_owned(), "Cookie: ".to_owned()] {
        let mut endless = TcpStream::connect(server.address).await.unwrap();
        endless.write_all(b"GET /v1/connect HTTP/1.1\r\nHost: localhost\r\n").await.unwrap();
        endless.write_all(header.as_bytes()).await.unwrap();
        let filler = if header.ends_with('\n') { header } else { "x".repeat(64) };
        while endless.write_all(filler.as_bytes()).await.is_ok() {
            let gap = timeout(Duration::from_micros(100), endless.readable());
            if gap.await.is_ok() {
                break;
            }
        }
        let answer = rest(&mut endless).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    server.metric_is("dormouse_http_cut_total{reason=\"head_too_large\"}", |cut| cut == 2).await;
    bystander(server.address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_are_garbage_are_refused() {
    let server = TestServer::start(|_| {}).await;
    for garbage in
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"\0\0\0\0\r\n\r\n", b"BLAH\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    server.metric_is("dormouse_http_cut_total{reason=\"broken\"}", |cut| cut == 3).await;
}
