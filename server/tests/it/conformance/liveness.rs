//! Pings, and who is still there: none of it is the object's business.

use std::time::Duration;

use dormouse::config::Config;
use dormouse_protocol::{ClientMessage, Encoding, Ping, ServerMessage};
use serde_json::json;

use super::{Diary, Hook, NEVER, count, join, put_to_sleep, start, start_with};
use crate::checked_client::{arrive, watcher};
use crate::client::{ENCODINGS, publish, reply_id};
use crate::raw::{BINARY, PING, PONG, Raw, frame};
use crate::server::TestServer;

/// The longest time for which a dead peer can be listed is the sum of these.
fn impatient(config: &mut Config) {
    config.liveness.ping_interval = Duration::from_millis(500);
    config.liveness.pong_timeout = Duration::from_millis(1_500);
    config.presence.interval = Duration::from_millis(10);
    config.presence.grace = Duration::from_mins(5);
}

/// `test/a` gets one event of somebody who goes, and sleeps again.
async fn wake_once(server: &TestServer, diary: &Diary) {
    let (mut client, object) = join(server, Encoding::Json, "test/a").await;
    assert_eq!(count(&mut client, object).await, 1);
    drop(client);
    put_to_sleep(server, "test/a").await;
    diary.read();
}

/// It has not been woken since.
async fn sleeps_still(server: &TestServer, diary: &Diary) {
    let asleep = server.object("test/a").await;
    assert_eq!((&asleep["state"], &asleep["wakes"]), (&json!("asleep"), &json!(1)));
    assert_eq!(diary.read(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c45_a_ping_is_answered_awake_and_asleep_without_the_object() {
    let diary = Diary::new();
    let server = start(&diary).await;
    for (encoding, name) in ENCODINGS.into_iter().zip(["test/a", "test/b"]) {
        let (mut client, object) = join(&server, encoding, name).await;
        client.ping().await;
        assert_eq!(diary.read(), [], "it never was awake");
        assert_eq!(count(&mut client, object).await, 1);
        assert_eq!(diary.read(), [Hook::Made, Hook::Wake, Hook::Message]);
        client.ping().await;
        assert_eq!(diary.read(), []);
        put_to_sleep(&server, name).await;
        assert_eq!(diary.read(), [Hook::Sleep, Hook::Gone]);
        client.ping().await;
        client.nothing_more().await;
        assert_eq!(diary.read(), []);
        assert_eq!(server.object(name).await["state"], "asleep");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c46_pings_among_publishes_are_all_answered() {
    const ROUNDS: u32 = 40;
    let diary = Diary::new();
    let server = start(&diary).await;
    for (encoding, name) in ENCODINGS.into_iter().zip(["test/a", "test/b"]) {
        let (mut client, object) = join(&server, encoding, name).await;
        for round in 0..ROUNDS {
            client.send(&publish(100 + 2 * round, object, round, None)).await;
            client.send(&ClientMessage::Ping(Ping { id: 101 + 2 * round })).await;
        }
        let mut replies = Vec::new();
        for _ in 0..2 * ROUNDS {
            replies.push(client.find(|message| reply_id(message).is_some()).await);
        }
        let ids = |wanted: fn(&ServerMessage) -> bool| {
            replies.iter().filter(move |reply| wanted(reply)).filter_map(reply_id)
        };
        let stored = ids(|reply| matches!(reply, ServerMessage::Published(_)));
        assert!(stored.eq((0..ROUNDS).map(|round| 100 + 2 * round)));
        let done = ids(|reply| matches!(reply, ServerMessage::Done(_)));
        assert!(done.eq((0..ROUNDS).map(|round| 101 + 2 * round)));
        assert_eq!(client.events_until(object, ROUNDS.into()).await.len(), ROUNDS as usize);
        client.nothing_more().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c50_a_protocol_ping_is_answered_while_the_object_sleeps() {
    let diary = Diary::new();
    let server = start(&diary).await;
    let (mut client, object) = join(&server, Encoding::Json, "test/a").await;
    let mut raw = member(&server).await;
    assert_eq!(count(&mut client, object).await, 1);
    assert!(matches!(raw.message().await, ServerMessage::Events(_)));
    put_to_sleep(&server, "test/a").await;
    diary.read();
    for payload in [&b""[..], b"here", &[7; 125]] {
        raw.send(&frame(PING, payload)).await;
        assert_eq!(raw.frame().await, Some((PONG, payload.to_vec())));
    }
    sleeps_still(&server, &diary).await;
}

/// A member of `test/a`.
async fn member(server: &TestServer) -> Raw {
    let mut raw = Raw::connect(server.address, Encoding::Msgpack).await;
    let join = crate::checked_client::enter("test/a", dormouse_protocol::Watch::None);
    raw.request(&ClientMessage::Join(join)).await;
    assert!(matches!(raw.message().await, ServerMessage::Joined(_)));
    assert!(matches!(raw.message().await, ServerMessage::CaughtUp(_)));
    raw
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c51_a_heartbeat_keeps_a_member_in_the_roster_without_a_wake() {
    let diary = Diary::new();
    let server = start_with(&diary, NEVER, impatient).await;
    let (mut watcher, object) = watcher(&server, "test/a").await;
    wake_once(&server, &diary).await;
    let (heart, _) = arrive(&server, "test/a", "heart").await;
    let (_mute, _) = arrive(&server, "test/a", "mute").await;
    let mut heart = heart.raw;
    // It answers no ping of the server: its own messages are its signs of life.
    let beat = async {
        let beat = Encoding::Msgpack.encode_client(&ClientMessage::Ping(Ping { id: 9 }));
        loop {
            heart.send(&frame(BINARY, &beat)).await;
            while !matches!(heart.frame().await, Some((BINARY, _))) {}
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let seen = async {
        watcher.until_names(object, &["heart", "mute"]).await;
        // The mute one was heard last after the other had begun.
        watcher.until_names(object, &["heart"]).await;
    };
    tokio::select! {
        () = beat => {}
        () = seen => {}
    }
    assert_eq!(server.metric("dormouse_closes_total{code=\"ping_timeout\"}").await, 1);
    sleeps_still(&server, &diary).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c52_a_peer_that_is_gone_without_a_word_leaves_in_time_without_a_wake() {
    let diary = Diary::new();
    let server = start_with(&diary, NEVER, impatient).await;
    let (mut watcher, object) = watcher(&server, "test/a").await;
    wake_once(&server, &diary).await;
    // Its system takes what it is sent, and nobody reads or answers.
    let (_dead, joined) = arrive(&server, "test/a", "dead").await;
    watcher.until_names(object, &["dead"]).await;
    watcher.until_names(object, &[]).await;
    let gone = &watcher.sight(object).told.last().unwrap().leave;
    assert_eq!((gone.len(), gone[0].member), (1, joined.member));
    // The grace period is for those who may come back.
    assert_eq!(server.metric("dormouse_presence_lost_total").await, 0);
    sleeps_still(&server, &diary).await;
    assert_eq!(server.object("test/a").await["members"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c53_idle_sockets_of_a_sleeping_object_are_pinged() {
    let diary = Diary::new();
    let server = start_with(&diary, NEVER, impatient).await;
    let mut raw = member(&server).await;
    wake_once(&server, &diary).await;
    assert!(matches!(raw.message().await, ServerMessage::Events(_)));
    for _ in 0..2 {
        assert_eq!(raw.frame().await, Some((PING, Vec::new())));
        raw.send(&frame(PONG, b"")).await;
    }
    sleeps_still(&server, &diary).await;
    assert_eq!(server.metric("dormouse_connections").await, 1);
}
