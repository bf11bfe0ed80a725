//! Promise 10, a crash loses nothing promised: whatever was acknowledged is in the log, at its place, once; and what members
//! were sent is the log.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use dormouse_protocol::{Encoding, Event, ServerMessage, Start};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::client::{Client, Closed, ENCODINGS, after, number, reply_id};
use crate::process::Program;

const OBJECTS: [&str; 2] = ["room/crash", "room/second"];
const PUBLISHERS: u64 = 2;
const EACH: u64 = 600;
const WINDOW: u64 = 40;
const KILLS: u64 = 6;

/// Objects sleep and wake all the time.
pub(crate) const VARIABLES: [(&str, &str); 2] =
    [("RUST_LOG", "off"), ("DORMOUSE_CLASSES_ROOM_SLEEP_AFTER", "5ms")];

/// What has come about so far, and a bell for whoever waits for more.
#[derive(Default)]
struct Progress {
    acknowledged: AtomicU64,
    more: Notify,
}

/// Connects again until the server is there, in the same session after the first time.
async fn reconnect(address: SocketAddr, encoding: Encoding, token: &mut Option<String>) -> Client {
    loop {
        if let Ok(client) = Client::try_connect(address, encoding, token.as_deref()).await {
            *token = Some(client.token().to_owned());
            return client;
        }
        tokio::task::yield_now().await;
    }
}

/// Joins without a word on failure: the connection is over then, and the caller connects again.
async fn join(client: &mut Client, object: &str, start: Start) -> Result<(u64, u32, u64), Closed> {
    let id = client.id();
    let object = object.parse().unwrap();
    let join = dormouse_protocol::Join::new(id, object, start);
    client.try_send(&dormouse_protocol::ClientMessage::Join(join)).await?;
    match client.try_find(|message| reply_id(message) == Some(id)).await? {
        ServerMessage::Joined(joined) => {
            assert_eq!(joined.reset, None, "a position is lost");
            Ok((joined.object, joined.epoch, joined.from))
        }
        other => panic!("{other:?}"),
    }
}

/// Publishes numbers in order with keys, many at a time; after a crash again from the first that was not acknowledged.
/// Returns the offsets that it was told.
async fn publish(
    address: SocketAddr,
    object: &str,
    publisher: u64,
    progress: Arc<Progress>,
) -> (String, Vec<u64>) {
    let encoding = ENCODINGS[publisher as usize % 2];
    let mut token = None;
    let mut offsets: Vec<u64> = Vec::new();
    loop {
        let mut client = reconnect(address, encoding, &mut token).await;
        let session = client.session().to_owned();
        let _ = publish_on(&mut client, object, publisher, &mut offsets, &progress).await;
        if offsets.len() as u64 == EACH {
            return (session, offsets);
        }
    }
}

async fn publish_on(
    client: &mut Client,
    object: &str,
    publisher: u64,
    offsets: &mut Vec<u64>,
    progress: &Progress,
) -> Result<(), Closed> {
    let (object, ..) = join(client, object, Start::Now).await?;
    let first = offsets.len() as u64;
    let mut sent = first;
    let base = client.id();
    while (offsets.len() as u64) < EACH {
        while sent < EACH && sent < offsets.len() as u64 + WINDOW {
            let id = base + (sent - first) as u32;
            let data = publisher * EACH + sent;
            let key = format!("key-{sent}");
            client.try_send(&crate::client::publish(id, object, data, Some(&key))).await?;
            sent += 1;
        }
        let id = base + (offsets.len() as u64 - first) as u32;
        match client.try_find(|message| reply_id(message) == Some(id)).await? {
            ServerMessage::Published(told) => offsets.push(told.offset),
            other => panic!("{other:?}"),
        }
        client.rest();
        progress.acknowledged.fetch_add(1, SeqCst);
        progress.more.notify_one();
    }
    Ok(())
}

/// Follows the object until it has everything, from its own position after each crash.
async fn follow(address: SocketAddr, object: &str, encoding: Encoding) -> Vec<Event> {
    let mut token = None;
    let mut events: Vec<Event> = Vec::new();
    let mut epoch = None;
    loop {
        let mut client = reconnect(address, encoding, &mut token).await;
        let position = events.len() as u64;
        let start = epoch.map_or(Start::All, |epoch| after(epoch, position));
        let Ok((_, told, from)) = join(&mut client, object, start).await else { continue };
        assert_eq!(from, position);
        epoch = Some(told);
        loop {
            match client.try_find(|message| matches!(message, ServerMessage::Events(_))).await {
                Ok(ServerMessage::Events(more)) => events.extend(more.events),
                Ok(other) => panic!("{other:?}"),
                Err(Closed(_)) => break,
            }
            if events.len() as u64 == PUBLISHERS * EACH {
                return events;
            }
        }
    }
}

/// Lets publishers and members of two objects work while the program ends as often as `ends` says, each time started again by
/// `again` at the same address; then checks all that they were told.
pub(crate) async fn outlives(
    ends: u64,
    mut program: Program,
    again: impl AsyncFn(Program) -> Program,
) {
    let address = program.address;
    let progress = Arc::new(Progress::default());
    let (mut publishers, mut members) = (JoinSet::new(), JoinSet::new());
    for object in OBJECTS {
        for publisher in 0..PUBLISHERS {
            let progress = progress.clone();
            publishers.spawn(async move {
                (object, publish(address, object, publisher, progress).await)
            });
        }
        for encoding in ENCODINGS {
            members.spawn(async move { (object, follow(address, object, encoding).await) });
        }
    }
    let all = OBJECTS.len() as u64 * PUBLISHERS * EACH;
    for end in 1..=ends {
        while progress.acknowledged.load(SeqCst) < end * all / (ends + 1) {
            progress.more.notified().await;
        }
        program = again(program).await;
    }
    let published = publishers.join_all().await;
    let members = members.join_all().await;
    let program = again(program).await;

    let mut logs = HashMap::new();
    let mut reader = Client::connect(program.address, Encoding::Msgpack).await;
    for object in OBJECTS {
        let number = reader.join(object, Start::Now).await.object;
        let log = reader.whole_log(number).await;
        assert_eq!(log.len() as u64, PUBLISHERS * EACH, "everything once");
        logs.insert(object, log);
    }
    for (object, (session, offsets)) in published {
        for (turn, offset) in offsets.iter().enumerate() {
            let event = &logs[object][*offset as usize - 1];
            assert_eq!(event.offset, *offset);
            assert_eq!(*event.sender, *session);
            assert_eq!(number(event) % EACH, turn as u64);
            assert_eq!(event.key.as_deref(), Some(&*format!("key-{turn}")));
        }
        assert!(offsets.is_sorted(), "the order in which they were sent");
    }
    for (object, member) in members {
        assert!(member == logs[object], "a member was sent something else than the log");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_after_kill_nothing_promised_is_lost() {
    let data = TempDir::new().unwrap();
    let program = Program::start(data.path(), 0, &VARIABLES);
    outlives(KILLS, program, async |mut program| {
        program.kill();
        Program::start(data.path(), program.address.port(), &VARIABLES)
    })
    .await;
}
