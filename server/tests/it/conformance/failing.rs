//! Instances that fail: whoever asked is told, sockets stay, and the next message finds a new instance.

use std::sync::atomic::Ordering::SeqCst;

use dormouse_protocol::{Encoding, ErrorCode, ServerMessage};

use super::{Diary, Hook, NEVER, count, crash, join, put_to_sleep, say, start, start_with};
use crate::client::{ENCODINGS, number, reply_id};

const FAILURES: &str = "dormouse_object_failures_total";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c36_a_wake_that_fails_is_answered_and_the_next_one_works() {
    const WAITING: usize = 5;
    let diary = Diary::new();
    let server = start(&diary).await;
    let (mut client, object) = join(&server, Encoding::Json, "test/a").await;
    diary.bad_wakes.store(2, SeqCst);
    let id = say(&mut client, object, "count").await;
    assert_eq!(client.refusal(id).await.code, ErrorCode::Internal);
    assert_eq!(diary.read(), [Hook::Made, Hook::Wake, Hook::Gone]);
    server.object_is("test/a", "asleep").await;

    // All that wait for it are answered.
    diary.wakes.shut();
    let mut ids = Vec::new();
    for _ in 0..WAITING {
        ids.push(say(&mut client, object, "count").await);
    }
    client.ping().await;
    diary.wakes.open();
    for id in ids {
        assert_eq!(client.refusal(id).await.code, ErrorCode::Internal);
    }
    assert_eq!(diary.read(), [Hook::Made, Hook::Wake, Hook::Gone]);
    assert_eq!(server.metric("dormouse_object_sleeps_total{reason=\"failed\"}").await, 2);
    assert_eq!(server.metric(FAILURES).await, 2);
    assert_eq!(count(&mut client, object).await, 1);
    client.nothing_more().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c36_a_sleep_that_fails_is_a_sleep() {
    let diary = Diary::new();
    let server = start(&diary).await;
    let (mut client, object) = join(&server, Encoding::Json, "test/a").await;
    diary.bad_sleeps.store(1, SeqCst);
    for _ in 0..2 {
        assert_eq!(count(&mut client, object).await, 1);
        put_to_sleep(&server, "test/a").await;
    }
    client.nothing_more().await;
    assert_eq!(server.metric(FAILURES).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c37_a_crash_leaves_the_sockets_of_all_members_open() {
    let diary = Diary::new();
    let server = start(&diary).await;
    let (mut client, object) = join(&server, Encoding::Json, "test/a").await;
    let mut members = Vec::new();
    for index in 0..5 {
        members.push(join(&server, ENCODINGS[index % 2], "test/a").await.0);
    }
    for round in 1..=3 {
        assert_eq!(count(&mut client, object).await, 1, "a new instance");
        crash(&server, "test/a").await;
        server.object_is("test/a", "asleep").await;
        assert_eq!(server.metric(FAILURES).await, round);
        assert_eq!(server.metric("dormouse_connections").await, 6);
        for member in &mut members {
            assert_eq!(member.events_until(object, round).await.len(), 1);
            member.nothing_more().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c42_what_a_busy_object_has_no_room_for_is_answered_and_nothing_is_dropped() {
    const SENT: u64 = 6;
    let diary = Diary::new();
    let server = start_with(&diary, NEVER, |config| config.limits.mailbox = 2).await;
    let (mut client, object) = join(&server, Encoding::Json, "test/a").await;
    diary.wakes.shut();
    let mut ids = Vec::new();
    for number in 1..=SENT {
        ids.push(client.send_publish(object, number, None).await);
    }
    // Two wait for the wake, the third for room until its time is over; the others wait in the socket.
    assert_eq!(client.refusal(ids[2]).await.code, ErrorCode::Overloaded);
    diary.wakes.open();
    let mut stored = Vec::new();
    for (id, number) in ids.iter().zip(1..).filter(|(id, _)| **id != ids[2]) {
        match client.find(|message| reply_id(message) == Some(*id)).await {
            ServerMessage::Published(published) => stored.push((published.offset, number)),
            other => panic!("{other:?}"),
        }
    }
    let events = client.events_until(object, SENT - 1).await;
    let seen: Vec<_> = events.iter().map(|event| (event.offset, number(event))).collect();
    assert_eq!(seen, stored);
    assert_eq!(stored, [(1, 1), (2, 2), (3, 4), (4, 5), (5, 6)]);
    client.nothing_more().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c42_what_the_class_forgets_is_answered() {
    let diary = Diary::new();
    let server = start(&diary).await;
    let (mut client, object) = join(&server, Encoding::Msgpack, "test/a").await;
    let id = say(&mut client, object, "drop").await;
    assert_eq!(client.refusal(id).await.code, ErrorCode::Internal);
    assert_eq!(count(&mut client, object).await, 2, "the instance is the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c44_after_a_crash_the_next_message_finds_a_new_instance() {
    let diary = Diary::new();
    let server = start(&diary).await;
    let (mut client, object) = join(&server, Encoding::Json, "test/a").await;
    let (mut witness, _) = join(&server, Encoding::Msgpack, "test/a").await;
    for round in 1..=3 {
        assert_eq!(count(&mut client, object).await, 1);
        let fatal = say(&mut client, object, "panic").await;
        let waiting = say(&mut client, object, "count").await;
        assert_eq!(client.refusal(fatal).await.code, ErrorCode::Internal);
        // One that came with the fatal one may have shared its fate; it is told.
        let offset = match client.reply(waiting).await {
            ServerMessage::Published(published) => published.offset,
            ServerMessage::Error(error) => {
                assert_eq!(error.code, ErrorCode::Internal);
                0
            }
            other => panic!("{other:?}"),
        };
        if offset > 0 {
            assert_eq!(number(client.events_until(object, offset).await.last().unwrap()), 1);
        }
        put_to_sleep(&server, "test/a").await;
        assert_eq!(server.metric(FAILURES).await, round);
    }
    let head = client.position(object);
    assert_eq!(witness.events_until(object, head).await.len() as u64, head);
    witness.nothing_more().await;
    client.nothing_more().await;
}
