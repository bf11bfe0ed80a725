//! Peers that have gone without a word, and those that take nothing: promises 7 and 9.

use std::time::Duration;

use dormouse_protocol::{ClientMessage, Encoding, Join, ServerMessage, Start};

use crate::client::{Client, bystander, noise};
use crate::raw::Raw;
use crate::server::TestServer;

/// Half open: the peer's machine is gone, nobody says so, and the others send to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_half_open_sockets_is_found_by_a_ping() {
    let server = TestServer::start(|config| {
        config.liveness.ping_interval = Duration::from_millis(200);
        config.liveness.pong_timeout = Duration::from_millis(200);
    })
    .await;
    let mut gone = Vec::new();
    for number in 0..20 {
        let mut raw = Raw::connect(server.address, Encoding::Json).await;
        let name = format!("room/{number}").parse().unwrap();
        raw.request(&ClientMessage::Join(Join::new(1, name, Start::Now))).await;
        assert!(matches!(raw.message().await, ServerMessage::Joined(_)));
        gone.push(raw);
    }
    server.metric_is("dormouse_closes_total{code=\"ping_timeout\"}", |closes| closes == 20).await;
    server.metric_is("dormouse_connections", |open| open == 0).await;
    assert_eq!(server.metric("dormouse_members").await, 0);
    bystander(server.address).await;
}

/// Members that never read: what waits for them is bounded, those who read get everything, and in the end they are closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_members_that_never_read_costs_the_others_nothing() {
    let server = TestServer::start(|config| {
        config.liveness.stall_timeout = Duration::from_secs(2);
        config.liveness.ping_interval = Duration::from_secs(5);
        config.liveness.pong_timeout = Duration::from_secs(3);
    })
    .await;
    let mut deaf = Vec::new();
    for _ in 0..10 {
        let mut raw = Raw::narrow(server.address, Encoding::Msgpack).await;
        let join = Join::new(1, "room/a".parse().unwrap(), Start::Now);
        raw.request(&ClientMessage::Join(join)).await;
        assert!(matches!(raw.message().await, ServerMessage::Joined(_)));
        deaf.push(raw);
    }
    let mut client = Client::connect(server.address, Encoding::Msgpack).await;
    let object = client.join_now("room/a").await;
    let mut offset = 0;
    // Nobody is pinged before that, if the machine is not very slow; and then they are closed for that.
    let silent = "dormouse_closes_total{code=\"ping_timeout\"}";
    while server.metric("dormouse_members_fell_behind_total").await + server.metric(silent).await
        < 10
    {
        for _ in 0..20 {
            offset = client.publish(object, noise(30_000)).await.offset;
        }
        client.events_until(object, offset).await;
    }
    // Who behaves goes on, and so answers pings.
    while server.metric("dormouse_connections").await > 1 {
        offset = client.publish(object, 1).await.offset;
        client.events_until(object, offset).await;
    }
    let stalled = server.metric("dormouse_closes_total{code=\"stalled\"}").await;
    assert_eq!(stalled + server.metric(silent).await, 10);
    assert_eq!(client.publish(object, 1).await.offset, offset + 1);
}
