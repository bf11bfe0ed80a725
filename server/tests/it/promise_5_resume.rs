//! Promise 5, resume without a seam: every event after a position once and in order, then `caught_up`, then live; or a
//! `reset` that says why not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use dormouse_protocol::{ClientMessage, Encoding, ErrorCode, ResetReason, ServerMessage, Start};
use tokio::task::JoinSet;

use crate::client::{Client, ENCODINGS, after, history, noise, number};
use crate::server::TestServer;

async fn server_with_events(object: &str, events: u64) -> TestServer {
    let server = TestServer::start(|_| {}).await;
    let mut client = Client::connect(server.address, Encoding::Msgpack).await;
    let object = client.join_now(object).await;
    client.publish_all(object, 1..=events).await;
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_start_begins_where_it_says() {
    let server = server_with_events("room/a", 50).await;
    let mut first = Client::connect(server.address, Encoding::Json).await;
    let epoch = first.join("room/a", Start::Now).await.epoch;
    for (start, from, resumed) in [
        (Start::Now, 50, false),
        (Start::All, 0, false),
        (Start::Last(0), 50, false),
        (Start::Last(10), 40, false),
        (Start::Last(50), 0, false),
        (Start::Last(u32::MAX), 0, false),
        (after(epoch, 0), 0, true),
        (after(epoch, 1), 1, true),
        (after(epoch, 49), 49, true),
        (after(epoch, 50), 50, true),
    ] {
        for encoding in ENCODINGS {
            let mut client = Client::connect(server.address, encoding).await;
            let joined = client.join("room/a", start).await;
            assert_eq!((joined.from, joined.head, joined.epoch), (from, 50, epoch), "{start:?}");
            assert_eq!((joined.resumed, joined.reset), (resumed, None), "{start:?}");
            let events = client.caught_up(joined.object).await;
            assert!(events.iter().map(number).eq(from + 1..=50), "{start:?}");
            client.nothing_more().await;
        }
    }
    assert_eq!(server.metric("dormouse_joins_total{outcome=\"resumed\"}").await, 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_position_of_a_silent_object_holds_over_a_restart() {
    let mut server = TestServer::start(|_| {}).await;
    let mut client = Client::connect(server.address, Encoding::Msgpack).await;
    let silent = client.join("room/silent", Start::Now).await;
    assert_eq!((silent.head, silent.from), (0, 0));
    let object = client.join_now("room/once").await;
    client.publish(object, 1).await;
    let once = client.join("room/rest", Start::Now).await;
    client.publish(once.object, 1).await;
    drop(client);
    server.restart().await;

    let mut client = Client::connect(server.address, Encoding::Json).await;
    let again = client.join("room/silent", after(silent.epoch, 0)).await;
    assert_eq!((again.resumed, again.reset, again.from), (true, None, 0));
    client.caught_up(again.object).await;
    assert_eq!(client.publish(again.object, 5).await.offset, 1);
    assert_eq!(client.events_until(again.object, 1).await.len(), 1);
    let again = client.join("room/rest", after(once.epoch, 1)).await;
    assert_eq!((again.resumed, again.reset, again.from), (true, None, 1));
    client.caught_up(again.object).await;
    client.nothing_more().await;
}

/// A position of nothing is good in any incarnation; all others only in their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_that_can_not_be_continued_says_why() {
    let server = server_with_events("room/a", 20).await;
    let mut first = Client::connect(server.address, Encoding::Json).await;
    let epoch = first.join("room/a", Start::Now).await.epoch;
    let other = epoch.wrapping_add(1);
    for (start, reset) in [
        (after(epoch, 21), Some(ResetReason::Ahead)),
        (after(epoch, 1 << 52), Some(ResetReason::Ahead)),
        (after(other, 1), Some(ResetReason::OtherEpoch)),
        (after(other, 20), Some(ResetReason::OtherEpoch)),
        (after(other, 1 << 52), Some(ResetReason::OtherEpoch)),
        (after(other, 0), None),
    ] {
        for encoding in ENCODINGS {
            let mut client = Client::connect(server.address, encoding).await;
            let joined = client.join("room/a", start).await;
            assert_eq!((joined.reset, joined.resumed), (reset, reset.is_none()), "{start:?}");
            assert_eq!((joined.from, joined.head, joined.epoch), (0, 20, epoch));
            let events = client.caught_up(joined.object).await;
            assert!(events.iter().map(number).eq(1..=20), "the whole log follows");
            client.nothing_more().await;
        }
    }
    // A position ahead of an object that has nothing.
    let joined = first.join("room/empty", after(1, 5)).await;
    assert!(joined.reset.is_some());
    assert_eq!((joined.from, joined.head), (0, 0));
    assert!(first.caught_up(joined.object).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trimmed_position_is_reset_to_what_is_kept() {
    let mut server = TestServer::start(|config| {
        config.classes.room.retention.max_events = 10;
        // Has the log swept every second.
        config.classes.room.retention.max_age = Duration::from_secs(10);
    })
    .await;
    let mut client = Client::connect(server.address, Encoding::Msgpack).await;
    let joined = client.join("room/a", Start::Now).await;
    let (object, epoch) = (joined.object, joined.epoch);
    client.publish_all(object, 1..=40_u64).await;
    server.metric_is("dormouse_log_trimmed_events_total", |trimmed| trimmed == 30).await;
    for encoding in ENCODINGS {
        for (start, from, reset) in [
            (after(epoch, 0), 30, Some(ResetReason::Trimmed)),
            (after(epoch, 29), 30, Some(ResetReason::Trimmed)),
            (after(epoch, 30), 30, None),
            (after(epoch, 39), 39, None),
            (after(epoch, 41), 30, Some(ResetReason::Ahead)),
            (after(epoch.wrapping_add(1), 35), 30, Some(ResetReason::OtherEpoch)),
            (Start::All, 30, None),
            (Start::Last(20), 30, None),
            (Start::Last(5), 35, None),
        ] {
            let mut client = Client::connect(server.address, encoding).await;
            let joined = client.join("room/a", start).await;
            assert_eq!((joined.from, joined.reset), (from, reset), "{start:?}");
            assert_eq!(joined.head, 40);
            let events = client.caught_up(joined.object).await;
            assert!(events.iter().map(number).eq(from + 1..=40), "{start:?}");
            client.nothing_more().await;
        }
        let mut client = Client::connect(server.address, encoding).await;
        let object = client.join("room/a", Start::Now).await.object;
        let log = client.whole_log(object).await;
        assert!(log.iter().map(number).eq(31..=40));
        server.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_events_come_in_pages() {
    let server = server_with_events("room/a", 4_000).await;
    for encoding in ENCODINGS {
        let mut client = Client::connect(server.address, encoding).await;
        let object = client.join("room/a", Start::All).await.object;
        let mut messages = 0;
        loop {
            match client.next_of(object).await {
                ServerMessage::Events(_) => messages += 1,
                ServerMessage::CaughtUp(caught_up) => break assert_eq!(caught_up.offset, 4_000),
                other => panic!("{other:?}"),
            }
        }
        assert!((2..=1_000).contains(&messages), "{messages} messages");
        client.nothing_more().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_pages_meet_in_both_directions() {
    let server = server_with_events("room/a", 2_500).await;
    let mut client = Client::connect(server.address, Encoding::Json).await;
    let object = client.join_now("room/a").await;
    let log = client.whole_log(object).await;
    assert!(log.iter().map(number).eq(1..=2_500));
    let mut backwards = Vec::new();
    loop {
        let before = backwards.last().copied();
        let mut request = history(object, None, before);
        request.reverse = true;
        let page = client.history(request).await;
        backwards.extend(page.events.iter().map(number));
        if !page.more {
            break;
        }
    }
    assert!(backwards.into_iter().eq((1..=2_500).rev()));
    for (from, to, limit, reverse, events, more) in [
        (Some(10), Some(14), None, false, vec![11, 12, 13], false),
        (Some(10), Some(14), Some(2), false, vec![11, 12], true),
        (Some(10), Some(14), Some(2), true, vec![13, 12], true),
        (Some(10), Some(14), Some(3), true, vec![13, 12, 11], false),
        (Some(10), Some(11), None, false, vec![], false),
        (Some(14), Some(10), None, false, vec![], false),
        (Some(2_499), None, Some(5), false, vec![2_500], false),
        (Some(2_500), None, None, false, vec![], false),
        (Some(u64::MAX >> 11), None, None, true, vec![], false),
        (None, Some(0), None, true, vec![], false),
        (None, Some(3), None, true, vec![2, 1], false),
    ] {
        let mut request = history(object, from, to);
        (request.limit, request.reverse) = (limit, reverse);
        let page = client.history(request.clone()).await;
        let numbers: Vec<u64> = page.events.iter().map(number).collect();
        assert_eq!((numbers, page.more), (events, more), "{request:?}");
    }
    // A page of nothing that says there is more would be asked for for ever.
    let mut request = history(object, None, None);
    (request.id, request.limit) = (client.id(), Some(0));
    let id = request.id;
    client.send(&ClientMessage::History(request)).await;
    assert_eq!(client.refusal(id).await.code, ErrorCode::BadRequest);
}

/// Publishes until it is told to stop.
async fn publish_on(address: SocketAddr, encoding: Encoding, stop: Arc<AtomicBool>) -> u64 {
    let mut client = Client::connect(address, encoding).await;
    let object = client.join_now("room/seam").await;
    let mut last = 0;
    let text = noise(300);
    while !stop.load(Relaxed) {
        let mut ids = Vec::new();
        for _ in 0..8 {
            ids.push(client.send_publish(object, &text, None).await);
        }
        for id in ids {
            last = client.published(id).await.offset;
        }
        client.rest();
    }
    last
}

/// Joins while events flow, and takes the stream until some have come live. The client checks the offsets.
async fn join_in_the_flow(address: SocketAddr, encoding: Encoding, start: Start) {
    let mut client = Client::connect(address, encoding).await;
    let joined = client.join("room/seam", start).await;
    let from = match start {
        Start::Now => joined.head,
        Start::All => 0,
        Start::Last(count) => joined.head.saturating_sub(count.into()),
        Start::After(position) => position.offset,
    };
    assert_eq!(joined.from, from, "{start:?}");
    let (mut position, mut caught_up) = (from, 0);
    let mut live = 0;
    while live < 20 {
        match client.next_of(joined.object).await {
            ServerMessage::Events(events) => {
                assert_eq!(events.events[0].offset, position + 1);
                position += events.events.len() as u64;
                live += caught_up * events.events.len();
            }
            ServerMessage::CaughtUp(told) => {
                assert!(told.offset >= joined.head && told.offset == position, "{start:?}");
                caught_up += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(caught_up, 1, "{start:?}");
    client.leave(joined.object).await;
    client.rest();
    client.nothing_more().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_no_seam_under_load() {
    let server = TestServer::start(|_| {}).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut publishers = JoinSet::new();
    for index in 0..4 {
        publishers.spawn(publish_on(server.address, ENCODINGS[index % 2], stop.clone()));
    }
    let mut first = Client::connect(server.address, Encoding::Msgpack).await;
    let joined = first.join("room/seam", Start::All).await;
    let epoch = joined.epoch;
    let mut joins = JoinSet::new();
    for round in 0..12_u64 {
        first.events_until(joined.object, 100 * (round + 1)).await;
        let starts =
            [Start::Now, Start::All, Start::Last(70), after(epoch, 1), after(epoch, 90 * round)];
        for (index, start) in starts.into_iter().enumerate() {
            let encoding = ENCODINGS[(round as usize + index) % 2];
            joins.spawn(join_in_the_flow(server.address, encoding, start));
        }
    }
    joins.join_all().await;
    stop.store(true, Relaxed);
    let last = publishers.join_all().await.into_iter().max().unwrap();
    let position = first.position(joined.object);
    if position < last {
        first.events_until(joined.object, last).await;
    }
}

/// The object's number, by which signals name it, is known from the reply to the join.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_do_not_come_before_joined() {
    let server = TestServer::start(|_| {}).await;
    let mut sender = Client::connect(server.address, Encoding::Json).await;
    let object = sender.join_now("room/seam").await;
    for _ in 0..20 {
        sender.publish(object, noise(5_000)).await;
    }
    for _ in 0..40 {
        let mut joiner = Client::connect(server.address, Encoding::Msgpack).await;
        joiner.send_join("room/seam", Start::All).await;
        for number in 0..20_u64 {
            sender.signal(object, number, None).await;
        }
        // Its client fails at a signal of an object that it has not joined.
        joiner.find(|message| matches!(message, ServerMessage::CaughtUp(_))).await;
        sender.ping().await;
        sender.rest();
    }
}

/// Joins with everything, again and again, until there are so many events. A hole is one that a reset tells of.
async fn read_what_is_kept(address: SocketAddr, encoding: Encoding, until: u64) {
    let mut client = Client::connect(address, encoding).await;
    let mut position = 0;
    while position < until {
        let joined = client.join("room/crowd", Start::All).await;
        position = joined.from;
        loop {
            match client.next_of(joined.object).await {
                ServerMessage::Events(events) => {
                    for event in &events.events {
                        position += 1;
                        assert_eq!((event.offset, number(event)), (position, position - 1));
                    }
                }
                ServerMessage::Reset(reset) => {
                    assert_eq!((reset.reason, reset.epoch), (ResetReason::Trimmed, joined.epoch));
                    assert!(reset.from > position);
                    position = reset.from;
                }
                ServerMessage::CaughtUp(told) => break assert_eq!(told.offset, position),
                other => panic!("{other:?}"),
            }
        }
        assert!(position >= joined.head);
        client.leave(joined.object).await;
        // Taken from the wire before the end of the leave, so it may be events.
        client.rest();
    }
}

/// Many read the same pages, which are read once for all of them, while the log grows at one end and is trimmed at the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_reads_a_log_in_motion_misses_nothing_unseen() {
    const KEPT: u64 = 700;
    const EVENTS: u64 = 8_000;
    let server = TestServer::start(|config| {
        config.classes.room.retention.max_events = KEPT;
        // Has the log swept ten times a second.
        config.classes.room.retention.max_age = Duration::from_secs(1);
    })
    .await;
    let mut publisher = Client::connect(server.address, Encoding::Msgpack).await;
    let object = publisher.join_now("room/crowd").await;
    let mut readers = JoinSet::new();
    for index in 0..16 {
        readers.spawn(read_what_is_kept(server.address, ENCODINGS[index % 2], EVENTS));
    }
    for first in (0..EVENTS).step_by(100) {
        publisher.publish_all(object, first..first + 100).await;
        publisher.rest();
    }
    readers.join_all().await;
    assert!(server.metric("dormouse_log_trimmed_events_total").await > 0);
}
