//! Promise 2 for an audience so large that it is written to in sweeps: what is gathered meanwhile has neither holes nor repeats,
//! whoever comes, goes or lags in the middle, and none of it stays behind.

use std::net::SocketAddr;

use dormouse_protocol::{ClientMessage, Encoding, Join, ServerMessage, Signal, Start};
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::client::{ENCODINGS, Payload};
use crate::raw::Raw;
use crate::server::TestServer;
use crate::support::PATIENCE;

const OBJECT: &str = "room/large";
/// Enough for sweeps on the one reactor of these tests, each of them three turns of its loop.
const MEMBERS: usize = 600;

async fn start() -> TestServer {
    TestServer::start(|config| config.reactors = 1).await
}

async fn raw_member(address: SocketAddr, encoding: Encoding) -> (Raw, u64) {
    let mut member = Raw::connect(address, encoding).await;
    let object = OBJECT.parse().unwrap();
    member.request(&ClientMessage::Join(Join::new(1, object, Start::Now))).await;
    let ServerMessage::Joined(joined) = member.message().await else { panic!("not joined") };
    assert!(matches!(member.message().await, ServerMessage::CaughtUp(_)));
    (member, joined.object)
}

/// More signals come in one piece than one turn of the loop takes, so that the last of them find a sweep under way. Nothing
/// else happens that would wake the loop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_during_a_sweep_follows_it() {
    const SIGNALS: usize = 20;
    // Both ends of every connection are here.
    rlimit::increase_nofile_limit(4 * MEMBERS as u64).unwrap();
    let server = start().await;
    let mut members = Vec::new();
    for index in 0..MEMBERS {
        members.push(raw_member(server.address, ENCODINGS[index % 2]).await);
    }
    let (mut sender, object) = members.pop().unwrap();
    let data = Payload::of(&"here").unwrap();
    let signal = ClientMessage::Signal(Signal { id: None, object, data, key: None });
    let signals = vec![signal; SIGNALS];
    let rounds = async {
        for _ in 0..10 {
            sender.requests(&signals).await;
            join_all(members.iter_mut().map(async |(member, _)| {
                for _ in 0..SIGNALS {
                    assert!(matches!(member.message().await, ServerMessage::Signals(_)));
                }
            }))
            .await;
            for _ in 0..SIGNALS {
                assert!(matches!(sender.message().await, ServerMessage::Signals(_)));
            }
        }
    };
    timeout(PATIENCE, rounds).await.expect("signals do not wait for something else to happen");
}
