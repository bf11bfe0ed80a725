//! Promise 4, once: a publish with a key is stored once within the window, whatever happened in between.

use std::time::Duration;

use dormouse_protocol::{
    ClientMessage, Encoding, ErrorCode, Payload, Publish, ServerMessage, Start,
};
use tempfile::TempDir;

use crate::client::{Client, ENCODINGS, number};
use crate::process::Program;
use crate::server::TestServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_gets_the_place_of_the_first() {
    let server = TestServer::start(|_| {}).await;
    let mut client = Client::connect(server.address, Encoding::Msgpack).await;
    let object = client.join_now("room/once").await;
    // At the same time: the repeat arrives before the first is on disk.
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(client.send_publish(object, 7, Some("same")).await);
    }
    let first = client.published(ids[0]).await;
    assert!(!first.duplicate);
    for id in &ids[1..] {
        let repeat = client.published(*id).await;
        assert!(repeat.duplicate);
        assert_eq!((repeat.offset, repeat.time), (first.offset, first.time));
    }
    // Later, and in the other encoding after a reconnect.
    assert!(client.publish_once(object, 8, "same").await.duplicate);
    let mut again = Client::resume(server.address, Encoding::Json, client.token()).await;
    assert_eq!(again.session(), client.session());
    again.join_now("room/once").await;
    let repeat = again.publish_once(object, 9, "same").await;
    assert_eq!((repeat.duplicate, repeat.offset, repeat.time), (true, first.offset, first.time));
    assert_eq!(again.publish_once(object, 10, "other").await.offset, first.offset + 1);

    let log = again.whole_log(object).await;
    assert!(log.iter().map(number).eq([7, 10]), "the first data is stored");
    assert_eq!(log[0].key.as_deref(), Some("same"));
    assert_eq!(server.metric("dormouse_publish_duplicates_total").await, 51);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_its_sessions_own_and_its_objects() {
    let server = TestServer::start(|_| {}).await;
    for (index, encoding) in [ENCODINGS, ENCODINGS].concat().into_iter().enumerate() {
        let mut client = Client::connect(server.address, encoding).await;
        let object = client.join_now("room/once").await;
        let published = client.publish_once(object, 0, "same").await;
        assert_eq!((published.offset, published.duplicate), (index as u64 + 1, false));
        let other = client.join_now(&format!("room/other-{index}")).await;
        let published = client.publish_once(other, 0, "same").await;
        assert_eq!((published.offset, published.duplicate), (1, false));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_remembered_through_sleep_and_restart() {
    let mut server =
        TestServer::start(|config| config.classes.room.sleep_after = Duration::from_millis(1))
            .await;
    let mut client = Client::connect(server.address, Encoding::Msgpack).await;
    let object = client.join_now("room/once").await;
    let mut firsts = Vec::new();
    for number in 0..20_u64 {
        firsts.push(client.publish_once(object, number, &format!("key {number}")).await);
        client.publish(object, number).await;
    }
    server.metric_is("dormouse_objects{state=\"awake\"}", |awake| awake == 0).await;
    let wakes = server.metric("dormouse_object_wakes_total{cause=\"publish\"}").await;
    let repeat = client.publish_once(object, 0, "key 7").await;
    assert_eq!((repeat.duplicate, repeat.offset), (true, firsts[7].offset));
    assert_eq!(
        server.metric("dormouse_object_wakes_total{cause=\"publish\"}").await,
        wakes + 1,
        "it slept"
    );

    let token = client.token().to_owned();
    drop(client);
    server.restart().await;
    let mut client = Client::resume(server.address, Encoding::Json, &token).await;
    let joined = client.join("room/once", Start::Now).await;
    assert_eq!(joined.head, 40);
    for (number, first) in firsts.iter().enumerate() {
        let repeat = client.publish_once(joined.object, 0, &format!("key {number}")).await;
        assert_eq!((repeat.offset, repeat.time), (first.offset, first.time));
        assert!(repeat.duplicate);
    }
    assert_eq!(client.publish_once(joined.object, 0, "new").await.offset, 41);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_remembered_through_a_kill() {
    let data = TempDir::new().unwrap();
    let mut program = Program::start(data.path(), 0, &[]);
    let mut client = Client::connect(program.address, Encoding::Msgpack).await;
    let object = client.join_now("room/once").await;
    let mut ids = Vec::new();
    for number in 0..100_u64 {
        ids.push(client.send_publish(object, number, Some(&format!("{number}"))).await);
    }
    // The first half was acknowledged; what became of the others nobody knows.
    let mut known = Vec::new();
    for id in &ids[..50] {
        known.push(client.published(*id).await);
    }
    program.kill();
    let mut program = Program::start(data.path(), program.address.port(), &[]);
    let mut client = Client::resume(program.address, Encoding::Json, client.token()).await;
    let object = client.join("room/once", Start::All).await.object;
    client.caught_up(object).await;
    for number in 0..100_u64 {
        let published = client.publish_once(object, number, &format!("{number}")).await;
        assert_eq!(published.offset, number + 1);
        if let Some(first) = known.get(number as usize) {
            assert_eq!((published.duplicate, published.time), (true, first.time));
        }
    }
    let log = client.whole_log(object).await;
    assert!(log.iter().map(number).eq(0..100));
    program.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_window_is_bounded_in_events() {
    let mut server = TestServer::start(|config| config.objects.dedupe_events = 6).await;
    let mut client = Client::connect(server.address, Encoding::Msgpack).await;
    let object = client.join_now("room/once").await;
    for key in ["a", "b", "c", "d"] {
        client.publish_once(object, 0, key).await;
        // Events without a key take their place in the window too.
        client.publish(object, 0).await;
    }
    let token = client.token().to_owned();
    drop(client);
    // What is read back after a restart is the same window as the one in memory.
    for round in 0..2 {
        let mut client = Client::resume(server.address, Encoding::Msgpack, &token).await;
        let object = client.join("room/once", Start::Now).await.object;
        for (key, offset) in [("b", 3), ("c", 5), ("d", 7)] {
            let repeat = client.publish_once(object, 0, key).await;
            assert_eq!((repeat.duplicate, repeat.offset), (true, offset), "{key}, {round}");
        }
        if round == 0 {
            drop(client);
            server.restart().await;
        } else {
            let forgotten = client.publish_once(object, 0, "a").await;
            assert_eq!((forgotten.duplicate, forgotten.offset), (false, 9));
            assert!(!client.publish_once(object, 0, "b").await.duplicate);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_window_is_bounded_in_time() {
    let window = Duration::from_millis(300);
    let server = TestServer::start(|config| config.objects.dedupe_window = window).await;
    let mut client = Client::connect(server.address, Encoding::Json).await;
    let object = client.join_now("room/once").await;
    let first = client.publish_once(object, 0, "key").await;
    assert!(!first.duplicate);
    // The server's clock is told by the times of its events.
    let mut published = client.publish(object, 0).await;
    while published.time <= first.time + window.as_millis() as u64 {
        published = client.publish(object, 0).await;
    }
    let later = client.publish_once(object, 0, "key").await;
    assert_eq!((later.duplicate, later.offset), (false, published.offset + 1));
    let repeat = client.publish_once(object, 0, "key").await;
    assert_eq!((repeat.duplicate, repeat.offset), (true, later.offset), "a new window has begun");
}

/// Finding 21: such a retry was stored twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_from_before_the_window_is_refused_and_not_stored_again() {
    let mut server = TestServer::start(|config| {
        config.objects.dedupe_events = 4;
        config.classes.room.sleep_after = Duration::from_millis(1);
    })
    .await;
    let mut client = Client::connect(server.address, Encoding::Msgpack).await;
    let object = client.join_now("room/once").await;
    for number in 1..=10_u64 {
        client.publish_once(object, number, &format!("key {number}")).await;
    }
    let token = client.token().to_owned();
    for (round, encoding) in [Encoding::Msgpack, Encoding::Json].into_iter().enumerate() {
        if round == 1 {
            // The instance that wakes reads its window back.
            server.restart().await;
        }
        let mut client = Client::resume(server.address, encoding, &token).await;
        let object = client.join_now("room/once").await;
        // Events 7 to 10 are in the window: a retry from before event 6 can't be told.
        for after in 0..6 {
            let answer = retry(&mut client, object, "key 3", after).await;
            let ServerMessage::Error(error) = answer else { panic!("{answer:?} after {after}") };
            assert_eq!(error.code, ErrorCode::KeyExpired);
            assert!(error.message.contains(&format!("after offset {after} ")), "{}", error.message);
        }
        let answer = retry(&mut client, object, "key 7", 0).await;
        let ServerMessage::Published(repeat) = answer else { panic!("{answer:?}") };
        assert_eq!((repeat.offset, repeat.duplicate), (7, true));
        assert_eq!(client.whole_log(object).await.len(), 10);
    }
    let mut client = Client::resume(server.address, Encoding::Msgpack, &token).await;
    let object = client.join_now("room/once").await;
    let answer = retry(&mut client, object, "never sent", 6).await;
    let ServerMessage::Published(stored) = answer else { panic!("{answer:?}") };
    assert_eq!((stored.offset, stored.duplicate), (11, false));
}

async fn retry(client: &mut Client, object: u64, key: &str, after: u64) -> ServerMessage {
    let id = client.id();
    let publish = Publish {
        id,
        object,
        kind: "message".parse().unwrap(),
        data: Payload::of(&0).unwrap(),
        key: Some(key.parse().unwrap()),
        after: Some(after),
    };
    client.send(&ClientMessage::Publish(publish)).await;
    client.reply(id).await
}
