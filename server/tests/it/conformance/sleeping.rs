//! When an object sleeps, and what keeps it from sleeping.

use std::time::{Duration, Instant};

use dormouse_protocol::Encoding;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{Diary, Hook, count, join, put_to_sleep, say, start, start_with};
use crate::client::{ENCODINGS, history, number};
use crate::support::PATIENCE;

const IDLE: &str = "dormouse_object_sleeps_total{reason=\"idle\"}";
const ASKED: &str = "dormouse_object_sleeps_total{reason=\"asked\"}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c17_an_idle_instance_goes_and_the_socket_and_the_log_stay() {
    let diary = Diary::new();
    let server = start_with(&diary, Duration::from_millis(20), |_| {}).await;
    for (encoding, name) in ENCODINGS.into_iter().zip(["test/a", "test/b"]) {
        let (mut client, object) = join(&server, encoding, name).await;
        // One instance has both: the second waits behind the first.
        diary.messages.shut();
        let ids =
            [say(&mut client, object, "count").await, say(&mut client, object, "count").await];
        client.ping().await;
        diary.messages.open();
        for (id, offset) in ids.into_iter().zip(1..) {
            assert_eq!(client.published(id).await.offset, offset);
        }
        server.object_is(name, "asleep").await;
        assert_eq!(
            diary.read(),
            [Hook::Made, Hook::Wake, Hook::Message, Hook::Message, Hook::Sleep, Hook::Gone]
        );
        assert_eq!(count(&mut client, object).await, 1, "its memory is gone");
        let log = client.history(history(object, None, None)).await.events;
        assert_eq!(log.iter().map(number).collect::<Vec<_>>(), [1, 2, 1]);
        server.object_is(name, "asleep").await;
        diary.read();
    }
    assert_eq!(server.metric(IDLE).await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c20_one_socket_sees_many_sleeps() {
    const SLEEPS: u64 = 50;
    let diary = Diary::new();
    let server = start(&diary).await;
    let (mut client, object) = join(&server, Encoding::Json, "test/a").await;
    for round in 1..=SLEEPS {
        assert_eq!(count(&mut client, object).await, 1);
        let asleep = put_to_sleep(&server, "test/a").await;
        assert_eq!((&asleep["wakes"], &asleep["members"]), (&json!(round), &json!(1)));
    }
    client.nothing_more().await;
    assert_eq!(server.metric(ASKED).await, SLEEPS);
    let hooks = diary.read();
    for life in hooks.chunks(5) {
        assert_eq!(life, [Hook::Made, Hook::Wake, Hook::Message, Hook::Sleep, Hook::Gone]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c21_a_running_handler_blocks_sleep_and_then_it_sleeps() {
    let diary = Diary::new();
    let server = start_with(&diary, Duration::from_millis(1), |_| {}).await;
    let (mut client, object) = join(&server, Encoding::Json, "test/a").await;
    diary.messages.shut();
    let id = say(&mut client, object, "count").await;
    diary.messages.entered(1).await;
    // Its time has come long since, and it is asked besides.
    let (status, answer) = server.ask("POST /v1/objects/test/a/sleep").await;
    assert_eq!((status, answer), (202, json!({ "state": "awake" })));
    assert_eq!(server.object("test/a").await["state"], "awake");
    assert_eq!(diary.read(), [Hook::Made, Hook::Wake, Hook::Message]);
    diary.messages.open();
    assert_eq!(client.published(id).await.offset, 1);
    server.object_is("test/a", "asleep").await;
    assert_eq!(diary.read(), [Hook::Sleep, Hook::Gone]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c21_a_commit_under_way_blocks_sleep_and_then_it_sleeps() {
    let diary = Diary::new();
    let server = start_with(&diary, Duration::from_millis(1), |_| {}).await;
    let (mut client, object) = join(&server, Encoding::Msgpack, "test/a").await;
    server.ask("POST /v1/log/delay?ms=10000").await;
    let id = say(&mut client, object, "count").await;
    server.object_is("test/a", "falling_asleep").await;
    let waiting = "dormouse_object_sleeps_refused_total{reason=\"commit\"}";
    server.metric_is(waiting, |count| count == 1).await;
    assert_eq!(diary.read(), [Hook::Made, Hook::Wake, Hook::Message]);
    assert_eq!(server.metric(IDLE).await, 0);
    server.ask("POST /v1/log/delay?ms=0").await;
    assert_eq!(client.published(id).await.offset, 1);
    server.object_is("test/a", "asleep").await;
    assert_eq!(diary.read(), [Hook::Sleep, Hook::Gone]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c22_a_message_begins_the_countdown_anew() {
    let diary = Diary::new();
    let server = start(&diary).await;
    let (mut client, object) = join(&server, Encoding::Json, "test/a").await;
    assert_eq!(count(&mut client, object).await, 1);
    let sleeps_at = async || server.object("test/a").await["sleeps_at"].as_u64().unwrap();
    let (first, since) = (sleeps_at().await, Instant::now());
    let mut messages = 1;
    while sleeps_at().await < first + 50 {
        assert!(since.elapsed() < PATIENCE, "the countdown goes on");
        messages += 1;
        assert_eq!(count(&mut client, object).await, messages);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c22_a_message_while_the_last_commit_is_awaited_finds_the_same_instance() {
    let diary = Diary::new();
    let server = start(&diary).await;
    let (mut client, object) = join(&server, Encoding::Json, "test/a").await;
    server.ask("POST /v1/log/delay?ms=10000").await;
    let first = say(&mut client, object, "count").await;
    diary.messages.entered(1).await;
    server.ask("POST /v1/objects/test/a/sleep").await;
    server.object_is("test/a", "falling_asleep").await;
    let second = say(&mut client, object, "count").await;
    diary.messages.entered(2).await;
    server.ask("POST /v1/log/delay?ms=0").await;
    for (id, offset) in [(first, 1), (second, 2)] {
        assert_eq!(client.published(id).await.offset, offset);
    }
    let events = client.events_until(object, 2).await;
    assert_eq!(events.iter().map(number).collect::<Vec<_>>(), [1, 2]);
    server.object_is("test/a", "asleep").await;
    let hooks = diary.read();
    assert_eq!(hooks.iter().filter(|hook| **hook == Hook::Made).count(), 1, "{hooks:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c23_an_object_that_two_come_to_at_once_sleeps_too() {
    const OBJECTS: usize = 20;
    let diary = Diary::new();
    let server = start_with(&diary, Duration::from_millis(1), |_| {}).await;
    for number in 0..OBJECTS {
        let name = format!("test/{number}");
        let come = async |encoding| {
            let (mut client, object) = join(&server, encoding, &name).await;
            let id = say(&mut client, object, "count").await;
            client.published(id).await;
            client
        };
        let both = join_all(ENCODINGS.map(come)).await;
        server.object_is(&name, "asleep").await;
        drop(both);
    }
    let hooks = diary.read();
    let count = |wanted| hooks.iter().filter(|hook| **hook == wanted).count();
    assert_eq!((count(Hook::Message), count(Hook::Made)), (2 * OBJECTS, count(Hook::Gone)));
    assert!(count(Hook::Made) >= OBJECTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c24_a_pinned_object_never_sleeps() {
    let diary = Diary::new();
    let server = start_with(&diary, Duration::from_millis(1), |config| {
        config.objects.max_awake = 2;
        config.objects.pinned = vec!["test/pinned".parse().unwrap()];
    })
    .await;
    // It wakes in the background.
    server.metric_is("dormouse_objects{state=\"awake\"}", |awake| awake == 1).await;
    let (mut client, pinned) = join(&server, Encoding::Json, "test/pinned").await;
    for round in 1..=5 {
        assert_eq!(count(&mut client, pinned).await, round, "it is the same instance");
        let (status, _) = server.ask("POST /v1/objects/test/pinned/sleep").await;
        assert_eq!(status, 409);
        // Others come, want its place, and are idle for as long.
        for number in 0..4 {
            let name = format!("test/{number}");
            let (mut other, object) = join(&server, Encoding::Msgpack, &name).await;
            let id = say(&mut other, object, "count").await;
            other.published(id).await;
            server.object_is(&name, "asleep").await;
        }
    }
    let shown = server.object("test/pinned").await;
    assert_eq!((&shown["wakes"], &shown["sleeps_at"]), (&json!(1), &Value::Null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c25_sleeps_that_are_asked_for_at_once_wait_for_a_running_request() {
    let diary = Diary::new();
    let server = start(&diary).await;
    let (mut client, object) = join(&server, Encoding::Json, "test/a").await;
    diary.messages.shut();
    let id = say(&mut client, object, "count").await;
    diary.messages.entered(1).await;
    let ask = || join_all((0..8).map(|_| server.ask("POST /v1/objects/test/a/sleep")));
    for (status, answer) in ask().await {
        assert_eq!((status, answer), (202, json!({ "state": "awake" })));
    }
    diary.messages.open();
    assert_eq!(client.published(id).await.offset, 1);
    server.object_is("test/a", "asleep").await;
    for (status, answer) in ask().await {
        assert_eq!((status, answer), (200, json!({ "state": "asleep" })));
    }
    assert_eq!(server.metric(ASKED).await, 1);
    assert_eq!(count(&mut client, object).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c25_an_object_that_wakes_sleeps_when_it_has_done_what_woke_it() {
    let diary = Diary::new();
    let server = start(&diary).await;
    let (mut client, object) = join(&server, Encoding::Json, "test/a").await;
    diary.wakes.shut();
    let id = say(&mut client, object, "count").await;
    diary.wakes.entered(1).await;
    let (status, answer) = server.ask("POST /v1/objects/test/a/sleep").await;
    assert_eq!((status, answer), (202, json!({ "state": "waking" })));
    diary.wakes.open();
    assert_eq!(client.published(id).await.offset, 1);
    server.object_is("test/a", "asleep").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c25_an_object_that_is_asked_while_it_falls_asleep_remembers_it_where_it_stays_awake() {
    let diary = Diary::new();
    let server = start_with(&diary, Duration::from_millis(50), |_| {}).await;
    let (mut client, object) = join(&server, Encoding::Json, "test/a").await;
    server.ask("POST /v1/log/delay?ms=10000").await;
    let first = say(&mut client, object, "count").await;
    server.object_is("test/a", "falling_asleep").await;
    let (status, answer) = server.ask("POST /v1/objects/test/a/sleep").await;
    assert_eq!((status, answer), (202, json!({ "state": "falling_asleep" })));
    let second = say(&mut client, object, "count").await;
    diary.messages.entered(2).await;
    server.ask("POST /v1/log/delay?ms=0").await;
    for (id, offset) in [(first, 1), (second, 2)] {
        assert_eq!(client.published(id).await.offset, offset);
    }
    let asleep = server.object_is("test/a", "asleep").await;
    assert_eq!(asleep["wakes"], 1);
    assert_eq!((server.metric(ASKED).await, server.metric(IDLE).await), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c25_there_is_nothing_to_put_to_sleep_where_nothing_ever_was() {
    let diary = Diary::new();
    let server = start(&diary).await;
    let (status, answer) = server.ask("POST /v1/objects/test/never/sleep").await;
    assert_eq!((status, answer), (404, json!({ "error": "there is no object test/never" })));
    // One that was joined and never started sleeps already.
    let (_client, _) = join(&server, Encoding::Json, "test/a").await;
    let (status, answer) = server.ask("POST /v1/objects/test/a/sleep").await;
    assert_eq!((status, answer), (200, json!({ "state": "asleep" })));
    assert_eq!(diary.read(), []);
}
