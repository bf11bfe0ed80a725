//! Promise 9, everything has a bound: reaching one has its code and its metric, and disturbs nobody else.
//!
//! The bounds of a slow socket are tested with promise 7, those of keys with promise 4, those of frames and of HTTP with theirs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use dormouse::object::{Class, Classes, Context, Object, PublishRequest};
use dormouse_protocol::{
    ClientMessage, Encoding, ErrorCode, History, Join, Leave, ServerMessage, Signal, Start,
};
use parking_lot::{Condvar, Mutex};

use crate::client::{Client, ENCODINGS, Payload, bystander, history, noise, number, publish};
use crate::raw::{PING, Raw, TEXT, frame};
use crate::server::TestServer;

/// No object sleeps for want of messages.
const SLEEP_AFTER: Duration = Duration::from_hours(1);

async fn refused(server: &TestServer, code: ErrorCode) -> u64 {
    let code = code.as_str();
    server.metric(&format!("dormouse_request_errors_total{{code=\"{code}\"}}")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections() {
    let server = TestServer::start(|config| config.limits.connections = 2).await;
    let mut first = Client::connect(server.address, Encoding::Json).await;
    let second = Client::connect(server.address, Encoding::Msgpack).await;
    assert!(Client::try_connect(server.address, Encoding::Json, None).await.is_err());
    let metric = "dormouse_connections_refused_total{reason=\"connections\"}";
    assert_eq!(server.metric(metric).await, 1);
    let object = first.join_now("room/a").await;
    first.publish(object, 1).await;
    drop(second);
    // Its place is free as soon as the server has noticed.
    let mut third = loop {
        if let Ok(client) = Client::try_connect(server.address, Encoding::Json, None).await {
            break client;
        }
    };
    third.join_now("room/a").await;
    third.nothing_more().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_bytes() {
    let server = TestServer::start(|config| config.limits.message_bytes = 1024).await;
    for encoding in ENCODINGS {
        let mut client = Client::connect(server.address, encoding).await;
        assert_eq!(client.welcome.limits.message_bytes, 1024);
        let object = client.join_now("room/a").await;
        client.publish(object, noise(900)).await;
        client.send_publish(object, noise(1024), None).await;
        assert_eq!(client.closed().await, Some(1009));
    }
    assert_eq!(server.metric("dormouse_closes_total{code=\"too_large\"}").await, 2);
    bystander(server.address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins() {
    let server = TestServer::start(|config| config.limits.joins = 3).await;
    for encoding in ENCODINGS {
        let mut client = Client::connect(server.address, encoding).await;
        assert_eq!(client.welcome.limits.joins, 3);
        let mut objects = Vec::new();
        for name in ["room/a", "room/b", "room/c"] {
            objects.push(client.join_now(name).await);
        }
        let id = client.send_join("room/d", Start::Now).await;
        assert_eq!(client.refusal(id).await.code, ErrorCode::TooManyJoins);
        client.leave(objects[0]).await;
        client.join_now("room/d").await;
        client.nothing_more().await;
    }
    assert_eq!(refused(&server, ErrorCode::TooManyJoins).await, 2);
    bystander(server.address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_events() {
    let server = TestServer::start(|config| config.limits.history_events = 7).await;
    let mut client = Client::connect(server.address, Encoding::Json).await;
    assert_eq!(client.welcome.limits.history_events, 7);
    let object = client.join_now("room/a").await;
    client.publish_all(object, 1..=20_u64).await;
    let page = client.history(history(object, None, None)).await;
    assert!(page.events.iter().map(number).eq(1..=7) && page.more);
    let page =
        client.history(History { limit: Some(100), ..history(object, Some(13), None) }).await;
    assert!(page.events.iter().map(number).eq(14..=20) && !page.more);
    assert_eq!(client.whole_log(object).await.len(), 20);
    // A page is bounded in bytes too.
    client.publish_all(object, (0..5).map(|_| noise(30_000))).await;
    let page = client.history(history(object, Some(20), None)).await;
    assert!((1..=3).contains(&page.events.len()) && page.more);
}

/// Opened once; before that nothing passes.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn pass(&self) {
        self.1.wait_while(&mut self.0.lock(), |open| !*open);
    }

    fn open(&self) {
        *self.0.lock() = true;
        self.1.notify_all();
    }
}

/// Works on nothing until its gate is open.
struct Gated(Arc<Gate>);

impl Object for Gated {
    fn publish(&mut self, context: &mut Context<'_>, request: PublishRequest) {
        self.0.pass();
        context.publish(request);
    }
}

fn classes(gate: &Arc<Gate>) -> Classes {
    let gate = gate.clone();
    let gated = Class::new(move |_| Box::new(Gated(gate.clone())), SLEEP_AFTER);
    Classes::from([("gated", gated), ("room", dormouse::room::class(SLEEP_AFTER))])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_flight() {
    let gate = Arc::new(Gate::default());
    let server = TestServer::start_with(classes(&gate), |config| config.limits.in_flight = 5).await;
    let mut client = Client::connect(server.address, Encoding::Msgpack).await;
    assert_eq!(client.welcome.limits.in_flight, 5);
    let object = client.join_now("gated/a").await;
    let mut ids = Vec::new();
    for number in 0..8 {
        ids.push(client.send_publish(object, number, None).await);
    }
    for id in &ids[5..] {
        assert_eq!(client.refusal(*id).await.code, ErrorCode::TooManyInFlight);
    }
    client.ping().await;
    bystander(server.address).await;
    gate.open();
    for (index, id) in ids[..5].iter().enumerate() {
        assert_eq!(client.published(*id).await.offset, index as u64 + 1);
    }
    assert_eq!(client.publish(object, 8).await.offset, 6, "there is room again");
    assert_eq!(refused(&server, ErrorCode::TooManyInFlight).await, 3);
}

/// What a connection has published and not yet had answered is bounded in bytes too; the rest waits in its socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_flight_bytes() {
    let gate = Arc::new(Gate::default());
    let server =
        TestServer::start_with(classes(&gate), |config| config.limits.in_flight_bytes = 50_000)
            .await;
    let mut client = Client::connect(server.address, Encoding::Json).await;
    let object = client.join_now("gated/a").await;
    let text = noise(20_000);
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(client.send_publish(object, &text, None).await);
    }
    // The join, two publishes within the bound and the one that goes beyond it.
    server.metric_is("dormouse_messages_received_total", |received| received == 4).await;
    bystander(server.address).await;
    gate.open();
    for (index, id) in ids.into_iter().enumerate() {
        assert_eq!(client.published(id).await.offset, index as u64 + 1);
    }
}

/// Says how many of its like are there at most.
struct Counted(Arc<(AtomicUsize, AtomicUsize)>);

impl Counted {
    fn new(counts: &Arc<(AtomicUsize, AtomicUsize)>) -> Self {
        let live = counts.0.fetch_add(1, SeqCst) + 1;
        counts.1.fetch_max(live, SeqCst);
        Self(counts.clone())
    }
}

impl Object for Counted {
    fn publish(&mut self, context: &mut Context<'_>, request: PublishRequest) {
        context.publish(request);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, SeqCst);
    }
}

/// A storm on more objects than may be awake is served, each in its turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_awake() {
    const OBJECTS: usize = 40;
    let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let class = Class::new(
        {
            let counts = counts.clone();
            move |_| Box::new(Counted::new(&counts))
        },
        SLEEP_AFTER,
    );
    let classes = Classes::from([("counted", class), ("room", dormouse::room::class(SLEEP_AFTER))]);
    let server = TestServer::start_with(classes, |config| config.objects.max_awake = 3).await;
    let mut client = Client::connect(server.address, Encoding::Msgpack).await;
    let mut objects = Vec::new();
    for number in 0..OBJECTS {
        objects.push(client.join_now(&format!("counted/{number}")).await);
    }
    for round in 1..=3 {
        let mut ids = Vec::new();
        for object in &objects {
            ids.push(client.send_publish(*object, round, None).await);
        }
        for id in ids {
            assert_eq!(client.published(id).await.offset, round);
        }
    }
    assert_eq!(counts.1.load(SeqCst), 3, "so many were awake at one time");
    assert!(
        server.metric("dormouse_object_sleeps_total{reason=\"evicted\"}").await >= OBJECTS as u64
    );
    bystander(server.address).await;
}

/// Publishes that find the mailbox full wait, in order, and keep others from nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mailbox() {
    let gate = Arc::new(Gate::default());
    let server = TestServer::start_with(classes(&gate), |config| config.limits.mailbox = 4).await;
    let mut clients = Vec::new();
    for index in 0..4 {
        let mut client = Client::connect(server.address, ENCODINGS[index % 2]).await;
        let object = client.join_now("gated/a").await;
        let mut ids = Vec::new();
        for number in 0..10_u64 {
            ids.push(client.send_publish(object, number, None).await);
        }
        clients.push((client, object, ids));
    }
    server.metric_is("dormouse_publish_stalls_total", |stalls| stalls >= 3).await;
    bystander(server.address).await;
    gate.open();
    for (client, object, ids) in &mut clients {
        let mut last = 0;
        for id in ids {
            let offset = client.published(*id).await.offset;
            assert!(offset > last, "not in the order in which they were sent");
            last = offset;
        }
        assert_eq!(client.events_until(*object, 40).await.len(), 40);
    }
}

/// The time for which they wait is bounded too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mailbox_for_too_long() {
    let gate = Arc::new(Gate::default());
    let server = TestServer::start_with(classes(&gate), |config| config.limits.mailbox = 1).await;
    let mut client = Client::connect(server.address, Encoding::Json).await;
    let object = client.join_now("gated/a").await;
    let mut ids = Vec::new();
    // One that the instance has in hand, one in its mailbox, and one that waits; where the first is not yet in hand
    // when the second comes, the second waits for that.
    for number in 0..3 {
        ids.push(client.send_publish(object, number, None).await);
    }
    assert_eq!(client.refusal(ids[2]).await.code, ErrorCode::Overloaded);
    assert_eq!(refused(&server, ErrorCode::Overloaded).await, 1);
    gate.open();
    assert_eq!(client.published(ids[0]).await.offset, 1);
    assert_eq!(client.published(ids[1]).await.offset, 2);
    assert_eq!(client.publish(object, 3).await.offset, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_about_what_is_not_there() {
    let server = TestServer::start(|_| {}).await;
    for encoding in ENCODINGS {
        let mut client = Client::connect(server.address, encoding).await;
        let id = client.send_join("cellar/a", Start::Now).await;
        assert_eq!(client.refusal(id).await.code, ErrorCode::UnknownClass);
        let object = client.join_now("room/a").await;
        let id = client.send_join("room/a", Start::All).await;
        assert_eq!(client.refusal(id).await.code, ErrorCode::AlreadyJoined);
        let data = Payload::of(&1).unwrap();
        for strange in [0, object + 1, (1 << 53) - 1] {
            for request in [
                ClientMessage::Leave(Leave { id: 500, object: strange }),
                publish(500, strange, 1, None),
                ClientMessage::History(History { id: 500, ..history(strange, None, None) }),
                ClientMessage::Signal(Signal {
                    id: Some(500),
                    object: strange,
                    data: data.clone(),
                    key: None,
                }),
            ] {
                client.send(&request).await;
                assert_eq!(client.refusal(500).await.code, ErrorCode::NotJoined, "{request:?}");
            }
        }
        client.nothing_more().await;
    }
    assert_eq!(refused(&server, ErrorCode::UnknownClass).await, 2);
    assert_eq!(refused(&server, ErrorCode::AlreadyJoined).await, 2);
    assert_eq!(refused(&server, ErrorCode::NotJoined).await, 24);
}

/// Whatever is sent, the reply says what is wrong and the connection stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_make_no_sense() {
    let server = TestServer::start(|_| {}).await;
    let mut raw = Raw::connect(server.address, Encoding::Json).await;
    let object = "room/a".parse().unwrap();
    raw.request(&ClientMessage::Join(Join::new(1, object, Start::Now))).await;
    let ServerMessage::Joined(joined) = raw.message().await else { panic!("not joined") };
    assert!(matches!(raw.message().await, ServerMessage::CaughtUp(_)));
    let object = joined.object;
    let deep = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let publish = |more: &str| format!("{{\"publish\":{{\"id\":7,\"object\":{object},{more}}}}}");
    let requests = [
        (None, String::new()),
        (None, "publish".into()),
        (None, "[]".into()),
        (None, "{}".into()),
        (None, "{\"ping\":{\"id\":-1}}".into()),
        (None, "{\"ping\":{\"id\":4294967296}}".into()),
        (Some(7), "{\"ping\":{\"id\":7,\"x\":1}}".into()),
        (Some(7), "{\"dance\":{\"id\":7}}".into()),
        (Some(7), publish("\"data\":1,\"colour\":\"red\"")),
        (Some(7), publish("\"kind\":\"message\"")),
        (Some(7), format!("{{\"presence.set\":{{\"id\":7,\"object\":{object}}}}}")),
        (Some(7), publish("\"data\":1,\"kind\":\"\"")),
        (Some(7), publish(&format!("\"data\":1,\"kind\":\"{}\"", "k".repeat(33)))),
        (Some(7), publish("\"data\":1,\"kind\":\"a b\"")),
        (Some(7), publish("\"data\":1,\"key\":\"\"")),
        (Some(7), publish("\"data\":1,\"key\":\"a\\n\"")),
        (Some(7), publish(&format!("\"data\":1,\"key\":\"{}\"", "k".repeat(65)))),
        (Some(7), publish(&format!("\"data\":{}", deep(33)))),
        (Some(7), "{\"join\":{\"id\":7,\"object\":\"lobby\"}}".into()),
        (Some(7), "{\"join\":{\"id\":7,\"object\":\"Room/a\"}}".into()),
        (Some(7), format!("{{\"join\":{{\"id\":7,\"object\":\"room/{}\"}}}}", "n".repeat(129))),
        (Some(7), "{\"join\":{\"id\":7,\"object\":\"room/b\",\"from\":\"then\"}}".into()),
        (Some(7), "{\"join\":{\"id\":7,\"object\":\"room/b\",\"from\":{\"last\":-1}}}".into()),
    ];
    for (id, text) in &requests {
        raw.send(&frame(TEXT, text.as_bytes())).await;
        let ServerMessage::Error(error) = raw.message().await else { panic!("{text} is taken") };
        assert_eq!((error.id, error.code), (*id, ErrorCode::BadRequest), "{text}: {error:?}");
        assert!(!error.message.is_empty());
    }
    assert_eq!(refused(&server, ErrorCode::BadRequest).await, requests.len() as u64);
    // The bounds themselves are allowed.
    let good = publish(&format!(
        "\"data\":{},\"kind\":\"{}\",\"key\":\"{}\"",
        deep(32),
        "k".repeat(32),
        "é".repeat(32)
    ));
    raw.send(&[frame(PING, b""), frame(TEXT, good.as_bytes())].concat()).await;
    raw.frame().await;
    let ServerMessage::Published(published) = raw.message().await else { panic!("{good}") };
    assert_eq!(published.offset, 1, "nothing that was refused was stored");
}
