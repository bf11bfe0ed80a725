//! More connections than there is room for: promise 9.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{Client, bystander};
use crate::server::TestServer;
use crate::support::PATIENCE;
use dormouse_protocol::Encoding;

const PLACES: usize = 16;

/// With so many places, and patience.
async fn small_house() -> TestServer {
    TestServer::start(|config| {
        config.limits.http_connections = PLACES;
        config.limits.handshake_timeout = Duration::from_hours(1);
    })
    .await
}

/// Of four times as many as there are places, all but the last.
async fn most_are_pushed_out(server: &TestServer) {
    let cut = "dormouse_http_cut_total{reason=\"http_connections\"}";
    server.metric_is(cut, |cut| cut >= 3 * PLACES as u64).await;
}

/// Whoever fills the house with requests that don't end keeps nobody out: it only pushes out its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_handshakes_that_never_end_keep_nobody_out() {
    let server = small_house().await;
    let mut crowd = Vec::new();
    for _ in 0..4 * PLACES {
        let mut slow = TcpStream::connect(server.address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nHost: lo").await.unwrap();
        crowd.push(slow);
    }
    // A request of the usual kind, and connections.
    most_are_pushed_out(&server).await;
    bystander(server.address).await;
    let mut answer = String::new();
    let first = &mut crowd[0];
    timeout(PATIENCE, first.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\nretry-after: "), "{answer}");
    assert!(answer.contains("limits.http_connections"), "{answer}");
}

/// Connections that are silent from the beginning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_silent_connections_keep_nobody_out() {
    let server = small_house().await;
    let mut crowd = Vec::new();
    for _ in 0..4 * PLACES {
        crowd.push(TcpStream::connect(server.address).await.unwrap());
    }
    bystander(server.address).await;
    // They are only seen a second later: see `TCP_DEFER_ACCEPT` of tcp(7).
    most_are_pushed_out(&server).await;
    bystander(server.address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_bound_are_refused_and_those_inside_feel_nothing() {
    let server = TestServer::start(|config| config.limits.connections = 3).await;
    let mut inside = Client::connect(server.address, Encoding::Msgpack).await;
    let object = inside.join_now("room/a").await;
    let others = [
        Client::connect(server.address, Encoding::Json).await,
        Client::connect(server.address, Encoding::Json).await,
    ];
    for round in 1..=50 {
        assert!(Client::try_connect(server.address, Encoding::Json, None).await.is_err());
        assert_eq!(inside.publish(object, round).await.offset, round);
    }
    let refused = "dormouse_connections_refused_total{reason=\"connections\"}";
    assert_eq!(server.metric(refused).await, 50);
    drop(others);
    server.metric_is("dormouse_connections", |open| open == 1).await;
    bystander(server.address).await;
}
