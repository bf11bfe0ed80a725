//! TLS: rooms over it, certificates by name and reloaded, certificates of clients.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use dormouse_protocol::{ClientMessage, Encoding, Ping, ServerMessage, Start};
use rcgen::{CertificateParams, DnType, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::client::{Client, Closed, ENCODINGS};
use crate::encrypted::{Encrypted, VERSIONS, certificate, open, over, read_to_end};
use crate::guarded::UNAUTHORIZED;
use crate::raw::{TEXT, frame};
use crate::support::{PATIENCE, handshake};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_work_over_both_versions() {
    let encrypted = Encrypted::start(|_, _| ()).await;
    for version in VERSIONS {
        for encoding in ENCODINGS {
            let stream = encrypted.open(encrypted.client_config(&[version])).await.unwrap();
            let mut writer = over(stream, encoding).await;
            let stream = encrypted.open(encrypted.client_config(&[version])).await.unwrap();
            let mut reader = over(stream, encoding).await;
            let object = writer.join_now("room/a").await;
            let read = reader.join_now("room/a").await;
            // Of one record, of several, and empty.
            for size in [0, 1, 16 << 10, 60 << 10] {
                let text = "x".repeat(size);
                writer.publish(object, &text).await;
                let ServerMessage::Events(events) = reader.next_of(read).await else { panic!() };
                let data = rmp_serde::from_slice::<String>(events.events[0].data.as_msgpack());
                assert_eq!(data.unwrap(), text);
            }
            reader.ping().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_gets_the_certificate_for_the_name_that_it_asks_for() {
    let encrypted = Encrypted::start(|config, dir| {
        let other = certificate(dir, "other", &["rooms.example", "*.team.example"]);
        config.tls.certificates.push(other.parse().unwrap());
    })
    .await;
    let address = encrypted.server.address;
    let trusting = |file| {
        let config = ClientConfig::builder().with_root_certificates(encrypted.roots(file));
        Arc::new(config.with_no_client_auth())
    };
    assert!(open(address, trusting("c"), "localhost").await.is_ok());
    for name in ["rooms.example", "a.team.example"] {
        assert!(open(address, trusting("other"), name).await.is_ok(), "{name}");
        assert!(open(address, trusting("c"), name).await.is_err(), "{name}");
    }
    // No certificate is valid for this name: the server sends an alert and no certificate.
    for name in ["unknown.example", "a.b.team.example"] {
        let error = open(address, trusting("c"), name).await.unwrap_err().to_string();
        assert!(error.contains("alert"), "{error}");
    }
    // An address is no name, so that the first certificate comes; it is for `localhost`.
    let error = open(address, trusting("c"), "127.0.0.1").await.unwrap_err().to_string();
    assert!(error.contains("not valid for name"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_certificates_are_read_and_open_connections_stay() {
    let encrypted = Encrypted::start(|_, _| ()).await;
    let mut before = encrypted.client(Encoding::Json).await;
    let object = before.join_now("room/a").await;
    let old = encrypted.client_config(&VERSIONS);
    // At first the file is broken, as it is while it is being written: the certificate from before stays.
    std::fs::write(encrypted.dir.path().join("c.key"), "-----BEGIN").unwrap();
    certificate(encrypted.dir.path(), "c", &["localhost"]);
    let since = Instant::now();
    while encrypted.open(encrypted.client_config(&VERSIONS)).await.is_err() {
        assert!(since.elapsed() < PATIENCE);
        assert!(encrypted.open(old.clone()).await.is_ok() || since.elapsed() > Duration::ZERO);
    }
    assert!(encrypted.open(old).await.is_err(), "the old certificate is gone");
    before.publish(object, 1).await;
}

/// Session tickets: a client that comes again needs no second signature of the server's key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_sessions_resume() {
    let encrypted = Encrypted::start(|_, _| ()).await;
    for version in VERSIONS {
        let config = Arc::new(encrypted.client_config(&[version]));
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let stream = open(encrypted.server.address, config.clone(), "localhost").await.unwrap();
            kinds.push(stream.get_ref().1.handshake_kind().unwrap());
            // The tickets come with the first messages.
            over(stream, Encoding::Json).await.ping().await;
        }
        assert_eq!(kinds[1], HandshakeKind::Resumed, "{kinds:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_a_client_says_who_it_is() {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(params, authority_key);
    let encrypted = Encrypted::start(|config, dir| {
        let file = dir.join("clients.pem");
        std::fs::write(&file, authority.pem()).unwrap();
        config.tls.client_ca = file.display().to_string();
        config.auth.certificates = vec!["room/of-{user}: join, publish".parse().unwrap()];
    })
    .await;
    let signed_by = |issuer: &Issuer<'_, KeyPair>, common_name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        let made = params.signed_by(&key, issuer).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let roots = encrypted.roots("c");
        let config = ClientConfig::builder().with_root_certificates(roots);
        config.with_client_auth_cert(vec![made.der().clone()], key).unwrap()
    };
    let stream = encrypted.open(signed_by(&issuer, "ada")).await.unwrap();
    let mut ada = over(stream, Encoding::Json).await;
    let object = ada.join_now("room/of-ada").await;
    ada.publish(object, 1).await;
    let ServerMessage::Events(events) = ada.next_of(object).await else { panic!() };
    assert_eq!(events.events[0].user.as_deref(), Some("ada"));
    let id = ada.send_join("room/of-bob", Start::Now).await;
    ada.refusal(id).await;

    // A name that is no user's name.
    let stream = encrypted.open(signed_by(&issuer, "")).await.unwrap();
    let refused = Client::try_connect_over(Box::new(stream), Encoding::Json, "", |_| ()).await;
    assert_eq!(refused.err(), Some(UNAUTHORIZED));
    // No certificate and no token.
    let stream = encrypted.open(encrypted.client_config(&VERSIONS)).await.unwrap();
    let refused = Client::try_connect_over(Box::new(stream), Encoding::Json, "", |_| ()).await;
    assert_eq!(refused.err(), Some(UNAUTHORIZED));
    // A certificate of anyone else: TLS 1.3 lets the client finish first.
    let other =
        Issuer::new(CertificateParams::new(Vec::new()).unwrap(), KeyPair::generate().unwrap());
    let refused = match encrypted.open(signed_by(&other, "ada")).await {
        Ok(stream) => {
            Client::try_connect_over(Box::new(stream), Encoding::Json, "", |_| ()).await.err()
        }
        Err(_) => Some(Closed(None)),
    };
    assert_eq!(refused, Some(Closed(None)));
}

/// A socket that takes and gives one byte at a time.
struct Dribble<T>(T);

impl<T: AsyncRead + Unpin> AsyncRead for Dribble<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut byte = [0];
        let mut one = ReadBuf::new(&mut byte);
        let read = Pin::new(&mut self.0).poll_read(cx, &mut one);
        buffer.put_slice(one.filled());
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Dribble<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, &bytes[..bytes.len().min(1)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_may_arrive_byte_by_byte() {
    let encrypted = Encrypted::start(|_, _| ()).await;
    for version in VERSIONS {
        let socket = TcpStream::connect(encrypted.server.address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let connector = TlsConnector::from(Arc::new(encrypted.client_config(&[version])));
        let name = ServerName::try_from("localhost").unwrap();
        let stream = connector.connect(name, Dribble(socket)).await.unwrap();
        let mut client = over(stream, Encoding::Msgpack).await;
        let object = client.join_now("room/a").await;
        client.publish(object, "x".repeat(5_000)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_changed_when_the_client_asks_for_it() {
    let encrypted = Encrypted::start(|_, _| ()).await;
    let mut stream = encrypted.open(encrypted.client_config(&[&TLS13])).await.unwrap();
    stream.write_all(handshake("", "").as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        stream.get_mut().1.refresh_traffic_keys().unwrap();
        // A ping, whose pong comes under the new keys.
        stream.write_all(&frame(crate::raw::PING, b"still there?")).await.unwrap();
        let since = Instant::now();
        while !seen.windows(12).any(|bytes| bytes == b"still there?") {
            let mut buffer = [0; 1024];
            let read = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
            assert!(read > 0 && since.elapsed() < PATIENCE);
            seen.extend_from_slice(&buffer[..read]);
        }
        seen.clear();
    }
}

/// Without `close_notify` a client cannot tell the end from a cut (RFC 8446, section 6.1).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_ends_with_its_own_farewell() {
    let encrypted = Encrypted::start(|_, _| ()).await;
    let mut stream = encrypted.open(encrypted.client_config(&VERSIONS)).await.unwrap();
    let request = "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(b"live\n"));

    let mut stream = encrypted.open(encrypted.client_config(&VERSIONS)).await.unwrap();
    stream.write_all(handshake("", "").as_bytes()).await.unwrap();
    stream.write_all(&frame(crate::raw::CLOSE, &1000_u16.to_be_bytes())).await.unwrap();
    let answer = read_to_end(&mut stream).await.unwrap();
    // The answer to the close frame is the last.
    let last = [&[crate::raw::CLOSE, 8, 0x03, 0xE8], &b"normal"[..]].concat();
    assert!(answer.ends_with(&last), "{}", String::from_utf8_lossy(&answer));
}

/// Promise 7: what waits for a slow reader, in records too, comes when it reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_over_tls_gets_everything() {
    let encrypted = Encrypted::start(|_, _| ()).await;
    let mut slow = encrypted.client(Encoding::Msgpack).await;
    let read = slow.join_now("room/a").await;
    let mut writer = encrypted.client(Encoding::Msgpack).await;
    let object = writer.join_now("room/a").await;
    let text = "x".repeat(50_000);
    let mut head = 0;
    for _ in 0..200 {
        head = writer.publish(object, &text).await.offset;
    }
    while slow.position(read) < head {
        slow.next_of(read).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fragmented_frame_of_many_records_is_one_message() {
    let encrypted = Encrypted::start(|_, _| ()).await;
    let mut stream = encrypted.open(encrypted.client_config(&VERSIONS)).await.unwrap();
    stream.write_all(handshake("", "").as_bytes()).await.unwrap();
    let ping = ClientMessage::Ping(Ping { id: 7 });
    for byte in frame(TEXT, &Encoding::Json.encode_client(&ping)) {
        stream.write_all(&[byte]).await.unwrap();
        stream.flush().await.unwrap();
    }
    let mut seen = String::new();
    while !seen.contains(r#""id":7"#) {
        let mut buffer = [0; 1024];
        let read = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(read > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
}
