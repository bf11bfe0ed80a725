//! What is no TLS, or breaks its rules.

use std::time::{Duration, Instant};

use dormouse_protocol::Encoding;
use rustls::version::TLS13;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::encrypted::{Encrypted, VERSIONS, read_to_end};
use crate::support::{PATIENCE, handshake};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_http_is_told_that_the_address_speaks_tls() {
    let encrypted = Encrypted::start(|_, _| ()).await;
    let mut socket = TcpStream::connect(encrypted.server.address).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let answer = String::from_utf8(read_to_end(socket).await.unwrap()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("https://"), "{answer}");
    assert_eq!(encrypted.cut("plain_http").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_tls_ends_with_an_alert_and_harms_nobody() {
    let encrypted = Encrypted::start(|config, _| {
        config.limits.handshake_timeout = Duration::from_secs(1);
    })
    .await;
    let mut good = encrypted.client(Encoding::Json).await;
    let hello_of_ssl_3 = [22, 3, 0, 0, 4, 1, 0, 0, 0];
    let huge_record = [22, 3, 1, 0xFF, 0xFF, 1, 2, 3];
    let garbage = [0x16; 300];
    let mut count = 0;
    for bytes in [&hello_of_ssl_3[..], &huge_record, &garbage, &[0x80, 0x2E, 1, 3, 1]] {
        let mut socket = TcpStream::connect(encrypted.server.address).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        let answer = read_to_end(socket).await.unwrap_or_default();
        // An alert, or nothing where it is not even like TLS.
        assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
        count += 1;
        encrypted.is_cut("tls", count).await;
    }
    // Who begins a handshake and does not go on.
    let mut socket = TcpStream::connect(encrypted.server.address).await.unwrap();
    socket.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    read_to_end(socket).await.unwrap();
    encrypted.is_cut("handshake_timeout", 1).await;
    good.ping().await;
}

/// A record that is not authentic ends the connection; others do not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_record_ends_its_connection() {
    let encrypted = Encrypted::start(|_, _| ()).await;
    for version in VERSIONS {
        let mut stream = encrypted.open(encrypted.client_config(&[version])).await.unwrap();
        stream.write_all(handshake("", "").as_bytes()).await.unwrap();
        let mut buffer = [0; 8 << 10];
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
        let (mut socket, _) = stream.into_inner();
        socket.write_all(&[23, 3, 3, 0, 30]).await.unwrap();
        socket.write_all(&[7; 30]).await.unwrap();
        // What was underway, and an alert.
        read_to_end(socket).await.unwrap();
    }
    encrypted.server.metric_is("dormouse_connections", |open| open == 0).await;
}

/// Promise 9: a record takes no longer than a message may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_does_not_end_is_not_waited_for() {
    let encrypted = Encrypted::start(|config, _| {
        config.limits.message_timeout = Duration::from_millis(500);
    })
    .await;
    let mut stream = encrypted.open(encrypted.client_config(&[&TLS13])).await.unwrap();
    stream.write_all(handshake("", "").as_bytes()).await.unwrap();
    let mut buffer = [0; 8 << 10];
    assert!(stream.read(&mut buffer).await.unwrap() > 0);
    let (mut socket, _) = stream.into_inner();
    socket.set_nodelay(true).unwrap();
    socket.write_all(&[23, 3, 3, 64, 0]).await.unwrap();
    let closes = "dormouse_closes_total{code=\"slow_message\"}";
    let since = Instant::now();
    while encrypted.server.metric(closes).await == 0 {
        let _ = socket.write_all(&[7]).await;
        assert!(since.elapsed() < PATIENCE);
    }
}
