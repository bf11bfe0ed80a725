//! What wakes an object, and in which order things then happen.

use dormouse_protocol::{Encoding, Start};
use futures_util::future::join_all;

use super::{Diary, Hook, NEVER, count, join, put_to_sleep, say, start, start_with};
use crate::client::{Client, ENCODINGS, number};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c18_a_message_wakes_and_the_socket_is_the_same() {
    let diary = Diary::new();
    let server = start(&diary).await;
    for (encoding, name) in ENCODINGS.into_iter().zip(["test/a", "test/b"]) {
        let (mut client, object) = join(&server, encoding, name).await;
        for offset in 1..=3 {
            assert_eq!(client.publish(object, offset).await.offset, offset);
            let events = client.events_until(object, offset).await;
            assert_eq!((&*events[0].sender, number(&events[0])), (client.session(), offset));
            assert_eq!(diary.read(), [Hook::Made, Hook::Wake, Hook::Message]);
            put_to_sleep(&server, name).await;
            assert_eq!(diary.read(), [Hook::Sleep, Hook::Gone]);
        }
        client.nothing_more().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c31_messages_while_the_object_falls_asleep_are_handled_after_the_wake_once_in_order() {
    const EACH: u64 = 20;
    let diary = Diary::new();
    let server = start(&diary).await;
    let (mut first, object) = join(&server, Encoding::Json, "test/a").await;
    let (mut second, _) = join(&server, Encoding::Msgpack, "test/a").await;
    assert_eq!(count(&mut first, object).await, 1);
    second.events_until(object, 1).await;
    diary.sleeps.shut();
    server.ask("POST /v1/objects/test/a/sleep").await;
    diary.sleeps.entered(1).await;
    let mut ids = Vec::new();
    for number in 1..=EACH {
        for client in [&mut first, &mut second] {
            ids.push(client.send_publish(object, number, None).await);
        }
    }
    for client in [&mut first, &mut second] {
        // What was sent before it has reached the object.
        client.ping().await;
    }
    assert_eq!(server.object("test/a").await["state"], "falling_asleep");
    diary.sleeps.open();
    for ids in ids.chunks(2) {
        first.published(ids[0]).await;
        second.published(ids[1]).await;
    }
    let events = first.events_until(object, 1 + 2 * EACH).await;
    for client in [&mut first, &mut second] {
        let own = events.iter().filter(|event| *event.sender == *client.session());
        assert!(own.map(number).eq(1..=EACH));
    }
    assert_eq!(second.events_until(object, 1 + 2 * EACH).await, events);
    let hooks = diary.read();
    let begin = [Hook::Made, Hook::Wake, Hook::Message, Hook::Sleep, Hook::Gone, Hook::Made];
    assert!(hooks.starts_with(&begin) && hooks[6] == Hook::Wake, "{hooks:?}");
    assert_eq!(hooks[7..], [Hook::Message; 2 * EACH as usize]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c34_the_wake_comes_first_and_once_for_all_who_wake_it() {
    const CLIENTS: usize = 8;
    let diary = Diary::new();
    let server = start(&diary).await;
    let mut clients = Vec::new();
    for index in 0..CLIENTS {
        clients.push(join(&server, ENCODINGS[index % 2], "test/a").await);
    }
    for round in 1..=3 {
        diary.wakes.shut();
        let send = async |(client, object): &mut (Client, u64)| {
            let id = client.send_publish(*object, 0, None).await;
            client.ping().await;
            id
        };
        let ids = join_all(clients.iter_mut().map(send)).await;
        diary.wakes.entered(round).await;
        assert_eq!(server.object("test/a").await["state"], "waking");
        assert_eq!(diary.read(), [Hook::Made, Hook::Wake]);
        diary.wakes.open();
        for ((client, _), id) in clients.iter_mut().zip(ids) {
            client.published(id).await;
        }
        put_to_sleep(&server, "test/a").await;
        let hooks = diary.read();
        assert_eq!(hooks[..CLIENTS], [Hook::Message; CLIENTS]);
        assert_eq!(hooks[CLIENTS..], [Hook::Sleep, Hook::Gone]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c35_only_members_of_the_object_hear_it() {
    let diary = Diary::new();
    let server = start(&diary).await;
    let (mut client, object) = join(&server, Encoding::Json, "test/a").await;
    let (mut neighbour, _) = join(&server, Encoding::Msgpack, "test/b").await;
    let (mut gone, _) = join(&server, Encoding::Msgpack, "test/a").await;
    gone.leave(object).await;
    let mut nobody = Client::connect(server.address, Encoding::Json).await;
    for _ in 0..3 {
        assert_eq!(count(&mut client, object).await, 1);
        put_to_sleep(&server, "test/a").await;
    }
    for other in [&mut neighbour, &mut gone, &mut nobody] {
        other.nothing_more().await;
    }
    let (mut member, _) = join(&server, Encoding::Json, "test/a").await;
    assert_eq!(count(&mut client, object).await, 1);
    assert_eq!(member.events_until(object, 4).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c43_a_storm_of_wakes_stays_within_its_bound_and_all_are_handled() {
    const OBJECTS: usize = 24;
    const MAX_WAKING: usize = 3;
    let diary = Diary::new();
    let server = start_with(&diary, NEVER, |config| {
        config.objects.max_waking = MAX_WAKING;
    })
    .await;
    let mut client = Client::connect(server.address, Encoding::Msgpack).await;
    let mut objects = Vec::new();
    for number in 0..OBJECTS {
        let object = client.join(&format!("test/{number}"), Start::Now).await.object;
        assert_eq!(count(&mut client, object).await, 1);
        put_to_sleep(&server, &format!("test/{number}")).await;
        objects.push(object);
    }
    diary.wakes.shut();
    let mut ids = Vec::new();
    for object in &objects {
        ids.push(say(&mut client, *object, "count").await);
    }
    diary.wakes.entered(OBJECTS + MAX_WAKING).await;
    let waking = "dormouse_objects{state=\"waking\"}";
    server.metric_is(waking, |waking| waking == OBJECTS as u64).await;
    client.ping().await;
    diary.wakes.open();
    for id in ids {
        assert_eq!(client.published(id).await.offset, 2);
    }
    assert_eq!(diary.wakes.most_inside(), MAX_WAKING);
    assert_eq!(server.metric("dormouse_objects{state=\"awake\"}").await, OBJECTS as u64);
}
