//! Rosters are stored as far as nobody has to wait for it.

use std::collections::HashMap;

use super::*;

fn row(member: u64, text: &str) -> PresenceRow {
    let data = Payload::of(&text).unwrap().as_msgpack().to_vec().into();
    PresenceRow { member, user: "cpe3ou76xu7li".into(), data }
}

fn store(log: &Log, object: &str, put: &[(u64, &str)], removed: &[u64]) {
    let put = put.iter().map(|(member, text)| row(*member, text)).collect();
    log.store_presence(PresenceChange { object: name(object), put, removed: removed.to_vec() });
}

fn two_rosters(log: &Log) -> HashMap<ObjectName, Vec<PresenceRow>> {
    store(log, "room/a", &[(1, "one"), (2, "two"), (300, "three")], &[]);
    store(log, "room/b", &[(4, "four")], &[]);
    store(log, "room/gone", &[(5, "five")], &[]);
    store(log, "room/a", &[(300, "newest")], &[1]);
    store(log, "room/gone", &[], &[5]);
    [
        (name("room/a"), vec![row(2, "two"), row(300, "newest")]),
        (name("room/b"), vec![row(4, "four")]),
    ]
    .into()
}

#[test]
fn rosters_are_read_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    assert!(log.take_present().is_empty());
    let expected = two_rosters(&log);
    log.close();
    drop(log);
    let log = open(dir.path());
    assert_eq!(log.take_present(), expected);
    assert!(log.take_present().is_empty(), "they are given once");
    assert_eq!(log.0.shared.metrics.commits.get(), 0, "no fsync was made for them");
}

/// They need no fsync of their own, and are in what a killed process leaves; so are the events.
#[test]
fn rosters_survive_a_kill_and_harm_no_events() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let expected = two_rosters(&log);
    // Behind them in the queue.
    Object::new(&log, "room/a").append(&log, &["x"], 1).unwrap();
    let copy = tempfile::tempdir().unwrap();
    model::copy(dir.path(), copy.path());
    let log = open(copy.path());
    assert_eq!(log.take_present(), expected);
    assert_eq!(Object::find(&log, "room/a").tail.offset, 1);
}

/// Directories of before rosters were stored have no keyspace for them.
#[test]
fn a_directory_without_rosters_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    Object::new(&log, "room/a").append(&log, &["x"], 1).unwrap();
    log.close();
    let store = &log.0.shared.store;
    store.db.delete_keyspace(store.presence.clone()).unwrap();
    assert!(!store.db.keyspace_exists("presence"));
    drop(log);
    let log = open(dir.path());
    assert_eq!(Object::find(&log, "room/a").tail.offset, 1);
    let expected = two_rosters(&log);
    log.close();
    drop(log);
    assert_eq!(open(dir.path()).take_present(), expected);
}

#[test]
fn what_can_not_be_read_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let expected = two_rosters(&log);
    log.close();
    log.0.shared.store.presence.insert("room/a", "half a key").unwrap();
    log.0.shared.store.presence.insert(b"room/a\x00\0\0\0\0\0\0\0\x07", "no row").unwrap();
    drop(log);
    for _ in 0..2 {
        let log = open(dir.path());
        assert_eq!(log.take_present(), expected);
        assert_eq!(log.0.shared.store.presence.len().unwrap(), 3);
        log.close();
    }
}

#[test]
fn changes_are_left_out_where_the_log_takes_none() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_with(dir.path(), Options { queue_bytes: 10_000, ..Options::default() });
    let (stop, stopped) = mpsc::channel::<()>();
    let mut object = Object::new(&log, "room/a");
    // The writer is held up, with so much in its hands that there is hardly any room.
    let held = object.prepare(&[&"x".repeat(9_500)], 1, move |_| {
        let _ = stopped.recv();
    });
    wait(log.append(held));
    store(&log, "room/a", &[(1, &"x".repeat(1_000))], &[]);
    assert_eq!(log.0.shared.metrics.presence_skipped.get(), 1);
    drop(stop);
    object.append(&log, &["y"], 1).unwrap();
    store(&log, "room/a", &[(2, "two")], &[]);
    assert_eq!(log.0.shared.metrics.presence_skipped.get(), 1);
    log.close();
    store(&log, "room/a", &[(3, "three")], &[]);
    assert_eq!(log.0.shared.metrics.presence_skipped.get(), 2);
    drop(log);
    let log = open(dir.path());
    assert_eq!(log.take_present(), HashMap::from([(name("room/a"), vec![row(2, "two")])]));
}
