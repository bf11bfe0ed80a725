//! Messages that never end, claim what they are not, or come in crumbs: promise 9.

use std::time::Duration;

use dormouse_protocol::Encoding;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::client::bystander;
use crate::raw::{PING, Raw, TEXT, frame};
use crate::server::TestServer;

const TEXT_BEGINS: u8 = 0x01;
const GOES_ON: u8 = 0x00;

async fn closed(server: &TestServer, reason: &str) -> u64 {
    server.metric(&format!("dormouse_closes_total{{code=\"{reason}\"}}")).await
}

/// Sends the parts of a message again and again, with a gap, until the server has something to say.
async fn trickle(raw: &mut Raw, part: &[u8]) {
    loop {
        let mut next = [0];
        let gap = timeout(Duration::from_millis(10), raw.stream.peek(&mut next));
        // It fails where the server has closed.
        if gap.await.is_ok() || raw.stream.write_all(part).await.is_err() {
            return;
        }
    }
}

/// Signs of life are no excuse: bytes, fragments, pings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_do_not_end_in_time_are_closed() {
    let server = TestServer::start(|config| {
        config.limits.message_timeout = Duration::from_millis(300);
    })
    .await;
    let header_of_a_long_one = [TEXT, 0xFE, 0xFF, 0xFF, 1, 2, 3, 4];
    let beginnings = [
        (&header_of_a_long_one[..], &b"x"[..]),
        (&frame(TEXT_BEGINS, b"\""), &frame(GOES_ON, b"x")),
        (&frame(TEXT_BEGINS, b"\""), &frame(PING, b"")),
    ];
    for (number, (beginning, part)) in beginnings.iter().enumerate() {
        let mut raw = Raw::connect(server.address, Encoding::Json).await;
        raw.send(beginning).await;
        trickle(&mut raw, part).await;
        loop {
            // Pongs come before it.
            match raw.frame().await {
                Some((0x8A, _)) => trickle(&mut raw, part).await,
                Some((first, payload)) => {
                    assert_eq!(first, 0x88);
                    assert_eq!(crate::raw::closed_with(&payload), 3005);
                    break;
                }
                None => panic!("no close frame"),
            }
        }
        assert_eq!(closed(&server, "slow_message").await, number as u64 + 1);
    }
    bystander(server.address).await;
}

/// A slow client may take long for many messages, if not for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_have_their_own_time() {
    let server = TestServer::start(|config| {
        config.limits.message_timeout = Duration::from_secs(2);
    })
    .await;
    let mut raw = Raw::connect(server.address, Encoding::Json).await;
    let ping = |id: u32| frame(TEXT, format!("{{\"ping\":{{\"id\":{id}}}}}").as_bytes());
    let mut bytes: Vec<u8> = (0..30).flat_map(ping).collect();
    let last = bytes.split_off(bytes.len() - 1);
    // Every write ends in the middle of a message.
    for part in bytes.chunks(35) {
        raw.send(part).await;
        let _ = timeout(Duration::from_millis(120), std::future::pending::<()>()).await;
    }
    raw.send(&last).await;
    for _ in 0..30 {
        assert!(matches!(raw.message().await, dormouse_protocol::ServerMessage::Done(_)));
    }
    assert_eq!(closed(&server, "slow_message").await, 0);
}

/// A million empty fragments, and as many of one byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_great_many_crumbs_are_too_large() {
    let server = TestServer::start(|_| {}).await;
    for (number, crumb) in [&b""[..], b" "].iter().enumerate() {
        let mut raw = Raw::connect(server.address, Encoding::Json).await;
        raw.send(&frame(TEXT_BEGINS, b"\"")).await;
        let crumbs = frame(GOES_ON, crumb).repeat(10_000);
        for _ in 0..100 {
            // The server stops reading, and closes, long before the end.
            if raw.stream.write_all(&crumbs).await.is_err() {
                break;
            }
        }
        server
            .metric_is("dormouse_closes_total{code=\"too_large\"}", |closes| {
                closes == number as u64 + 1
            })
            .await;
    }
    bystander(server.address).await;
}

/// Not a byte is set aside for what a header claims.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_claim_gigabytes_are_refused_by_their_header() {
    let server = TestServer::start(|_| {}).await;
    let claims: [(u64, u16); 5] = [
        (64 * 1024 + 1, 1009),
        (2 << 30, 1009),
        (1 << 40, 1009),
        (i64::MAX as u64, 1009),
        (u64::MAX, 1002),
    ];
    for (claim, code) in claims {
        for first in [TEXT, TEXT_BEGINS] {
            let mut raw = Raw::connect(server.address, Encoding::Json).await;
            let mut header = vec![first, 0xFF];
            header.extend(claim.to_be_bytes());
            header.extend([1, 2, 3, 4]);
            raw.send(&header).await;
            raw.is_closed(code).await;
        }
    }
    assert_eq!(closed(&server, "too_large").await, 8);
    assert_eq!(closed(&server, "protocol_error").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_are_garbage_are_closed() {
    let server = TestServer::start(|_| {}).await;
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xFF; 4096], &[0; 4096]] {
        let mut raw = Raw::connect(server.address, Encoding::Msgpack).await;
        raw.send(garbage).await;
        raw.is_closed(1002).await;
    }
    assert_eq!(closed(&server, "protocol_error").await, 3);
    bystander(server.address).await;
}
