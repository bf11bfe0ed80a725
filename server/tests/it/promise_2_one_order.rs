//! Promise 2, one order: every member sees an object's events in offset order, without holes or repeats.

use std::net::SocketAddr;

use dormouse_protocol::{ClientMessage, Encoding, Join, Leave, Ping, ServerMessage, Start};
use tokio::task::JoinSet;

use crate::client::{Client, ENCODINGS, number, publish, reply_id};
use crate::raw::Raw;
use crate::server::TestServer;

const PUBLISHERS: u64 = 6;
const EVENTS: u64 = 150;

/// Publishes numbers that tell the publisher and the turn, without waiting for each.
async fn publish_numbers(address: SocketAddr, encoding: Encoding, publisher: u64) {
    let mut client = Client::connect(address, encoding).await;
    let object = client.join_now("room/order").await;
    client.publish_all(object, (0..EVENTS).map(|turn| publisher * EVENTS + turn)).await;
}

async fn observe(mut member: Client, object: u64) -> Vec<(u64, u64)> {
    let events = member.events_until(object, PUBLISHERS * EVENTS).await;
    events.iter().map(|event| (event.offset, number(event))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_members_see_one_sequence() {
    let server = TestServer::start(|_| {}).await;
    let mut members = JoinSet::new();
    for index in 0..8 {
        let mut member = Client::connect(server.address, ENCODINGS[index % 2]).await;
        let object = member.join_now("room/order").await;
        members.spawn(observe(member, object));
    }
    let mut publishers = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let encoding = ENCODINGS[publisher as usize % 2];
        publishers.spawn(publish_numbers(server.address, encoding, publisher));
    }
    publishers.join_all().await;
    let sequences = members.join_all().await;
    assert_eq!(sequences[0].len() as u64, PUBLISHERS * EVENTS);
    for sequence in &sequences {
        assert_eq!(*sequence, sequences[0]);
    }
    // One publisher's events keep the order in which it sent them.
    for publisher in 0..PUBLISHERS {
        let own = sequences[0].iter().map(|(_, number)| *number);
        let own: Vec<u64> = own.filter(|number| number / EVENTS == publisher).collect();
        let sent: Vec<u64> = (publisher * EVENTS..(publisher + 1) * EVENTS).collect();
        assert_eq!(own, sent);
    }
}

/// The client fails on any event of an object that it has left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_follows_a_leave() {
    let server = TestServer::start(|_| {}).await;
    let publisher = tokio::spawn(publish_numbers(server.address, Encoding::Json, 0));
    let mut members = Vec::new();
    for encoding in ENCODINGS {
        let mut member = Client::connect(server.address, encoding).await;
        for start in [Start::All, Start::Now, Start::Last(10), Start::All] {
            let object = member.join("room/order", start).await.object;
            member.caught_up(object).await;
            member.leave(object).await;
            // Taken from the wire before the end of the leave, so it may be events.
            member.rest();
        }
        members.push(member);
    }
    publisher.await.unwrap();
    for member in &mut members {
        member.nothing_more().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_objects_on_one_connection_do_not_meet() {
    let server = TestServer::start(|_| {}).await;
    for encoding in ENCODINGS {
        let mut client = Client::connect(server.address, encoding).await;
        let red = client.join_now(&format!("room/red-{encoding:?}")).await;
        let blue = client.join_now(&format!("room/blue-{encoding:?}")).await;
        assert_ne!(red, blue);
        let mut ids = Vec::new();
        for number in 0..100_u64 {
            ids.push(client.send_publish(red, number, None).await);
            ids.push(client.send_publish(blue, 1000 + number, None).await);
        }
        for (index, id) in ids.into_iter().enumerate() {
            assert_eq!(client.published(id).await.offset, index as u64 / 2 + 1);
        }
        let reds = client.events_until(red, 100).await;
        let blues = client.events_until(blue, 100).await;
        assert!(reds.iter().map(number).eq(0..100));
        assert!(blues.iter().map(number).eq(1000..1100));
        client.leave(red).await;
        assert_eq!(client.publish(blue, 0).await.offset, 101);
        client.events_until(blue, 101).await;
        client.nothing_more().await;
    }
}

/// The object is left while its event is on the way to the disk: the answer has another way to go than with the events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_who_leaves_at_once_gets_its_answer_and_no_event() {
    let server = TestServer::start(|_| {}).await;
    for (index, encoding) in ENCODINGS.into_iter().enumerate() {
        let mut publisher = Raw::connect(server.address, encoding).await;
        let object = "room/left".parse().unwrap();
        publisher.request(&ClientMessage::Join(Join::new(1, object, Start::Now))).await;
        let ServerMessage::Joined(joined) = publisher.message().await else { panic!("not joined") };
        assert!(matches!(publisher.message().await, ServerMessage::CaughtUp(_)));
        let object = joined.object;
        let leave = ClientMessage::Leave(Leave { id: 3, object });
        publisher.requests(&[publish(2, object, "parting word", None), leave]).await;
        let mut replies = [publisher.message().await, publisher.message().await];
        replies.sort_by_key(reply_id);
        let [ServerMessage::Published(told), ServerMessage::Done(_)] = &replies else {
            panic!("{replies:?}")
        };
        assert_eq!(told.offset, index as u64 + 1);
        publisher.request(&ClientMessage::Ping(Ping { id: 4 })).await;
        assert_eq!(reply_id(&publisher.message().await), Some(4));
    }
}
