//! Floods of all that a client may send: promise 9, that each meets its bound, and promise 7.

use dormouse_protocol::{ClientMessage, Encoding, ErrorCode, Join, Leave, ServerMessage, Start};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::client::{bystander, publish};
use crate::raw::{PING, PONG, Raw, TEXT, frame};
use crate::server::TestServer;
use crate::support::PATIENCE;

/// Writes the same again and again until the server takes no more of it. Gives how many bytes it took.
async fn flood(raw: &mut Raw, bytes: &[u8]) -> usize {
    let mut taken = 0;
    // So long that a server which takes all would be found out, and shorter than it needs to close anything.
    while taken < 64 << 20 {
        let patience = std::time::Duration::from_secs(2);
        match timeout(patience, raw.stream.write_all(bytes)).await {
            Ok(written) => written.unwrap(),
            Err(_) => break,
        }
        taken += bytes.len();
    }
    taken
}

async fn joined(raw: &mut Raw, name: &str) -> u64 {
    raw.request(&ClientMessage::Join(Join::new(1, name.parse().unwrap(), Start::Now))).await;
    let ServerMessage::Joined(joined) = raw.message().await else { panic!("not joined") };
    assert!(matches!(raw.message().await, ServerMessage::CaughtUp(_)));
    joined.object
}

/// Whoever does not take the answers is not read from any more, once `limits.outbound_bytes` of them wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_pings_and_requests_whose_answers_nobody_reads_wait_in_their_socket() {
    let server = TestServer::start(|_| {}).await;
    let strange = frame(TEXT, b"{\"leave\":{\"id\":1,\"object\":77}}").repeat(1000);
    for bytes in [frame(PING, &[b'x'; 125]).repeat(1000), strange] {
        let mut raw = Raw::narrow(server.address, Encoding::Json).await;
        assert!(flood(&mut raw, &bytes).await < 64 << 20);
        bystander(server.address).await;
    }
    assert!(server.metric("dormouse_control_frames_received_total").await > 1000);
}

/// They cost the server nothing that lasts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_pongs_are_taken_and_forgotten() {
    let server = TestServer::start(|_| {}).await;
    let mut raw = Raw::connect(server.address, Encoding::Json).await;
    let pongs = frame(PONG, b"").repeat(10_000);
    for _ in 0..10 {
        timeout(PATIENCE, raw.stream.write_all(&pongs)).await.unwrap().unwrap();
    }
    raw.send(&frame(TEXT, b"{\"ping\":{\"id\":1}}")).await;
    assert!(matches!(raw.message().await, ServerMessage::Done(_)));
    assert_eq!(server.metric("dormouse_control_frames_received_total").await, 100_000);
    // Nothing of it is left: the connection is at rest.
    server.metric_is("dormouse_connections_at_rest", |at_rest| at_rest == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_publishes_meet_the_bound_of_those_in_flight() {
    const PUBLISHES: u32 = 20_000;
    let server = TestServer::start(|config| config.limits.in_flight = 8).await;
    let mut raw = Raw::connect(server.address, Encoding::Msgpack).await;
    let object = joined(&mut raw, "room/a").await;
    let publishes: Vec<_> = (0..PUBLISHES).map(|id| publish(id, object, id, None)).collect();
    let sending = publishes.clone();
    let (mut stored, mut refused) = (0_u64, 0_u64);
    for publishes in sending.chunks(1000) {
        raw.requests(publishes).await;
        let mut answers = 0;
        while answers < publishes.len() {
            match raw.message().await {
                ServerMessage::Published(_) => stored += 1,
                ServerMessage::Error(error) => {
                    assert_eq!(error.code, ErrorCode::TooManyInFlight);
                    refused += 1;
                }
                ServerMessage::Events(_) => continue,
                other => panic!("{other:?}"),
            }
            answers += 1;
        }
        if refused > 0 && stored > 0 && stored + refused >= 5000 {
            break;
        }
    }
    assert!(stored > 0 && refused > 0, "{stored} stored, {refused} refused");
    let metric = "dormouse_request_errors_total{code=\"too_many_in_flight\"}";
    assert_eq!(server.metric(metric).await, refused);
    assert_eq!(server.object("room/a").await["log"]["head"], stored);
    bystander(server.address).await;
}

/// Each takes the one before it back, and nothing of them stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_joins_and_leaves_leave_nothing_behind() {
    let server = TestServer::start(|_| {}).await;
    let mut raw = Raw::connect(server.address, Encoding::Msgpack).await;
    for round in 0..50 {
        let join = |nth: u32| {
            let name = format!("room/flood-{round}-{nth}").parse().unwrap();
            ClientMessage::Join(Join::new(nth, name, Start::Now))
        };
        raw.requests(&(0..20).map(join).collect::<Vec<_>>()).await;
        let mut objects = Vec::new();
        while objects.len() < 20 {
            if let ServerMessage::Joined(joined) = raw.message().await {
                objects.push(joined.object);
            }
        }
        let leave = |object: &u64| ClientMessage::Leave(Leave { id: 0, object: *object });
        raw.requests(&objects.iter().map(leave).collect::<Vec<_>>()).await;
        let mut left = 0;
        while left < 20 {
            left += u32::from(matches!(raw.message().await, ServerMessage::Done(_)));
        }
    }
    assert_eq!(server.metric("dormouse_members").await, 0);
    server.metric_is("dormouse_objects{state=\"asleep\"}", |objects| objects == 0).await;
    bystander(server.address).await;
}
