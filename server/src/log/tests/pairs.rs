//! Pairs are part of a commit: with events all or nothing, or lazily as far as nobody has to wait for it.

use bytes::Bytes;

use super::*;

type Pairs = Vec<(Bytes, Bytes)>;

fn change(key: &str, value: Option<&str>) -> Change {
    let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
    Change { keyspace: Keyspace::Presence, key: Bytes::copy_from_slice(key.as_bytes()), value }
}

fn pairs(log: &Log) -> Pairs {
    log.pairs(Keyspace::Presence).unwrap()
}

fn of(pairs: &[(&'static str, &'static str)]) -> Pairs {
    let pair = |(key, value): &(&'static str, &'static str)| {
        (Bytes::from_static(key.as_bytes()), Bytes::from_static(value.as_bytes()))
    };
    pairs.iter().map(pair).collect()
}

fn three(log: &Log) -> Pairs {
    assert!(log.change_lazily(vec![change("b", Some("old")), change("c", Some("3"))]));
    assert!(log.change_lazily(vec![change("a", Some("1"))]));
    assert!(log.change_lazily(vec![change("b", Some("2")), change("c", None)]));
    of(&[("a", "1"), ("b", "2")])
}

#[test]
fn lazy_changes_are_there_at_the_next_start_and_cause_no_fsync() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    assert!(pairs(&log).is_empty());
    let expected = three(&log);
    log.close();
    drop(log);
    let log = open(dir.path());
    assert_eq!(pairs(&log), expected);
    assert_eq!(log.0.shared.metrics.commits.get(), 0);
}

/// They are in what a killed process leaves; so are the events behind them in the queue.
#[test]
fn lazy_changes_survive_a_kill_and_harm_no_events() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let expected = three(&log);
    Object::new(&log, "room/a").append(&log, &["x"], 1).unwrap();
    let copy = tempfile::tempdir().unwrap();
    model::copy(dir.path(), copy.path());
    let log = open(copy.path());
    assert_eq!(pairs(&log), expected);
    assert_eq!(Object::find(&log, "room/a").tail.offset, 1);
}

/// Promise 12: what belongs together is one batch, and durable when it is acknowledged.
#[test]
fn events_and_changes_of_one_append_are_committed_together() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut object = Object::new(&log, "room/a");
    let store = |mut append: Append, changes| {
        let (done, waiting) = mpsc::channel();
        append.changes = changes;
        append.done = Box::new(move |result| done.send(result).unwrap());
        wait(log.append(append));
        waiting.recv().unwrap().unwrap();
    };
    store(object.prepare(&["x"], 1, |_| ()), vec![change("a", Some("1"))]);
    store(object.prepare(&[], 1, |_| ()), vec![change("b", Some("2"))]);
    assert_eq!(log.0.shared.metrics.commits.get(), 2, "each is durable");
    assert_eq!(log.0.shared.metrics.events.get(), 1);
    let copy = tempfile::tempdir().unwrap();
    model::copy(dir.path(), copy.path());
    let log = open(copy.path());
    assert_eq!(pairs(&log), of(&[("a", "1"), ("b", "2")]));
    assert_eq!(Object::find(&log, "room/a").tail.offset, 1);
}

/// Directories of before the keyspace was known do not have it.
#[test]
fn a_directory_without_a_keyspace_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    Object::new(&log, "room/a").append(&log, &["x"], 1).unwrap();
    log.close();
    let store = &log.0.shared.store;
    store.db.delete_keyspace(store.keyspaces[Keyspace::Presence as usize].clone()).unwrap();
    assert!(!store.db.keyspace_exists("presence"));
    drop(log);
    let log = open(dir.path());
    assert_eq!(Object::find(&log, "room/a").tail.offset, 1);
    let expected = three(&log);
    log.close();
    drop(log);
    assert_eq!(pairs(&open(dir.path())), expected);
}

#[test]
fn lazy_changes_are_left_out_where_the_log_takes_none() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_with(dir.path(), Options { queue_bytes: 10_000, ..Options::default() });
    let (stop, stopped) = mpsc::channel::<()>();
    let mut object = Object::new(&log, "room/a");
    // The writer is held up, with so much in its hands that there is hardly any room.
    let held = object.prepare(&[&"x".repeat(9_500)], 1, move |_| {
        let _ = stopped.recv();
    });
    wait(log.append(held));
    assert!(!log.change_lazily(vec![change("a", Some(&"x".repeat(1_000)))]));
    drop(stop);
    object.append(&log, &["y"], 1).unwrap();
    assert!(log.change_lazily(vec![change("b", Some("2"))]));
    log.close();
    assert!(!log.change_lazily(vec![change("c", Some("3"))]));
    drop(log);
    assert_eq!(pairs(&open(dir.path())), of(&[("b", "2")]));
}
