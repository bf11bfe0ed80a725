//! Data directories that earlier versions wrote open, and everything in them is there: `tests/fixtures`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use dormouse::config::Config;
use dormouse_protocol::{
    ClientMessage, Encoding, Event, Join, Payload, Publish, ResetReason, Start, Watch,
};
use serde_json::{Value, json};

use crate::checked_client::{CheckedClient, enter};
use crate::client::{Client, ENCODINGS, after, history};
use crate::raw::Raw;
use crate::server::TestServer;
use crate::support::PATIENCE;

/// The session that wrote the fixtures.
const SENDER: &str = "cpe3ou76xu7li";
/// Continues that session under [`SESSION_KEY`]. The fixtures come from before sessions had a key.
const TOKEN: &str = "E8m3U_69PrRla0NXO8rgm7Pevrq2tD5j";
const SESSION_KEY: [u8; 32] = [7; 32];
/// The token that wrote the fixtures: any 128 bits were one.
const OLD_TOKEN: &str = "AAECAwQFBgcICQoLDA0ODw";

/// All of whose events are trimmed, before anything else is written.
const EMPTIED: &str = "room/emptied";
const EMPTIED_EVENTS: u64 = 3;
/// Whose oldest events are trimmed.
const TRIMMED: &str = "room/trimmed";
const TRIMMED_EVENTS: u64 = 12;
const KEPT_EVENTS: u64 = 8;
/// Whose events are the [`values`], the odd ones with a key.
const VALUES: &str = "room/values";
/// Which has a roster and no event.
const HERE: &str = "room/here";

/// Of every kind that an application may send, large and small.
fn values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!([0, -1, 255, -32_768, 65_536, u64::MAX, i64::MIN]),
        json!([0.5, -1e300, 5e-324]),
        json!("héllo \u{0} 🐭"),
        json!({"$binary": "AAECAwQFBgcICQoLDA0ODw=="}),
        json!({"nested": {"list": [[], {}, [null]]}, "": "", "__proto__": 1}),
        json!("x".repeat(5_000)),
    ]
}

fn kind(at: usize) -> String {
    ["message", "a.B-c_d:e~f@0", "k"][at % 3].to_owned()
}

fn key(at: usize) -> Option<String> {
    (at % 2 == 1).then(|| format!("ключ {at}"))
}

fn long_name() -> String {
    format!("room/{}", "aZ09-_.:~@".repeat(13).split_at(128).0)
}

fn present() -> Value {
    json!({"name": "Ann", "colour": null})
}

fn publish(id: u32, object: u64, at: usize) -> ClientMessage {
    let key = key(at).map(|key| key.parse().unwrap());
    let data = Payload::of(&values()[at]).unwrap();
    ClientMessage::Publish(Publish {
        id,
        object,
        kind: kind(at).parse().unwrap(),
        data,
        key,
        after: None,
    })
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn tar(action: &str, archive: &Path, dir: &Path) {
    let mut tar = Command::new("tar");
    tar.arg(action).arg(archive).arg("-C").arg(dir).arg(".");
    assert!(tar.status().unwrap().success());
}

/// A fixture is older than what a server keeps by default.
fn keep_everything(config: &mut Config) {
    config.classes.room.retention.max_age = Duration::ZERO;
    config.classes.room.retention.max_events = 0;
    config.classes.room.retention.max_bytes = 0;
    config.objects.dedupe_window = Duration::from_secs(1 << 32);
    config.presence.grace = Duration::from_hours(1);
}

/// Waits until so many events of an object are trimmed.
async fn trimmed(server: &TestServer, object: &str, events: u64) {
    let since = Instant::now();
    while server.object(object).await["log"]["trimmed"] != events {
        assert!(since.elapsed() < PATIENCE, "{object} is not trimmed");
    }
}

async fn fill(client: &mut Client, object: &str, events: u64) {
    let object = client.join_now(object).await;
    client.publish_all(object, 1..=events).await;
}

/// Whoever wrote the fixtures, in the object with a roster.
fn join_here(member: Option<u64>) -> Join {
    let presence = Some(Payload::of(&present()).unwrap());
    Join { presence, member, ..enter(HERE, Watch::Roster) }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes a new fixture: see tests/fixtures/README.md"]
async fn write_the_fixture() {
    let start = TestServer::start(|config| {
        keep_everything(config);
        std::fs::create_dir(&config.data).unwrap();
        std::fs::write(config.data.join("session.key"), SESSION_KEY).unwrap();
    });
    let mut server = start.await;
    let mut client = Client::resume(server.address, Encoding::Msgpack, TOKEN).await;
    fill(&mut client, EMPTIED, EMPTIED_EVENTS).await;
    server.config.classes.room.retention.max_age = Duration::from_millis(1);
    server.restart().await;
    trimmed(&server, EMPTIED, EMPTIED_EVENTS).await;

    keep_everything(&mut server.config);
    server.restart().await;
    let mut client = Client::resume(server.address, Encoding::Msgpack, TOKEN).await;
    fill(&mut client, TRIMMED, TRIMMED_EVENTS).await;
    server.config.classes.room.retention.max_events = KEPT_EVENTS;
    server.restart().await;
    trimmed(&server, TRIMMED, TRIMMED_EVENTS - KEPT_EVENTS).await;

    let mut checked = CheckedClient::again(server.address, Encoding::Msgpack, TOKEN).await;
    let here = checked.join(join_here(None)).await.object;
    checked.until(here, |sight| !sight.present.is_empty()).await;
    let mut client = Client::resume(server.address, Encoding::Msgpack, TOKEN).await;
    let object = client.join_now(VALUES).await;
    for at in 0..values().len() {
        let id = client.id();
        client.send(&publish(id, object, at)).await;
        client.published(id).await;
    }
    fill(&mut client, &long_name(), 1).await;
    server.stop().await;
    tar("-czf", &fixtures().join("format-new.tar.gz"), &server.config.data);
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_of_every_version_open_and_go_on() {
    let mut opened = 0;
    for file in fixtures().read_dir().unwrap() {
        let archive = file.unwrap().path();
        if archive.extension().is_some_and(|extension| extension == "gz") {
            eprintln!("{}", archive.display());
            opens(&archive).await;
            opened += 1;
        }
    }
    assert!(opened > 0);
}

async fn opens(archive: &Path) {
    let start = TestServer::start(|config| {
        keep_everything(config);
        std::fs::create_dir(&config.data).unwrap();
        tar("-xzf", archive, &config.data);
        std::fs::write(config.data.join("session.key"), SESSION_KEY).unwrap();
    });
    let mut server = start.await;
    let mut client = Client::resume(server.address, Encoding::Msgpack, TOKEN).await;
    assert_eq!(client.session(), SENDER);
    for encoding in ENCODINGS {
        events_are_read(&server, encoding).await;
    }
    known_keys_are_repeats(&mut client).await;
    let places = logs_go_on(&server).await;
    if !archive.to_str().unwrap().contains("without-rosters") {
        rosters_are_restored(&server).await;
    }

    server.restart().await;
    let mut client = Client::connect(server.address, Encoding::Json).await;
    for (object, head) in places {
        let joined = client.join(&object, Start::All).await;
        assert_eq!(joined.head, head, "{object}");
        client.caught_up(joined.object).await;
    }
}

/// From the beginning, from a position, and as history.
async fn events_are_read(server: &TestServer, encoding: Encoding) {
    let mut client = Client::connect(server.address, encoding).await;
    let joined = client.join(VALUES, Start::All).await;
    let events = client.caught_up(joined.object).await;
    assert_eq!(events.len(), values().len());
    let mut time = 1_700_000_000_000;
    for (at, (event, value)) in events.iter().zip(values()).enumerate() {
        let data = Payload::of(&value).unwrap();
        let key = key(at).map(|key| key.parse().unwrap());
        let kind = kind(at).parse().unwrap();
        let offset = at as u64 + 1;
        let expected =
            Event { offset, time: event.time, sender: SENDER.into(), kind, data, key, user: None };
        assert_eq!(*event, expected);
        assert!(event.time >= time);
        time = event.time;
    }
    assert_eq!(client.whole_log(joined.object).await, events);
    let mut newest_first = history(joined.object, None, None);
    newest_first.reverse = true;
    let mut page = client.history(newest_first).await.events;
    page.reverse();
    assert_eq!(page, events);
    client.leave(joined.object).await;

    let joined = client.join(VALUES, after(joined.epoch, 3)).await;
    assert!(joined.resumed);
    assert_eq!(client.caught_up(joined.object).await, events[3..]);
}

async fn known_keys_are_repeats(client: &mut Client) {
    let object = client.join_now(VALUES).await;
    for at in (0..values().len()).filter(|at| key(*at).is_some()) {
        let id = client.id();
        client.send(&publish(id, object, at)).await;
        let published = client.published(id).await;
        assert_eq!((published.offset, published.duplicate), (at as u64 + 1, true));
    }
    client.leave(object).await;
}

/// Publishes to every log, and tells where each ends then.
async fn logs_go_on(server: &TestServer) -> Vec<(String, u64)> {
    let mut client = Client::connect(server.address, Encoding::Json).await;
    let gone = TRIMMED_EVENTS - KEPT_EVENTS;
    let logs = [
        (EMPTIED.to_owned(), EMPTIED_EVENTS, EMPTIED_EVENTS),
        (TRIMMED.to_owned(), TRIMMED_EVENTS, gone),
        (VALUES.to_owned(), values().len() as u64, 0),
        (long_name(), 1, 0),
        ("room/new".to_owned(), 0, 0),
    ];
    let (mut places, mut ids) = (Vec::new(), Vec::new());
    for (name, head, from) in logs {
        let joined = client.join(&name, Start::All).await;
        assert_eq!((joined.head, joined.from), (head, from), "{name}");
        let events = client.caught_up(joined.object).await;
        assert_eq!(events.len() as u64, head - from, "{name}");
        let published = client.publish(joined.object, "next").await;
        assert_eq!((published.offset, published.duplicate), (head + 1, false), "{name}");
        assert!(events.last().is_none_or(|last| last.time <= published.time));
        if from > 0 {
            client.leave(joined.object).await;
            let again = client.join(&name, after(joined.epoch, from - 1)).await;
            assert_eq!((again.reset, again.from), (Some(ResetReason::Trimmed), from), "{name}");
        }
        assert!(!ids.contains(&joined.object), "an id of its own");
        ids.push(joined.object);
        places.push((name, head + 1));
    }
    places
}

/// Who was present is still here, and takes the old place.
async fn rosters_are_restored(server: &TestServer) {
    let mut watcher = CheckedClient::connect(server.address, Encoding::Json).await;
    let joined = watcher.join(enter(HERE, Watch::Roster)).await;
    assert_eq!(joined.head, 0);
    let present: Vec<_> = watcher.sight(joined.object).present.clone().into_iter().collect();
    let [(member, (user, data))] = &present[..] else { panic!("{present:?}") };
    assert_eq!((&**user, data), (SENDER, &Payload::of(&self::present()).unwrap()));
    assert!(joined.member > *member, "a number of its own");

    let mut checked = CheckedClient::again(server.address, Encoding::Json, TOKEN).await;
    assert_eq!(checked.join(join_here(Some(*member))).await.member, *member);
}

/// Old tokens can't be told from those that a client has made up.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_an_earlier_version_is_refused() {
    let server = TestServer::start(|_| {}).await;
    let query = format!("?session={OLD_TOKEN}");
    let mut raw = Raw::open(server.address, Encoding::Json, &query, None).await;
    raw.is_closed(3500).await;
}
