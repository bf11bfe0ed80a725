//! What is no TLS, or breaks its rules.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use dormouse_protocol::Encoding;
use rustls::version::TLS13;
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets};
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
        // An alert, or no answer if the first byte is not one of TLS.
        assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
        count += 1;
        encrypted.is_cut("tls", count).await;
    }
    // A client that begins a handshake and then sends nothing.
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

/// A record of TLS 1.3 that a client encrypts itself, so that it can hold what no library would send (RFC 8446, section 5.2).
fn sealed(secrets: &ExtractedSecrets, content: &[u8], content_type: u8) -> Vec<u8> {
    let (number, ConnectionTrafficSecrets::Aes256Gcm { key, iv }) = &secrets.tx else {
        panic!("another suite")
    };
    let mut nonce: [u8; 12] = iv.as_ref().try_into().unwrap();
    for (byte, number) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
        *byte ^= number;
    }
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap());
    let mut record = [content, &[content_type]].concat();
    let length = ((record.len() + AES_256_GCM.tag_len()) as u16).to_be_bytes();
    let header = [23, 3, 3, length[0], length[1]];
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce, Aad::from(header), &mut record).unwrap();
    [&header[..], &record].concat()
}

/// rustls remembers where in its input messages are, also when it has refused them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshake_messages_out_of_place_end_their_connection_only() {
    const HANDSHAKE: u8 = 22;
    let key_update = [24, 0, 0, 1, 0];
    let encrypted = Encrypted::start(|_, _| ()).await;
    let mut good = encrypted.client(Encoding::Json).await;
    for content in [
        // Two messages where the keys change after the first, and the beginning of one.
        [&key_update[..], &key_update].concat(),
        [&key_update[..], &[24, 0]].concat(),
        vec![1, 0, 0, 0],
        vec![24],
    ] {
        let mut config = encrypted.client_config(&[&TLS13]);
        config.enable_secret_extraction = true;
        let mut stream = encrypted.open(config).await.unwrap();
        stream.write_all(handshake("", "").as_bytes()).await.unwrap();
        let mut buffer = [0; 8 << 10];
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
        let (mut socket, connection) = stream.into_inner();
        let mut secrets = connection.dangerous_extract_secrets().unwrap();
        let first = sealed(&secrets, &content, HANDSHAKE);
        secrets.tx.0 += 1;
        // What follows is application data, where a message may have begun.
        let second = sealed(&secrets, b"x", 23);
        socket.write_all(&[first, second].concat()).await.unwrap();
        read_to_end(socket).await.unwrap_or_default();
        good.ping().await;
    }
    encrypted.server.metric_is("dormouse_connections", |open| open == 1).await;
}

/// The same before the keys are known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_message_behind_the_first_ends_the_handshake() {
    let encrypted = Encrypted::start(|_, _| ()).await;
    let mut client = rustls::ClientConnection::new(
        Arc::new(encrypted.client_config(&[&TLS13])),
        "localhost".try_into().unwrap(),
    )
    .unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    for more in [&[1, 0, 0, 0][..], &[20, 0, 0, 1, 7], &[11, 0, 0]] {
        let mut record = [&hello, more].concat();
        let length = ((record.len() - 5) as u16).to_be_bytes();
        record[3..5].copy_from_slice(&length);
        let before = encrypted.cut("tls").await;
        let mut socket = TcpStream::connect(encrypted.server.address).await.unwrap();
        socket.write_all(&record).await.unwrap();
        read_to_end(socket).await.unwrap_or_default();
        encrypted.is_cut("tls", before + 1).await;
    }
}
