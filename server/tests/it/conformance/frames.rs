//! What waits for a slow client while its object comes and goes: all of it arrives, in order, and a close is the last.

use std::time::Duration;

use dormouse_protocol::{ClientMessage, Encoding, Event, Join, Joined, Ping, ServerMessage, Start};
use serde_json::json;

use super::{NEVER, crash, join, put_to_sleep};
use crate::client::{Client, after, noise, publish};
use crate::raw::{BINARY, CLOSE, PING, PONG, Raw, TEXT, closed_with, frame};
use crate::server::TestServer;

const SLOW: &str = "room/slow";
const OTHER: &str = "room/other";
const EVENT_CHARS: usize = 40_000;
const FELL_BEHIND: &str = "dormouse_members_fell_behind_total";

/// Where what a slow client has not read waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    /// In its connection, as frames.
    Queued,
    /// In the log, but for a little.
    Logged,
}

/// How an instance ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Asked,
    Evicted,
    Crashed,
}

/// A member that reads when it is told to.
struct Member {
    raw: Raw,
    joined: Joined,
    /// The last event that it has read.
    position: u64,
}

/// A slow member, and one that publishes and reads.
struct Scene {
    server: TestServer,
    slow: Member,
    publisher: Client,
    object: u64,
    other: u64,
    published: u64,
    text: String,
}

impl Scene {
    async fn start(pending: Pending) -> Self {
        let server = TestServer::start(|config| {
            config.test_controls = true;
            config.classes.room.sleep_after = NEVER;
            // One alone has its place: see `End::Evicted`.
            config.objects.max_awake = 1;
            // What the publisher has received, the slow member's socket was offered before.
            config.reactors = 1;
            config.limits.outbound_bytes = match pending {
                Pending::Queued => 256 << 20,
                Pending::Logged => 64 << 10,
            };
            // Closes wait for a slow reader.
            config.liveness.close_timeout = Duration::from_secs(30);
            config.shutdown_timeout = Duration::from_secs(30);
        })
        .await;
        let raw = Raw::narrow(server.address, Encoding::Msgpack).await;
        let slow = Member::join(raw, SLOW).await;
        let (mut publisher, object) = join(&server, Encoding::Json, SLOW).await;
        let other = publisher.join_now(OTHER).await;
        let text = noise(EVENT_CHARS);
        let mut scene = Self { server, slow, publisher, object, other, published: 0, text };
        scene.fill(pending).await;
        scene
    }

    /// Publishes until the slow member's socket takes no more, and, where that is wanted, it has fallen behind.
    async fn fill(&mut self, pending: Pending) {
        loop {
            self.publish(4).await;
            assert!(self.published < 2_000, "the system takes more than anybody reads");
            let is_behind = self.server.metric(FELL_BEHIND).await > 0;
            if self.is_pending().await && is_behind == (pending == Pending::Logged) {
                return;
            }
        }
    }

    /// Publishes events that carry their own offsets.
    async fn publish(&mut self, events: u64) {
        for _ in 0..events {
            self.published += 1;
            let data = (self.published, &self.text);
            let stored = self.publisher.publish(self.object, data).await;
            assert_eq!(stored.offset, self.published);
            self.publisher.events_until(self.object, self.published).await;
        }
    }

    /// Whether something waits for the slow member; nothing does for the other one, which has read all.
    async fn is_pending(&self) -> bool {
        self.server.object(SLOW).await["connections_at_rest"] == 1
    }

    async fn end(&mut self, end: End) {
        match end {
            End::Asked => _ = put_to_sleep(&self.server, SLOW).await,
            End::Evicted => _ = self.publisher.publish(self.other, "here").await,
            End::Crashed => crash(&self.server, SLOW).await,
        }
        self.server.object_is(SLOW, "asleep").await;
    }

    /// Ends the object's instance, and has it wake and end again by each of these.
    async fn come_and_go(&mut self, ends: &[End]) {
        self.end(End::Asked).await;
        let before = self.wakes().await;
        for (wakes, end) in (before + 1..).zip(ends) {
            self.publish(2).await;
            self.end(*end).await;
            assert_eq!(self.wakes().await, wakes, "{end:?}");
        }
    }

    async fn wakes(&self) -> u64 {
        self.server.object(SLOW).await["wakes"].as_u64().unwrap()
    }
}

impl Member {
    async fn join(mut raw: Raw, name: &str) -> Self {
        let join_now = Join::new(0, name.parse().unwrap(), Start::Now);
        raw.request(&ClientMessage::Join(join_now)).await;
        let ServerMessage::Joined(joined) = raw.message().await else { panic!("not joined") };
        assert!(matches!(raw.message().await, ServerMessage::CaughtUp(_)));
        Self { raw, joined, position: 0 }
    }

    fn take(&mut self, events: &[Event]) {
        for event in events {
            assert_eq!(event.offset, self.position + 1, "a hole or a repeat");
            let (number, text): (u64, String) = event.data.read().unwrap();
            assert_eq!((number, text.len()), (event.offset, EVENT_CHARS));
            self.position = event.offset;
        }
    }

    /// Reads all events up to the last one, and is told that it is live again where it had fallen behind.
    async fn read_all(&mut self, last: u64, pending: Pending) {
        let mut is_live = pending == Pending::Queued;
        while self.position < last || !is_live {
            match self.raw.message().await {
                ServerMessage::Events(events) => self.take(&events.events),
                ServerMessage::CaughtUp(told) if pending == Pending::Logged => {
                    assert_eq!(told.offset, self.position);
                    is_live = self.position == last;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Reads events up to a close frame, which is the last that it is sent.
    async fn read_to_close(&mut self, code: u16) {
        loop {
            match self.raw.frame().await.expect("a close frame ends the connection") {
                (BINARY, bytes) => match Encoding::Msgpack.decode_server(&bytes).unwrap() {
                    ServerMessage::Events(events) => self.take(&events.events),
                    ServerMessage::CaughtUp(_) => {}
                    other => panic!("{other:?}"),
                },
                (CLOSE, payload) => break assert_eq!(closed_with(&payload), code),
                other => panic!("{other:?}"),
            }
        }
        self.raw.send(&frame(CLOSE, &code.to_be_bytes())).await;
        assert_eq!(self.raw.frame().await, None);
    }
}

async fn a_slow_client_gets_everything(pending: Pending) {
    const ENDS: [End; 4] = [End::Evicted, End::Crashed, End::Evicted, End::Crashed];
    let mut scene = Scene::start(pending).await;
    scene.come_and_go(&[End::Asked; 10]).await;
    scene.come_and_go(&ENDS).await;
    let wakes = scene.wakes().await;
    assert!(wakes >= 14 && scene.is_pending().await, "{wakes} wakes");
    let is_behind = scene.server.metric(FELL_BEHIND).await > 0;
    assert_eq!(is_behind, pending == Pending::Logged);

    scene.slow.read_all(scene.published, pending).await;
    let asleep = scene.server.object(SLOW).await;
    assert_eq!((&asleep["state"], &asleep["wakes"]), (&json!("asleep"), &json!(wakes)));
    // It is live, and nothing of it is stuck.
    scene.publish(1).await;
    scene.slow.read_all(scene.published, Pending::Queued).await;
    scene.slow.raw.request(&ClientMessage::Ping(Ping { id: 2 })).await;
    assert!(matches!(scene.slow.raw.message().await, ServerMessage::Done(_)));
    assert_eq!(scene.server.object(SLOW).await["connections_at_rest"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c38_a_frame_queued_for_a_slow_client_when_the_object_sleeps_is_delivered_in_order() {
    a_slow_client_gets_everything(Pending::Queued).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c38_a_slow_client_that_fell_behind_gets_everything_though_the_object_sleeps() {
    a_slow_client_gets_everything(Pending::Logged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_a_queued_close_is_delivered_last_though_the_object_sleeps() {
    for (code, name, violation) in
        [(1002, "protocol_error", vec![0xFF, 0x00]), (1003, "unsupported_data", frame(TEXT, b"{}"))]
    {
        let mut scene = Scene::start(Pending::Queued).await;
        scene.slow.raw.send(&violation).await;
        let closes = format!("dormouse_closes_total{{code=\"{name}\"}}");
        scene.server.metric_is(&closes, |closes| closes == 1).await;
        let last = scene.published;
        scene.come_and_go(&[End::Asked, End::Evicted, End::Crashed]).await;
        scene.slow.read_to_close(code).await;
        assert_eq!(scene.slow.position, last, "what was queued before the close");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_a_close_of_one_who_fell_behind_is_delivered_last_though_the_object_sleeps() {
    let mut scene = Scene::start(Pending::Logged).await;
    scene.slow.raw.send(&frame(TEXT, b"{}")).await;
    scene.come_and_go(&[End::Asked; 3]).await;
    scene.slow.read_to_close(1003).await;
    // What it was not sent any more, it gets when it resumes.
    let (position, head) = (scene.slow.position, scene.published);
    assert!(0 < position && position <= head);
    let mut again = Client::connect(scene.server.address, Encoding::Msgpack).await;
    let joined = again.join(SLOW, after(scene.slow.joined.epoch, position)).await;
    assert!(joined.resumed);
    assert_eq!(again.caught_up(joined.object).await.len() as u64, head - position);
    assert_eq!(scene.server.object(SLOW).await["state"], "asleep");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_the_farewell_of_a_server_that_stops_is_delivered_last() {
    for pending in [Pending::Queued, Pending::Logged] {
        let mut scene = Scene::start(pending).await;
        scene.come_and_go(&[End::Asked]).await;
        let Scene { server, slow, publisher, published, .. } = &mut scene;
        let read = async {
            // All connections of a reactor are told together.
            assert_eq!(publisher.closed().await, Some(3000));
            slow.read_to_close(3000).await;
        };
        tokio::join!(server.stop(), read);
        assert!(pending == Pending::Logged || slow.position == *published);
        assert!(slow.position > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c40_pings_and_publishes_that_race_with_sleep_are_all_answered() {
    const ROUNDS: u32 = 150;
    let server = TestServer::start(|config| {
        config.test_controls = true;
        config.classes.room.sleep_after = NEVER;
    })
    .await;
    let raw = Raw::connect(server.address, Encoding::Msgpack).await;
    let Member { mut raw, joined, .. } = Member::join(raw, "room/a").await;
    let request = |message| frame(BINARY, &Encoding::Msgpack.encode_client(&message));
    let race = async {
        for round in 1..=ROUNDS {
            let number = round.to_be_bytes();
            let bytes = [
                request(publish(round, joined.object, round, None)),
                frame(PING, &number),
                request(ClientMessage::Ping(Ping { id: ROUNDS + round })),
            ];
            raw.send(&bytes.concat()).await;
            let (mut stored, mut told, mut pongs, mut replies) = (0, 0, 0, 0);
            while (stored, told, pongs, replies) != (1, 1, 1, 1) {
                let (first, payload) = raw.frame().await.expect("the connection is open");
                if first == PONG {
                    assert_eq!(payload, number);
                    pongs += 1;
                    continue;
                }
                match Encoding::Msgpack.decode_server(&payload).unwrap() {
                    ServerMessage::Published(published) => {
                        assert_eq!((published.id, published.offset), (round, round.into()));
                        stored += 1;
                    }
                    ServerMessage::Events(events) => {
                        assert_eq!(
                            (events.events.len(), events.events[0].offset),
                            (1, round.into())
                        );
                        told += 1;
                    }
                    ServerMessage::Done(done) => {
                        assert_eq!(done.id, ROUNDS + round);
                        replies += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    };
    let sleeps = async {
        loop {
            server.ask("POST /v1/objects/room/a/sleep").await;
        }
    };
    tokio::select! {
        () = race => {}
        () = sleeps => {}
    }
    let asleep = put_to_sleep(&server, "room/a").await;
    assert!(asleep["wakes"].as_u64() > Some(1), "{asleep}");
    assert_eq!(asleep["connections_at_rest"], 1, "nothing is stuck");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c41_a_full_queue_spills_to_the_log_and_the_object_sleeps() {
    let mut scene = Scene::start(Pending::Logged).await;
    let queued = async |scene: &Scene| {
        let delivered = scene.server.metric("dormouse_events_delivered_total").await;
        (delivered, scene.server.metric("dormouse_catch_up_pages_total").await)
    };
    let (delivered, pages) = queued(&scene).await;
    scene.come_and_go(&[End::Asked; 3]).await;
    // Not one more is queued, live or from the log: each event has gone to the publisher only.
    assert_eq!(queued(&scene).await, (delivered + 6, pages));
    assert_eq!(scene.server.metric(FELL_BEHIND).await, 1);
    assert_eq!(scene.server.metric("dormouse_object_sleeps_total{reason=\"asked\"}").await, 4);
    scene.slow.read_all(scene.published, Pending::Logged).await;
    let caught_up = scene.server.metric("dormouse_events_caught_up_total").await;
    assert_eq!(delivered + 6 + caught_up, 2 * scene.published, "each was sent to each once");
}
