//! Promise 2 for an audience so large that it is written to in sweeps: what is gathered meanwhile has neither holes nor repeats,
//! whoever comes, goes or lags in the middle, and none of it stays behind.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dormouse_protocol::{
    ClientMessage, CloseCode, Encoding, Event, Join, ServerMessage, Signal, Start,
};
use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::{self, Client, Closed, ENCODINGS, Payload, after, number};
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

const PUBLISHERS: u64 = 4;
const EVENTS: u64 = 250;

/// Publishes numbers as fast as it may, with a signal now and then.
async fn publish(mut publisher: Client, object: u64, numbers: std::ops::Range<u64>) {
    for ten in numbers.step_by(10) {
        publisher.publish_all(object, ten..ten + 10).await;
        publisher.signal(object, ten, None).await;
    }
}

/// Takes the whole stream and tells the numbers in it.
async fn observe(mut member: Client, object: u64) -> Vec<u64> {
    let events = member.events_until(object, PUBLISHERS * EVENTS).await;
    let mut signals: Vec<(String, u64)> = Vec::new();
    for message in member.rest() {
        if let ServerMessage::Signals(more) = message {
            let numbers = more.signals.iter();
            signals
                .extend(numbers.map(|item| (item.sender.to_string(), item.data.read().unwrap())));
        }
    }
    // Some may be dropped; those of one sender stay in order.
    signals.sort_by(|(one, _), (other, _)| one.cmp(other));
    assert!(signals.is_sorted(), "{signals:?}");
    events.iter().map(number).collect()
}

/// Comes and goes while the others are written to, and is given the whole stream all the same, in pieces.
async fn come_and_go(address: SocketAddr, encoding: Encoding, over: Arc<AtomicBool>) -> Vec<u64> {
    let mut client = Client::connect(address, encoding).await;
    let (mut start, mut numbers) = (Start::All, Vec::new());
    let end = PUBLISHERS * EVENTS;
    while (numbers.len() as u64) < end {
        let joined = client.join(OBJECT, start).await;
        let (object, before) = (joined.object, numbers.len() as u64);
        assert_eq!((joined.from, joined.reset), (before, None));
        let wanted = (before + 17).min(end);
        // Live too, where there is something to come.
        if !over.load(Ordering::Relaxed) {
            numbers.extend(client.caught_up(object).await.iter().map(number));
        }
        if (numbers.len() as u64) < wanted {
            numbers.extend(client.events_until(object, wanted).await.iter().map(number));
        }
        if wanted % 2 == 0 {
            client.leave(object).await;
        } else {
            client = Client::resume(address, encoding, client.token()).await;
        }
        // Taken from the wire before the end of the leave: it comes once more.
        client.rest();
        start = after(joined.epoch, numbers.len() as u64);
    }
    numbers
}

/// Outboxes are so small that members fall behind all the time, and those who come and go are the only ones who speak their
/// encoding: events are framed in it or not, as it happens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_sees_the_one_sequence() {
    for encoding in ENCODINGS {
        let server = TestServer::start(|config| {
            config.reactors = 1;
            config.limits.message_bytes = 1 << 10;
            config.limits.outbound_bytes = 1 << 10;
        })
        .await;
        let other = if encoding == Encoding::Json { Encoding::Msgpack } else { Encoding::Json };
        let mut members = JoinSet::new();
        for _ in 0..150 {
            let mut member = Client::connect(server.address, encoding).await;
            let object = member.join_now(OBJECT).await;
            members.spawn(observe(member, object));
        }
        let over = Arc::new(AtomicBool::new(false));
        let mut publishers = JoinSet::new();
        for index in 0..PUBLISHERS {
            let mut publisher = Client::connect(server.address, encoding).await;
            let object = publisher.join_now(OBJECT).await;
            publishers.spawn(publish(publisher, object, index * EVENTS..(index + 1) * EVENTS));
        }
        for _ in 0..6 {
            members.spawn(come_and_go(server.address, other, over.clone()));
        }
        publishers.join_all().await;
        over.store(true, Ordering::Relaxed);
        let sequences = members.join_all().await;
        assert_eq!(sequences[0].len() as u64, PUBLISHERS * EVENTS);
        for sequence in &sequences {
            assert_eq!(*sequence, sequences[0]);
        }
        assert!(server.metric("dormouse_members_fell_behind_total").await > 0);
    }
}

/// Publishes until the server stops. What was acknowledged: the offsets and the numbers.
async fn publish_on(mut publisher: Client, object: u64, first: u64) -> Vec<(u64, u64)> {
    const WINDOW: u64 = 16;
    let (base, mut acknowledged) = (publisher.id(), Vec::new());
    for turn in 0.. {
        let publish = client::publish(base + turn as u32, object, first + turn, None);
        if publisher.try_send(&publish).await.is_err() {
            return acknowledged;
        }
        let Some(oldest) = u64::checked_sub(turn, WINDOW) else { continue };
        let is_reply = |m: &ServerMessage| client::reply_id(m) == Some(base + oldest as u32);
        match publisher.try_find(is_reply).await {
            Ok(ServerMessage::Published(told)) => acknowledged.push((told.offset, first + oldest)),
            Ok(other) => panic!("{other:?}"),
            Err(_) => return acknowledged,
        }
    }
    unreachable!("the server stops")
}

/// Takes events until the server stops. What came, and the token to come back with.
async fn take_to_the_stop(mut member: Client, object: u64) -> (Vec<Event>, String) {
    let mut events: Vec<Event> = Vec::new();
    loop {
        match member.try_find(|message| matches!(message, ServerMessage::Events(_))).await {
            Ok(ServerMessage::Events(more)) => events.extend(more.events),
            Ok(other) => panic!("{other:?}"),
            Err(Closed(code)) => {
                assert_eq!(code, Some(CloseCode::GoingAway.number()));
                assert_eq!(events.len() as u64, member.position(object));
                return (events, member.token().to_owned());
            }
        }
    }
}

/// The server stops with events on their way to the disk, gathered, and half swept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_the_middle_loses_nothing() {
    let mut server = TestServer::start(|config| config.reactors = 1).await;
    let mut members = JoinSet::new();
    for index in 0..150 {
        let mut member = Client::connect(server.address, ENCODINGS[index % 2]).await;
        let object = member.join_now(OBJECT).await;
        members.spawn(take_to_the_stop(member, object));
    }
    let mut witness = Client::connect(server.address, Encoding::Json).await;
    let object = witness.join_now(OBJECT).await;
    let mut publishers = JoinSet::new();
    for index in 0..PUBLISHERS {
        let mut publisher = Client::connect(server.address, ENCODINGS[index as usize % 2]).await;
        publisher.join_now(OBJECT).await;
        publishers.spawn(publish_on(publisher, object, index << 32));
    }
    witness.events_until(object, 300).await;
    drop(witness);
    server.restart().await;

    let mut reader = Client::connect(server.address, Encoding::Msgpack).await;
    let joined = reader.join(OBJECT, Start::Now).await;
    let log = reader.whole_log(joined.object).await;
    let acknowledged = publishers.join_all().await.concat();
    assert!(acknowledged.len() >= 200);
    for (offset, told) in acknowledged {
        assert_eq!(number(&log[offset as usize - 1]), told);
    }
    for (mut events, token) in members.join_all().await {
        let mut member = Client::resume(server.address, Encoding::Json, &token).await;
        let joined = member.join(OBJECT, after(joined.epoch, events.len() as u64)).await;
        assert!(joined.resumed);
        events.extend(member.caught_up(joined.object).await);
        assert!(events == log, "a member was sent something else than the log");
    }
}
