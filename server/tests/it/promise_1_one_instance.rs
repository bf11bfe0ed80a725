//! Promise 1, one instance: an object never has two live instances, and handles one message at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use dormouse::log::Identity;
use dormouse::object::{Class, Classes, Context, Object, PublishRequest};
use dormouse_protocol::{ClientMessage, ErrorCode, Publish, Start};
use tokio::task::JoinSet;

use crate::client::{Client, ENCODINGS, Payload};
use crate::server::TestServer;

#[derive(Default)]
struct Counts {
    live: AtomicUsize,
    busy: AtomicUsize,
    woken: AtomicUsize,
    /// Instances that lived, or turns that ran, beside another one.
    overlaps: AtomicUsize,
}

/// Counts its like, and panics where it is told to.
struct Counting(Arc<Counts>);

fn class(counts: &Arc<Counts>, sleep_after: Duration) -> Class {
    let counts = counts.clone();
    let maker = move |_: &Identity| {
        counts.woken.fetch_add(1, SeqCst);
        if counts.live.fetch_add(1, SeqCst) > 0 {
            counts.overlaps.fetch_add(1, SeqCst);
        }
        Box::new(Counting(counts.clone())) as Box<dyn Object>
    };
    Class::new(maker, sleep_after)
}

impl Counting {
    fn alone(&self, act: impl FnOnce()) {
        if self.0.busy.fetch_add(1, SeqCst) > 0 {
            self.0.overlaps.fetch_add(1, SeqCst);
        }
        act();
        self.0.busy.fetch_sub(1, SeqCst);
    }
}

impl Object for Counting {
    fn wake(&mut self, _context: &mut Context<'_>) {
        self.alone(std::thread::yield_now);
    }

    fn publish(&mut self, context: &mut Context<'_>, request: PublishRequest) {
        assert_ne!(&*request.publish.kind, "boom", "on purpose");
        self.alone(|| context.publish(request));
    }

    /// Takes its time, so that messages arrive meanwhile.
    fn sleep(&mut self) {
        self.alone(|| std::thread::sleep(Duration::from_millis(3)));
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, SeqCst);
    }
}

async fn start(counts: &Arc<Counts>, sleep_after: Duration) -> TestServer {
    let classes = Classes::from([("counting", class(counts, sleep_after))]);
    TestServer::start_with(classes, |_| {}).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waking_and_falling_asleep_do_not_meet() {
    const CLIENTS: u64 = 12;
    const EACH: u64 = 40;
    let counts = Arc::new(Counts::default());
    let server = start(&counts, Duration::from_millis(1)).await;
    let mut clients = JoinSet::new();
    for index in 0..CLIENTS {
        let address = server.address;
        clients.spawn(async move {
            let encoding = ENCODINGS[index as usize % 2];
            let mut client = Client::connect(address, encoding).await;
            let object = client.join_now("counting/one").await;
            let mut offsets = Vec::new();
            for turn in 0..EACH {
                offsets.push(client.publish(object, turn).await.offset);
                // A pause about as long as it takes to fall asleep, different for each.
                tokio::time::sleep(Duration::from_micros(300 * (index + turn) % 2500)).await;
            }
            assert!(offsets.is_sorted());
            client.events_until(object, CLIENTS * EACH).await;
            client.nothing_more().await;
            offsets
        });
    }
    let mut offsets: Vec<u64> = clients.join_all().await.into_iter().flatten().collect();
    offsets.sort_unstable();
    assert!(offsets.into_iter().eq(1..=CLIENTS * EACH), "every publish has an offset of its own");
    assert!(counts.woken.load(SeqCst) > 1, "the object slept meanwhile");
    assert_eq!(counts.overlaps.load(SeqCst), 0);
    for state in ["awake", "falling_asleep"] {
        server
            .metric_is(&format!("dormouse_objects{{state=\"{state}\"}}"), |count| count == 0)
            .await;
    }
    assert_eq!(counts.live.load(SeqCst), 0);
}

async fn boom(client: &mut Client, object: u64) -> u32 {
    let (id, data) = (client.id(), Payload::of(&()).unwrap());
    let kind = "boom".parse().unwrap();
    client.send(&ClientMessage::Publish(Publish { id, object, kind, data, key: None })).await;
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_panics_takes_nothing_with_it() {
    let counts = Arc::new(Counts::default());
    let server = start(&counts, Duration::from_secs(10)).await;
    let mut witness = Client::connect(server.address, ENCODINGS[0]).await;
    let object = witness.join_now("counting/one").await;
    let mut client = Client::connect(server.address, ENCODINGS[1]).await;
    client.join_now("counting/one").await;
    for round in 0..5_u64 {
        assert_eq!(client.publish(object, round).await.offset, 2 * round + 1);
        let id = boom(&mut client, object).await;
        assert_eq!(client.refusal(id).await.code, ErrorCode::Internal);
        assert_eq!(client.publish(object, round).await.offset, 2 * round + 2);
    }
    assert_eq!(witness.events_until(object, 10).await.len(), 10);
    witness.nothing_more().await;
    assert_eq!(server.metric("dormouse_object_failures_total").await, 5);
    assert_eq!(server.metric("dormouse_objects{state=\"awake\"}").await, 1);
    assert_eq!(counts.live.load(SeqCst), 1);
    assert_eq!(counts.overlaps.load(SeqCst), 0);
}

/// Publishes before and behind the fatal one are answered as what became of them: stored once or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_among_many_publishes_leaves_no_hole() {
    let counts = Arc::new(Counts::default());
    let server = start(&counts, Duration::from_secs(10)).await;
    let mut client = Client::connect(server.address, ENCODINGS[0]).await;
    let object = client.join_now("counting/one").await;
    let (mut ids, mut fatal) = (Vec::new(), Vec::new());
    for number in 0..100_u64 {
        if number % 20 == 10 {
            fatal.push(boom(&mut client, object).await);
        }
        ids.push((number, client.send_publish(object, number, None).await));
    }
    for id in fatal {
        assert_eq!(client.refusal(id).await.code, ErrorCode::Internal);
    }
    let mut stored = Vec::new();
    for (number, id) in ids {
        match client.reply(id).await {
            dormouse_protocol::ServerMessage::Published(published) => {
                stored.push((published.offset, number));
            }
            dormouse_protocol::ServerMessage::Error(error) => {
                assert_eq!(error.code, ErrorCode::Internal);
            }
            other => panic!("{other:?}"),
        }
    }
    let next = client.publish(object, 1000).await.offset;
    stored.push((next, 1000));
    let log = client.whole_log(object).await;
    let log: Vec<_> =
        log.iter().map(|event| (event.offset, crate::client::number(event))).collect();
    assert_eq!(log, stored);
    client.leave(object).await;
    let again = client.join("counting/one", Start::All).await;
    assert_eq!(again.head, next);
}
