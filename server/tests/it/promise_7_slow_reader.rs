//! Promise 7, a slow reader hurts nobody: it falls back to the log and rejoins live; nobody else waits for it.

use std::collections::HashMap;
use std::time::Duration;

use dormouse::config::Config;
use dormouse_protocol::{
    ClientMessage, Encoding, Event, Join, Joined, Leave, Ping, ResetReason, ServerMessage,
    SignalItem, Start,
};

use crate::client::{Client, ENCODINGS, noise};
use crate::raw::{BINARY, CLOSE, PING, PONG, Raw, TEXT, closed_with, frame};
use crate::server::TestServer;

const EVENTS: u64 = 250;
/// Altogether much more than the kernel takes for a socket that nobody reads.
const EVENT_CHARS: usize = 40_000;

fn narrow(config: &mut Config) {
    config.limits.outbound_bytes = 64 << 10;
}

async fn join(raw: &mut Raw, object: &str) -> Joined {
    let object = object.parse().unwrap();
    raw.request(&ClientMessage::Join(Join::new(1, object, Start::Now))).await;
    let ServerMessage::Joined(joined) = raw.message().await else { panic!("not joined") };
    assert!(matches!(raw.message().await, ServerMessage::CaughtUp(_)));
    joined
}

/// Publishes so much that a member that reads nothing falls behind, while another gets everything.
async fn flood(server: &TestServer, object: &str) -> Client {
    let mut witness = Client::connect(server.address, Encoding::Msgpack).await;
    let object = witness.join_now(object).await;
    let mut publisher = Client::connect(server.address, Encoding::Json).await;
    publisher.join_now("room/slow").await;
    let text = noise(EVENT_CHARS);
    let publish = async {
        for _ in 0..EVENTS {
            publisher.publish(object, &text).await;
            publisher.rest();
        }
    };
    let (events, ()) = tokio::join!(witness.events_until(object, EVENTS), publish);
    assert_eq!(events.len() as u64, EVENTS);
    assert!(server.metric("dormouse_members_fell_behind_total").await >= 1);
    witness
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_reads_everything_later_and_is_live_again() {
    let server = TestServer::start(narrow).await;
    for encoding in ENCODINGS {
        let object = format!("room/slow-{encoding:?}");
        let mut slow = Raw::narrow(server.address, encoding).await;
        let joined = join(&mut slow, &object).await;
        let mut publisher = Client::connect(server.address, Encoding::Json).await;
        publisher.join_now(&object).await;
        let text = noise(EVENT_CHARS);
        for _ in 0..EVENTS {
            publisher.publish(joined.object, &text).await;
        }
        assert!(server.metric("dormouse_members_fell_behind_total").await >= 1);
        server.metric_is("dormouse_queued_bytes", |bytes| bytes > 0).await;
        assert!(server.metric("dormouse_audiences").await >= 1);
        assert!(server.metric("dormouse_tasks").await >= 1);
        let (mut position, mut caught_up) = (0, 0);
        while caught_up < EVENTS {
            match slow.message().await {
                ServerMessage::Events(events) => take(&mut position, &events.events),
                ServerMessage::CaughtUp(told) => {
                    assert_eq!(told.offset, position);
                    caught_up = position;
                }
                other => panic!("{other:?}"),
            }
        }
        publisher.publish(joined.object, "live").await;
        let ServerMessage::Events(events) = slow.message().await else { panic!("not live") };
        take(&mut position, &events.events);
        assert_eq!(position, EVENTS + 1);
        drop((slow, publisher));
        for gauge in ["dormouse_queued_bytes", "dormouse_recent_bytes", "dormouse_audiences"] {
            server.metric_is(gauge, |left| left == 0).await;
        }
    }
}

fn take(position: &mut u64, events: &[Event]) {
    for event in events {
        assert_eq!(event.offset, *position + 1);
        *position = event.offset;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_get_everything_meanwhile() {
    let server = TestServer::start(narrow).await;
    let mut slow = Vec::new();
    for encoding in ENCODINGS {
        let mut raw = Raw::narrow(server.address, encoding).await;
        join(&mut raw, "room/slow").await;
        slow.push(raw);
    }
    let mut witness = flood(&server, "room/slow").await;
    witness.ping().await;
    // What waits for them is bounded, and they are connected still.
    server.metric_is("dormouse_members", |members| members == 2 + 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_comes_where_retention_overtakes_it() {
    let server = TestServer::start(|config| {
        narrow(config);
        config.classes.room.retention.max_events = 20;
        // Has the log swept every second.
        config.classes.room.retention.max_age = Duration::from_secs(10);
    })
    .await;
    let mut slow = Raw::narrow(server.address, Encoding::Msgpack).await;
    let joined = join(&mut slow, "room/slow").await;
    flood(&server, "room/slow").await;
    server.metric_is("dormouse_log_trimmed_events_total", |count| count == EVENTS - 20).await;
    let (mut position, mut resets) = (0, 0);
    loop {
        match slow.message().await {
            ServerMessage::Events(events) => take(&mut position, &events.events),
            ServerMessage::Reset(reset) => {
                assert_eq!((reset.reason, reset.epoch), (ResetReason::Trimmed, joined.epoch));
                assert!(reset.from > position);
                position = reset.from;
                resets += 1;
            }
            ServerMessage::CaughtUp(caught_up) => {
                assert_eq!(caught_up.offset, position);
                if position == EVENTS {
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(resets >= 1);
    assert_eq!(server.metric("dormouse_member_resets_total").await, resets);
}

/// The closing handshake waits its turn behind what was queued.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_comes_after_what_was_queued() {
    for code in [1000, 1003] {
        let mut server = TestServer::start(narrow).await;
        server.config.liveness.close_timeout = Duration::from_secs(20);
        server.restart().await;
        let mut slow = Raw::narrow(server.address, Encoding::Msgpack).await;
        join(&mut slow, "room/slow").await;
        let mut publisher = Client::connect(server.address, Encoding::Json).await;
        let object = publisher.join_now("room/slow").await;
        let text = noise(EVENT_CHARS);
        while server.metric("dormouse_members_fell_behind_total").await == 0 {
            publisher.publish(object, &text).await;
            publisher.rest();
        }
        slow.send(&if code == 1000 { frame(CLOSE, b"\x03\xE8") } else { frame(TEXT, b"{}") }).await;
        let mut position = 0;
        loop {
            match slow.frame().await.expect("a close frame ends the connection") {
                (BINARY, payload) => match Encoding::Msgpack.decode_server(&payload).unwrap() {
                    ServerMessage::Events(events) => take(&mut position, &events.events),
                    ServerMessage::CaughtUp(_) => {}
                    other => panic!("{other:?}"),
                },
                (CLOSE, payload) => break assert_eq!(closed_with(&payload), code),
                other => panic!("{other:?}"),
            }
        }
        assert!(position > 0);
    }
}

fn signals(items: Vec<SignalItem>, newest: &mut HashMap<String, u64>, unkeyed: &mut Vec<u64>) {
    for item in items {
        let (number, _): (u64, String) = item.data.read().unwrap();
        match item.key {
            Some(key) => {
                let before = newest.insert(key.to_string(), number);
                assert!(before.is_none_or(|before| before < number), "{key}: {number} goes back");
            }
            None => unkeyed.push(number),
        }
    }
}

/// A ping waits behind all else that a slow reader has not read yet, so it can't be what it is judged by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_not_taken_for_dead() {
    let server = TestServer::start(|config| {
        narrow(config);
        // Until the flood begins it is mute, and would be dead in earnest after both of them.
        config.liveness.ping_interval = Duration::from_millis(700);
        config.liveness.pong_timeout = Duration::from_millis(1_500);
    })
    .await;
    let mut slow = Raw::narrow(server.address, Encoding::Msgpack).await;
    join(&mut slow, "room/slow").await;
    drop(flood(&server, "room/slow").await);
    // Meanwhile somebody else is pinged several times over.
    let mut idle = Raw::connect(server.address, Encoding::Msgpack).await;
    for _ in 0..4 {
        assert_eq!(idle.frame().await, Some((PING, Vec::new())));
        idle.send(&frame(PONG, b"")).await;
    }
    let mut position = 0;
    while position < EVENTS {
        if let ServerMessage::Events(events) = slow.message().await {
            take(&mut position, &events.events);
        }
    }
    assert_eq!(server.metric("dormouse_closes_total{code=\"ping_timeout\"}").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_closed_when_it_takes_nothing_for_too_long() {
    let server = TestServer::start(|config| {
        narrow(config);
        // Until the flood begins it is mute, and would be dead in earnest after both of them.
        config.liveness.ping_interval = Duration::from_millis(700);
        config.liveness.pong_timeout = Duration::from_millis(1_500);
        config.liveness.stall_timeout = Duration::from_millis(400);
    })
    .await;
    let mut slow = Raw::narrow(server.address, Encoding::Msgpack).await;
    join(&mut slow, "room/slow").await;
    drop(flood(&server, "room/slow").await);
    server.metric_is("dormouse_closes_total{code=\"stalled\"}", |closes| closes == 1).await;
    server.metric_is("dormouse_members", |members| members == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_to_it_are_conflated_or_dropped() {
    const KEYS: [&str; 3] = ["ann", "bob", "cat"];
    const SIGNALS: u64 = 1_800;
    let server = TestServer::start(|config| {
        narrow(config);
        config.limits.signals = 2;
    })
    .await;
    let mut slow = Raw::narrow(server.address, Encoding::Msgpack).await;
    join(&mut slow, "room/slow").await;
    let mut sender = Client::connect(server.address, Encoding::Json).await;
    let object = sender.join_now("room/slow").await;
    // Two of them are within the bound in bytes, too.
    let text = noise(EVENT_CHARS / 2);
    for number in 0..SIGNALS {
        let key = KEYS.get(number as usize % 4).copied();
        sender.signal(object, (number, &text), key).await;
        if number % 20 == 0 {
            // Its own signals arrive, so that it is not the one that is slow.
            sender.ping().await;
            sender.rest();
        }
    }
    sender.ping().await;
    let metric = async |name: &str| server.metric(&format!("dormouse_signals_{name}_total")).await;
    let (dropped, conflated) = (metric("dropped").await, metric("conflated").await);
    assert!(dropped > 0 && conflated > 0, "{dropped} dropped, {conflated} conflated");

    // The reply to a second request comes after all that was queued, and after what was kept.
    let (mut newest, mut unkeyed) = (HashMap::new(), Vec::new());
    for id in [8, 9] {
        slow.request(&ClientMessage::Ping(Ping { id })).await;
        loop {
            match slow.message().await {
                ServerMessage::Signals(more) => signals(more.signals, &mut newest, &mut unkeyed),
                ServerMessage::Done(done) => break assert_eq!(done.id, id),
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(unkeyed.is_sorted());
    let last = |index: u64| SIGNALS - 4 + index;
    let up_to_date =
        (0..3).filter(|index| newest.get(KEYS[*index as usize]) == Some(&last(*index)));
    assert!(up_to_date.count() >= 2, "{newest:?}");
    let all = metric("delivered").await + metric("dropped").await + metric("conflated").await;
    assert_eq!(all, 2 * SIGNALS, "every signal is accounted for, for each member");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_signals_do_not_follow_a_leave() {
    let server = TestServer::start(|_| {}).await;
    let mut slow = Raw::narrow(server.address, Encoding::Msgpack).await;
    let joined = join(&mut slow, "room/slow").await;
    let mut sender = Client::connect(server.address, Encoding::Msgpack).await;
    let object = sender.join_now("room/slow").await;
    let text = noise(20_000);
    let mut number = 0;
    while server.metric("dormouse_signals_conflated_total").await == 0 {
        sender.signal(object, (number, &text), Some("key")).await;
        number += 1;
        sender.ping().await;
        sender.rest();
    }
    slow.request(&ClientMessage::Leave(Leave { id: 9, object: joined.object })).await;
    server.metric_is("dormouse_members", |members| members == 1).await;
    let mut left = false;
    slow.request(&ClientMessage::Ping(Ping { id: 10 })).await;
    loop {
        match slow.message().await {
            ServerMessage::Signals(_) => assert!(!left, "a signal after the leave"),
            ServerMessage::Done(done) if done.id == 9 => left = true,
            ServerMessage::Done(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(left);
    // What was kept would have come with the next write.
    slow.request(&ClientMessage::Ping(Ping { id: 11 })).await;
    assert!(matches!(slow.message().await, ServerMessage::Done(_)));
}
