//! Promise 6, sleep is invisible: whatever an object's instance does, its sockets stay open and its requests are answered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use dormouse::object::{Class, Classes, Context, Object, PublishRequest};
use dormouse::{Server, config::Config, room};
use dormouse_protocol::Encoding;
use futures_util::future::join_all;
use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};

use crate::client::{Client, ENCODINGS, number};
use crate::server::TestServer;

const NEVER: Duration = Duration::from_hours(1);

/// A server with test controls whose rooms sleep when they are asked only.
async fn start() -> TestServer {
    TestServer::start(|config| {
        config.test_controls = true;
        config.classes.room.sleep_after = NEVER;
    })
    .await
}

async fn start_with(class: Class) -> TestServer {
    let classes = Classes::from([("test", class), (room::CLASS, room::class(NEVER))]);
    TestServer::start_with(classes, |config| config.test_controls = true).await
}

async fn slept(server: &TestServer, reason: &str) -> u64 {
    server.metric(&format!("dormouse_object_sleeps_total{{reason=\"{reason}\"}}")).await
}

async fn refused(server: &TestServer, reason: &str) -> u64 {
    server.metric(&format!("dormouse_object_sleeps_refused_total{{reason=\"{reason}\"}}")).await
}

async fn crash(server: &TestServer, name: &str) {
    let (status, answer) = server.ask(&format!("POST /v1/objects/{name}/crash")).await;
    assert_eq!(status, 202, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_object_falls_asleep_under_open_sockets_and_the_next_publish_wakes_it() {
    let server =
        TestServer::start(|config| config.classes.room.sleep_after = Duration::from_millis(50))
            .await;
    let mut members = Vec::new();
    for encoding in ENCODINGS {
        let mut member = Client::connect(server.address, encoding).await;
        let object = member.join_now("room/a").await;
        members.push((member, object));
    }
    let joined = server.object("room/a").await;
    assert_eq!((&joined["state"], &joined["wakes"]), (&json!("asleep"), &json!(0)), "{joined}");
    for round in 1..=3_u64 {
        let (publisher, object) = &mut members[round as usize % 2];
        assert_eq!(publisher.publish(*object, round).await.offset, round);
        for (member, object) in &mut members {
            assert_eq!(number(&member.events_until(*object, round).await[0]), round);
        }
        let object = server.object_is("room/a", "asleep").await;
        assert_eq!(object["wakes"], round);
        assert_eq!(object["last_wake"]["cause"], "publish");
        assert_eq!((&object["cause"], &object["sleeps_at"]), (&Value::Null, &Value::Null));
        assert_eq!((&object["members"], &object["connections_at_rest"]), (&json!(2), &json!(2)));
        assert_eq!(slept(&server, "idle").await, round);
    }
    for (member, _) in &mut members {
        member.nothing_more().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleep_that_is_asked_for_during_a_request_waits_for_its_answer() {
    let server = start().await;
    let mut client = Client::connect(server.address, Encoding::Json).await;
    let object = client.join_now("room/a").await;
    server.ask("POST /v1/log/delay?ms=10000").await;
    let first = client.send_publish(object, 1, None).await;
    server.object_is("room/a", "awake").await;
    // The event has reached the log when the object waits for it.
    assert_eq!(server.ask("POST /v1/objects/room/a/sleep").await.0, 202);
    let falling = server.object_is("room/a", "falling_asleep").await;
    assert_eq!(falling["connections_at_rest"], 0, "its request waits");
    assert_eq!(refused(&server, "commit").await, 1);

    let second = client.send_publish(object, 2, None).await;
    server
        .metric_is("dormouse_object_sleeps_refused_total{reason=\"message\"}", |count| count == 1)
        .await;
    server.object_is("room/a", "falling_asleep").await;
    client.nothing_more().await;
    server.ask("POST /v1/log/delay?ms=0").await;
    assert_eq!(client.published(first).await.offset, 1);
    assert_eq!(client.published(second).await.offset, 2);
    let asleep = server.object_is("room/a", "asleep").await;
    assert_eq!(asleep["wakes"], 1, "it was one instance all the time");
    assert_eq!(slept(&server, "asked").await, 1);
    assert_eq!(client.events_until(object, 2).await.len(), 2);
    assert_eq!(client.publish(object, 3).await.offset, 3);
}

/// Works on nothing until it is opened, and counts.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
    entered: AtomicUsize,
    made: AtomicUsize,
}

impl Gate {
    fn pass(&self) {
        self.entered.fetch_add(1, SeqCst);
        self.opened.wait_while(&mut self.is_open.lock(), |open| !*open);
    }

    fn open(&self) {
        *self.is_open.lock() = true;
        self.opened.notify_all();
    }
}

struct Gated(Arc<Gate>);

impl Object for Gated {
    fn publish(&mut self, context: &mut Context<'_>, request: PublishRequest) {
        self.0.pass();
        context.publish(request);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_wait_when_an_instance_crashes_are_answered_once_by_the_next() {
    const WAITING: u64 = 20;
    let gate = Arc::new(Gate::default());
    let class = Class::new(
        {
            let gate = gate.clone();
            move |_| {
                gate.made.fetch_add(1, SeqCst);
                Box::new(Gated(gate.clone()))
            }
        },
        NEVER,
    );
    let server = start_with(class).await;
    let mut witness = Client::connect(server.address, Encoding::Msgpack).await;
    let object = witness.join_now("test/a").await;
    let mut client = Client::connect(server.address, Encoding::Json).await;
    client.join_now("test/a").await;
    let mut ids = vec![client.send_publish(object, 0, None).await];
    while gate.entered.load(SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    for number in 1..=WAITING {
        ids.push(client.send_publish(object, number, None).await);
    }
    client.ping().await;
    crash(&server, "test/a").await;
    gate.open();
    for (index, id) in ids.into_iter().enumerate() {
        assert_eq!(client.published(id).await.offset, index as u64 + 1);
    }
    let seen = witness.events_until(object, WAITING + 1).await;
    assert!(seen.iter().map(number).eq(0..=WAITING));
    assert_eq!(client.events_until(object, WAITING + 1).await.len(), seen.len());
    client.nothing_more().await;
    witness.nothing_more().await;
    assert_eq!(gate.made.load(SeqCst), 2);
    assert_eq!(server.metric("dormouse_object_failures_total").await, 1);
    assert_eq!(server.object("test/a").await["wakes"], 2);
}

/// Crashes between turns, sleeps and a slow log: nobody's publish is lost, and everybody sees one order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_and_sleeps_among_many_publishes_are_seen_by_nobody() {
    const EACH: u64 = 300;
    let server = start().await;
    let mut witness = Client::connect(server.address, Encoding::Msgpack).await;
    let object = witness.join_now("room/a").await;
    let publishers = ENCODINGS.map(|encoding| {
        let address = server.address;
        tokio::spawn(async move {
            let mut client = Client::connect(address, encoding).await;
            client.join_now("room/a").await;
            client.publish_all(object, 0..EACH).await;
            client.events_until(object, 2 * EACH).await;
            client.nothing_more().await;
        })
    });
    server.ask("POST /v1/log/delay?ms=3").await;
    let mut round = 0;
    while server.object("room/a").await["log"]["head"].as_u64() < Some(2 * EACH) {
        round += 1;
        let control = if round % 2 == 0 { "crash" } else { "sleep" };
        let (status, _) = server.ask(&format!("POST /v1/objects/room/a/{control}")).await;
        assert!(matches!(status, 200 | 202 | 409), "{status}");
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }
    let seen = witness.events_until(object, 2 * EACH).await;
    assert_eq!(seen.len() as u64, 2 * EACH, "each is stored once");
    witness.nothing_more().await;
    assert!(server.metric("dormouse_object_failures_total").await > 0);
}

/// Says how many of its like wake at one time.
struct Waking(Arc<(AtomicUsize, AtomicUsize)>);

impl Object for Waking {
    fn wake(&mut self, _context: &mut Context<'_>) {
        let waking = self.0.0.fetch_add(1, SeqCst) + 1;
        self.0.1.fetch_max(waking, SeqCst);
        std::thread::sleep(Duration::from_micros(300));
        self.0.0.fetch_sub(1, SeqCst);
    }

    fn publish(&mut self, context: &mut Context<'_>, request: PublishRequest) {
        context.publish(request);
    }
}

async fn storm(max_awake: usize, max_waking: usize) {
    const OBJECTS: usize = 300;
    let counts = Arc::<(AtomicUsize, AtomicUsize)>::default();
    let class = {
        let counts = counts.clone();
        Class::new(move |_| Box::new(Waking(counts.clone())), NEVER)
    };
    let classes = Classes::from([("test", class)]);
    let server = TestServer::start_with(classes, |config| {
        config.test_controls = true;
        config.limits.joins = OBJECTS;
        config.limits.in_flight = OBJECTS;
        config.objects.max_awake = max_awake;
        config.objects.max_waking = max_waking;
    })
    .await;
    let mut client = Client::connect(server.address, Encoding::Msgpack).await;
    let mut objects = Vec::new();
    for number in 0..OBJECTS {
        objects.push(client.join_now(&format!("test/{number}")).await);
    }
    for round in 1..=2 {
        let mut ids = Vec::new();
        for object in &objects {
            ids.push(client.send_publish(*object, round, None).await);
        }
        for id in ids {
            assert_eq!(client.published(id).await.offset, round);
        }
        for number in 0..OBJECTS {
            let (status, _) = server.ask(&format!("POST /v1/objects/test/{number}/sleep")).await;
            assert!(matches!(status, 200 | 202));
        }
        let asleep = |count| count == OBJECTS as u64;
        server.metric_is("dormouse_objects{state=\"asleep\"}", asleep).await;
    }
    let most = counts.1.load(SeqCst);
    assert!(most <= max_waking, "{most} woke at one time");
    for state in ["waking", "awake", "falling_asleep"] {
        assert_eq!(server.metric(&format!("dormouse_objects{{state=\"{state}\"}}")).await, 0);
    }
    let wakes = server.metric("dormouse_object_wakes_total{cause=\"publish\"}").await;
    assert!(wakes >= 2 * OBJECTS as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_wakes_is_served_in_line() {
    storm(10_000, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_wakes_is_served_where_few_may_be_awake() {
    storm(6, 4).await;
}

/// An object whose log is slow has always something to do: messages, or a commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_object_gives_up_its_place_to_one_that_waits() {
    const BUSY: usize = 6;
    const IN_FLIGHT: usize = 5;
    let server = TestServer::start(|config| {
        config.test_controls = true;
        config.objects.max_awake = 1;
    })
    .await;
    assert_eq!(server.ask("POST /v1/log/delay?ms=20").await.0, 200);
    let is_served = Arc::<AtomicBool>::default();
    let busy = (0..BUSY).map(|_| {
        let (is_served, address) = (is_served.clone(), server.address);
        tokio::spawn(async move {
            let mut client = Client::connect(address, Encoding::Msgpack).await;
            let object = client.join_now("room/busy").await;
            let mut waiting = VecDeque::new();
            while !is_served.load(SeqCst) {
                waiting.push_back(client.send_publish(object, 1, None).await);
                if waiting.len() > IN_FLIGHT {
                    client.published(waiting.pop_front().unwrap()).await;
                }
            }
        })
    });
    let busy: Vec<_> = busy.collect();
    server.metric_is("dormouse_log_events_total", |events| events > 20).await;
    let mut client = Client::connect(server.address, Encoding::Json).await;
    let object = client.join_now("room/other").await;
    assert_eq!(client.publish(object, 1).await.offset, 1);
    is_served.store(true, SeqCst);
    for publisher in join_all(busy).await {
        publisher.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sleeps_that_are_asked_for_at_once_all_succeed() {
    let server = start().await;
    let mut client = Client::connect(server.address, Encoding::Json).await;
    let object = client.join_now("room/a").await;
    for round in 1..=5 {
        assert_eq!(client.publish(object, round).await.offset, round);
        let asked = join_all((0..8).map(|_| server.ask("POST /v1/objects/room/a/sleep"))).await;
        assert!(asked.iter().all(|(status, _)| matches!(status, 200 | 202)), "{asked:?}");
        server.object_is("room/a", "asleep").await;
    }
    assert_eq!(slept(&server, "asked").await, 5);
    let (status, answer) = server.ask("POST /v1/objects/room/a/sleep").await;
    assert_eq!((status, answer), (200, json!({ "state": "asleep" })));
    let (status, answer) = server.ask("POST /v1/objects/room/a/crash").await;
    assert!(status == 409 && answer["error"].as_str().unwrap().contains("no instance"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pinned_object_stays_awake() {
    let mut server = TestServer::start(|config| {
        config.test_controls = true;
        config.classes.room.sleep_after = Duration::from_millis(20);
        config.objects.max_awake = 3;
        config.objects.pinned = vec!["room/vip".parse().unwrap()];
    })
    .await;
    server.metric_is("dormouse_objects{state=\"awake\"}", |awake| awake == 1).await;
    let vip = server.object_is("room/vip", "awake").await;
    assert_eq!((&vip["cause"], &vip["pinned"]), (&json!("pin"), &json!(true)));
    assert_eq!(vip["sleeps_at"], Value::Null);

    let mut client = Client::connect(server.address, Encoding::Json).await;
    for round in 1..=3 {
        for number in 0..10 {
            let name = format!("room/{number}");
            let object = match round {
                1 => client.join_now(&name).await,
                _ => server.object(&name).await["id"].as_u64().unwrap(),
            };
            assert_eq!(client.publish(object, round).await.offset, round);
        }
        for number in 0..10 {
            server.object_is(&format!("room/{number}"), "asleep").await;
        }
    }
    let (status, answer) = server.ask("POST /v1/objects/room/vip/sleep").await;
    assert!(status == 409 && answer["error"].as_str().unwrap().contains("objects.pinned"));
    assert_eq!(refused(&server, "pinned").await, 1);
    let still = server.object("room/vip").await;
    assert_eq!((&still["since"], &still["wakes"]), (&vip["since"], &json!(1)), "{still}");

    crash(&server, "room/vip").await;
    server.metric_is("dormouse_object_wakes_total{cause=\"pin\"}", |wakes| wakes == 2).await;
    let object = client.join_now("room/vip").await;
    assert_eq!(client.publish(object, 1).await.offset, 1);
    server.restart().await;
    let vip = server.object_is("room/vip", "awake").await;
    assert_eq!((&vip["cause"], &vip["log"]["head"]), (&json!("pin"), &json!(1)));
}

#[tokio::test]
async fn a_server_does_not_start_with_a_pin_of_an_unknown_class() {
    let data = tempfile::tempdir().unwrap();
    let mut config = Config { data: data.path().join("log"), ..Config::default() };
    config.listen.set_port(0);
    config.internal.set_port(0);
    config.objects.pinned = vec!["room/a".parse().unwrap(), "cellar/a".parse().unwrap()];
    let error = Server::start(config).await.err().unwrap().to_string();
    assert!(error.contains("objects.pinned") && error.contains("`cellar/a`"), "{error}");
}

/// Can't wake the first time.
struct Fragile(Arc<AtomicUsize>);

impl Object for Fragile {
    fn wake(&mut self, _context: &mut Context<'_>) {
        assert!(self.0.fetch_add(1, SeqCst) > 0, "on purpose");
    }

    fn publish(&mut self, context: &mut Context<'_>, request: PublishRequest) {
        context.publish(request);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pinned_object_that_can_not_wake_sleeps_until_its_next_message() {
    let wakes = Arc::new(AtomicUsize::new(0));
    let class = {
        let wakes = wakes.clone();
        Class::new(move |_| Box::new(Fragile(wakes.clone())), Duration::from_millis(1))
    };
    let server = TestServer::start_with(Classes::from([("test", class)]), |config| {
        config.objects.pinned = vec!["test/a".parse().unwrap()];
    })
    .await;
    let failed = "dormouse_object_sleeps_total{reason=\"failed\"}";
    server.metric_is(failed, |count| count == 1).await;
    let mut client = Client::connect(server.address, Encoding::Msgpack).await;
    let object = client.join_now("test/a").await;
    let joined = server.object("test/a").await;
    assert_eq!((&joined["state"], &joined["pinned"]), (&json!("asleep"), &json!(true)));
    assert_eq!(wakes.load(SeqCst), 1, "nobody tries again by himself");
    assert_eq!(client.publish(object, 1).await.offset, 1);
    let awake = server.object("test/a").await;
    assert_eq!((&awake["state"], &awake["cause"]), (&json!("awake"), &json!("publish")));
}
