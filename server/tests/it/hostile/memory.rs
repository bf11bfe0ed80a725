//! More is asked to be held than there is memory for: promise 9. The process lives, stays below its bound, serves who
//! behaves, and is as before when it is over.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dormouse_protocol::{
    ClientMessage, Encoding, ErrorCode, History, Join, Payload, PresenceSet, ServerMessage, Start,
};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::time::sleep;

use crate::client::{Client, bystander, history, noise};
use crate::process::Program;
use crate::raw::{Raw, TEXT, frame};
use crate::server::{exchange, metric, metric_is};
use crate::support::{PATIENCE, handshake};

const LIMIT: u64 = 192 << 20;
/// What would be held for these alone is more than twice that.
const HOARDERS: usize = 200;
/// Of 60 KB each.
const PAGES: u32 = 40;

/// The least that can be asked for.
const LEAST: (&str, &str) = ("DORMOUSE_LIMITS_MEMORY", "64MiB");

fn start() -> (Program, TempDir) {
    let data = TempDir::new().unwrap();
    let program = Program::start(
        data.path(),
        0,
        &[
            ("DORMOUSE_LIMITS_MEMORY", "192MiB"),
            ("DORMOUSE_LIMITS_OUTBOUND_BYTES", "2MiB"),
            ("DORMOUSE_LIVENESS_CLOSE_TIMEOUT", "1s"),
        ],
    );
    (program, data)
}

/// The most that the process has ever had resident is within its limit.
fn assert_bounded(program: &Program, limit: u64) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak = peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10;
    assert!(peak <= limit, "it had {peak} bytes");
}

/// A member that is about to ask for page after page of history, and to take none.
async fn hoarder(address: SocketAddr) -> (Raw, Vec<ClientMessage>) {
    let mut raw = Raw::narrow(address, Encoding::Msgpack).await;
    let join = Join::new(0, "room/hoard".parse().unwrap(), Start::Now);
    raw.request(&ClientMessage::Join(join)).await;
    let ServerMessage::Joined(joined) = raw.message().await else { panic!("not joined") };
    let ask = |id| ClientMessage::History(History { id, ..history(joined.object, None, None) });
    (raw, (0..PAGES).map(ask).collect())
}

/// Publishes, and tries again where that is refused for want of memory. How often it was.
async fn publish_in_the_end(client: &mut Client, object: u64, number: u64) -> u64 {
    let since = Instant::now();
    let mut refused = 0;
    loop {
        let id = client.send_publish(object, number, Some(&format!("key-{number}"))).await;
        match client.reply(id).await {
            ServerMessage::Published(published) => {
                assert_eq!(published.offset, number);
                return refused;
            }
            ServerMessage::Error(error) => assert_eq!(error.code, ErrorCode::Overloaded),
            other => panic!("{other:?}"),
        }
        refused += 1;
        assert!(since.elapsed() < PATIENCE, "refused {refused} times");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn overloaded(internal: SocketAddr) -> u64 {
    metric(internal, "dormouse_closes_total{code=\"overloaded\"}").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_members_hoard_who_take_nothing_is_taken_from_them() {
    let (program, _data) = start();
    let (address, internal) = (program.address, program.internal);
    let mut client = Client::connect(address, Encoding::Msgpack).await;
    let object = client.join_now("room/a").await;
    // Idle instances, too.
    for number in 0..100 {
        let other = client.join_now(&format!("room/idle-{number}")).await;
        client.publish_once(other, number, "key").await;
    }
    let hoard = client.join_now("room/hoard").await;
    client.publish_all(hoard, (0..3).map(|_| noise(30_000))).await;
    let mut hoarders = Vec::new();
    for _ in 0..HOARDERS {
        hoarders.push(hoarder(address).await);
    }
    for (raw, requests) in &mut hoarders {
        raw.requests(requests).await;
    }
    let (mut number, since) = (0, Instant::now());
    // How many are closed depends on how much each has taken by then: enough of them to fall below the level.
    while overloaded(internal).await == 0 {
        number += 1;
        publish_in_the_end(&mut client, object, number).await;
        assert!(since.elapsed() < PATIENCE, "nobody is closed");
    }
    // Nobody new may come; who is here is served.
    let refused = exchange(address, &handshake("", "")).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("\r\nretry-after: ") && refused.contains("memory"), "{refused}");
    assert!(metric(internal, "dormouse_connections_refused_total{reason=\"memory\"}").await > 0);
    assert!(metric(internal, "dormouse_memory_refusals_total{purpose=\"history\"}").await > 0);
    metric_is(internal, "dormouse_object_sleeps_total{reason=\"memory\"}", |slept| slept > 0).await;
    assert!(metric(internal, "dormouse_memory_pressure").await > 0);
    for _ in 0..20 {
        number += 1;
        publish_in_the_end(&mut client, object, number).await;
    }
    assert_eq!(client.events_until(object, number).await.len() as u64, number);
    assert_bounded(&program, LIMIT);

    drop(hoarders);
    metric_is(internal, "dormouse_connections", |open| open == 1).await;
    metric_is(internal, "dormouse_memory_pressure", |level| level == 0).await;
    // Every permit has come back: those that are left are of one connection and its objects.
    metric_is(internal, "dormouse_memory_budget_bytes", |bytes| bytes < 1 << 20).await;
    bystander(address).await;
    number += 1;
    assert_eq!(publish_in_the_end(&mut client, object, number).await, 0);
}

/// Messages of which all but the last byte has come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_unfinished_messages_take_is_taken_from_them() {
    let data = TempDir::new().unwrap();
    let program = Program::start(
        data.path(),
        0,
        &[
            ("DORMOUSE_LIMITS_MEMORY", "192MiB"),
            ("DORMOUSE_LIMITS_MESSAGE_BYTES", "4MiB"),
            ("DORMOUSE_LIMITS_OUTBOUND_BYTES", "4MiB"),
            ("DORMOUSE_LIVENESS_CLOSE_TIMEOUT", "1s"),
        ],
    );
    let (address, internal) = (program.address, program.internal);
    let mut client = Client::connect(address, Encoding::Msgpack).await;
    let mut message = frame(TEXT, &vec![b'x'; 4 << 20]);
    message.pop();
    let mut unfinished = Vec::new();
    for _ in 0..60 {
        unfinished.push(Raw::connect(address, Encoding::Json).await);
    }
    for raw in &mut unfinished {
        // It may be among those that are closed already.
        let _ = raw.stream.write_all(&message).await;
    }
    metric_is(internal, "dormouse_closes_total{code=\"overloaded\"}", |closes| closes > 0).await;
    let mut told = 0;
    for raw in &mut unfinished {
        let bytes = raw.stream.try_read(&mut [0; 16]).unwrap_or(0);
        told += u32::from(bytes > 0);
    }
    assert!(told > 0, "who reads is told");
    client.ping().await;
    assert_bounded(&program, LIMIT);
    drop(unfinished);
    metric_is(internal, "dormouse_memory_pressure", |level| level == 0).await;
    bystander(address).await;
}

/// What the log keeps in memory of what passed through it is within the limit, or nobody could give it up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_the_log_takes_leaves_room_for_who_publishes_and_reads() {
    const EVENTS: u64 = 3_000;
    let data = TempDir::new().unwrap();
    let mut program = Program::start(data.path(), 0, &[LEAST]);
    let mut client = Client::connect(program.address, Encoding::Msgpack).await;
    let object = client.join_now("room/a").await;
    let text = noise(30_000);
    client.publish_all(object, (0..EVENTS).map(|_| &text)).await;
    assert_eq!(client.whole_log(object).await.len() as u64, EVENTS);
    program.kill();

    let program = Program::start(data.path(), 0, &[LEAST]);
    let mut client = Client::connect(program.address, Encoding::Msgpack).await;
    let object = client.join_now("room/a").await;
    client.publish_all(object, (0..100).map(|_| &text)).await;
    metric_is(program.internal, "dormouse_memory_pressure", |level| level == 0).await;
    bystander(program.address).await;
}

/// Rosters are held for nobody's socket, so nobody can be closed for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_presence_takes_is_bounded() {
    const MEMBERS: usize = 60;
    const ROOMS: usize = 100;
    let data = TempDir::new().unwrap();
    let program =
        Program::start(data.path(), 0, &[LEAST, ("DORMOUSE_LIMITS_PRESENCE_BYTES", "16KiB")]);
    let mut members = Vec::new();
    for _ in 0..MEMBERS {
        let mut client = Client::connect(program.address, Encoding::Msgpack).await;
        let mut objects = Vec::new();
        for room in 0..ROOMS {
            objects.push(client.join_now(&format!("room/{room}")).await);
        }
        members.push((client, objects));
    }
    let text = Payload::of(&noise(16_000)).unwrap();
    let mut refused = 0;
    for (client, objects) in &mut members {
        for &object in &*objects {
            let (id, data) = (client.id(), Some(text.clone()));
            client.send(&ClientMessage::PresenceSet(PresenceSet { id, object, data })).await;
            match client.reply(id).await {
                ServerMessage::Done(_) => {}
                ServerMessage::Error(error) => {
                    assert_eq!(error.code, ErrorCode::Overloaded);
                    refused += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(refused > 0, "nobody was refused");
    assert_bounded(&program, 64 << 20);
}
