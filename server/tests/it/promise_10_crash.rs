//! Promise 10, a crash loses nothing promised: whatever was acknowledged is in the log, at its place, once; and what members
//! were sent is the log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use dormouse_protocol::{Encoding, Event, ServerMessage, Start};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::client::{Client, Closed, ENCODINGS, after, number, reply_id};
use crate::process::Program;

const PUBLISHERS: u64 = 3;
const EACH: u64 = 600;
const WINDOW: u64 = 40;
const KILLS: u64 = 6;

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
async fn join(client: &mut Client, start: Start) -> Result<(u64, u32, u64), Closed> {
    let id = client.id();
    let object = "room/crash".parse().unwrap();
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
    publisher: u64,
    progress: Arc<Progress>,
) -> (String, Vec<u64>) {
    let encoding = ENCODINGS[publisher as usize % 2];
    let mut token = None;
    let mut offsets: Vec<u64> = Vec::new();
    loop {
        let mut client = reconnect(address, encoding, &mut token).await;
        let session = client.session().to_owned();
        let _ = publish_on(&mut client, publisher, &mut offsets, &progress).await;
        if offsets.len() as u64 == EACH {
            return (session, offsets);
        }
    }
}

async fn publish_on(
    client: &mut Client,
    publisher: u64,
    offsets: &mut Vec<u64>,
    progress: &Progress,
) -> Result<(), Closed> {
    let (object, ..) = join(client, Start::Now).await?;
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
async fn follow(address: SocketAddr, encoding: Encoding) -> Vec<Event> {
    let mut token = None;
    let mut events: Vec<Event> = Vec::new();
    let mut epoch = None;
    loop {
        let mut client = reconnect(address, encoding, &mut token).await;
        let position = events.len() as u64;
        let start = epoch.map_or(Start::All, |epoch| after(epoch, position));
        let Ok((_, told, from)) = join(&mut client, start).await else { continue };
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_after_kill_nothing_promised_is_lost() {
    let data = TempDir::new().unwrap();
    let variables = [("RUST_LOG", "off"), ("DORMOUSE_CLASSES_ROOM_SLEEP_AFTER", "5ms")];
    let mut program = Program::start(data.path(), 0, &variables);
    let address = program.address;
    let progress = Arc::new(Progress::default());
    let (mut publishers, mut members) = (JoinSet::new(), JoinSet::new());
    for publisher in 0..PUBLISHERS {
        publishers.spawn(publish(address, publisher, progress.clone()));
    }
    for encoding in ENCODINGS {
        members.spawn(follow(address, encoding));
    }
    for kill in 1..=KILLS {
        while progress.acknowledged.load(SeqCst) < kill * PUBLISHERS * EACH / (KILLS + 1) {
            progress.more.notified().await;
        }
        program.kill();
        program = Program::start(data.path(), address.port(), &variables);
    }
    let published = publishers.join_all().await;
    let members = members.join_all().await;
    program.kill();
    let program = Program::start(data.path(), address.port(), &variables);
    let mut reader = Client::connect(program.address, Encoding::Msgpack).await;
    let object = reader.join("room/crash", Start::Now).await.object;
    let log = reader.whole_log(object).await;

    assert_eq!(log.len() as u64, PUBLISHERS * EACH, "everything once");
    for (session, offsets) in published {
        for (turn, offset) in offsets.iter().enumerate() {
            let event = &log[*offset as usize - 1];
            assert_eq!(event.offset, *offset);
            assert_eq!(*event.sender, *session);
            assert_eq!(number(event) % EACH, turn as u64);
            assert_eq!(event.key.as_deref(), Some(&*format!("key-{turn}")));
        }
        assert!(offsets.is_sorted(), "the order in which they were sent");
    }
    for member in members {
        assert!(member == log, "a member was sent something else than the log");
    }
}
