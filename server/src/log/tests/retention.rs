//! Each limit keeps what it says, no more and no less; a log goes on from its end whatever was trimmed.

use std::thread;
use std::time::{Duration, Instant};

use super::*;

const NONE: Retention = Retention { max_events: None, max_age: None, max_bytes: None };

/// A log of one object with events 1 to `count`, of which the nth was stored at time n × 1000.
fn filled(dir: &Path, count: u64) -> (Log, Object) {
    let log = open(dir);
    let mut object = Object::new(&log, "room/a");
    let entries = (1..=count).map(|n| object.tail.push(&mut event("text"), n * 1000)).collect();
    let (done, waiting) = mpsc::channel();
    let done = Box::new(move |result| done.send(result).unwrap());
    let append = Append {
        object: Arc::clone(&object.identity),
        first: 1,
        entries,
        changes: Vec::new(),
        done,
    };
    wait(log.append(append));
    waiting.recv().unwrap().unwrap();
    (log, object)
}

fn kept(log: &Log, object: &Object) -> (u64, Vec<u64>) {
    let page = log.page(&object.identity, 0, ALL).unwrap();
    (page.trimmed, page.events.iter().map(|entry| entry.decode().unwrap().offset).collect())
}

fn trim(log: &Log, limits: Retention, now_ms: u64) {
    log.0.shared.trim(&name("room/a"), &limits, now_ms).unwrap();
}

#[test]
fn a_count_keeps_the_newest_events() {
    let dir = tempfile::tempdir().unwrap();
    let (log, object) = filled(dir.path(), 2500);
    trim(&log, Retention { max_events: Some(3000), ..NONE }, 0);
    assert_eq!(kept(&log, &object).0, 0);
    trim(&log, Retention { max_events: Some(3), ..NONE }, 0);
    assert_eq!(kept(&log, &object), (2497, vec![2498, 2499, 2500]));
    assert_eq!(log.0.shared.metrics.trimmed_events.get(), 2497);
    assert_eq!(log.0.shared.store.events.len().unwrap(), 3);
}

#[test]
fn an_age_keeps_what_is_not_older() {
    let dir = tempfile::tempdir().unwrap();
    let (log, object) = filled(dir.path(), 20);
    let limits = Retention { max_age: Some(Duration::from_secs(5)), ..NONE };
    trim(&log, limits, 6000);
    assert_eq!(kept(&log, &object).0, 0);
    trim(&log, limits, 6001);
    assert_eq!(kept(&log, &object).0, 1);
    trim(&log, limits, 22_500);
    assert_eq!(kept(&log, &object), (17, vec![18, 19, 20]));
}

#[test]
fn a_size_keeps_the_newest_events_that_fit() {
    let dir = tempfile::tempdir().unwrap();
    let (log, object) = filled(dir.path(), 20);
    let newest: u64 = {
        let events = log.page(&object.identity, 17, ALL).unwrap().events;
        events.iter().map(|entry| entry.wire().len() as u64).sum()
    };
    trim(&log, Retention { max_bytes: Some(object.tail.bytes), ..NONE }, 0);
    assert_eq!(kept(&log, &object).0, 0);
    trim(&log, Retention { max_bytes: Some(newest), ..NONE }, 0);
    assert_eq!(kept(&log, &object), (17, vec![18, 19, 20]));
    trim(&log, Retention { max_bytes: Some(newest - 1), ..NONE }, 0);
    assert_eq!(kept(&log, &object), (18, vec![19, 20]));
}

#[test]
fn a_log_of_which_nothing_is_left_goes_on_from_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let (log, object) = filled(dir.path(), 5);
    trim(&log, Retention { max_bytes: Some(0), ..NONE }, 0);
    let page = log.page(&object.identity, 2, ALL).unwrap();
    assert_eq!(page, Page { events: vec![], last: 2, head: 5, trimmed: 5 });
    log.close();
    drop(log);

    let log = open(dir.path());
    let other = Object::new(&log, "room/other");
    assert_ne!(other.identity.id, object.identity.id);
    let mut found = Object::find(&log, "room/a");
    assert_eq!((&found.identity, found.tail), (&object.identity, object.tail));
    found.append(&log, &["six"], 0).unwrap();
    assert_eq!(kept(&log, &found), (5, vec![6]));
    assert_eq!(found.tail.time, 5000);
}

/// Waits for what the retention thread does in its own time.
fn until(condition: impl Fn() -> bool) {
    let in_vain = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < in_vain, "the retention thread did not do it");
        thread::yield_now();
    }
}

#[test]
fn the_log_sweeps_by_itself_at_the_start_and_after_appends() {
    let dir = tempfile::tempdir().unwrap();
    let (log, mut object) = filled(dir.path(), 5);
    log.close();
    drop(log);

    let limits = Retention { max_events: Some(2), ..NONE };
    let retention = [("room".to_owned(), limits)].into();
    let sweep_every = Duration::from_millis(1);
    let log = open_with(dir.path(), Options { retention, sweep_every, ..Options::default() });
    until(|| kept(&log, &object) == (3, vec![4, 5]));
    object.append(&log, &["six"], 0).unwrap();
    until(|| kept(&log, &object) == (4, vec![5, 6]));
    let mut other = Object::new(&log, "desk/a");
    other.append(&log, &["1", "2", "3"], 0).unwrap();
    object.append(&log, &["seven"], 0).unwrap();
    until(|| kept(&log, &object) == (5, vec![6, 7]));
    assert_eq!(kept(&log, &other), (0, vec![1, 2, 3]));
}

/// A sweep waits for the writer, so it must hold nothing that the writer needs.
#[test]
fn a_sweep_and_the_writer_do_not_wait_for_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let retention = [("room".to_owned(), Retention { max_events: Some(2), ..NONE })].into();
    let sweep_every = Duration::from_millis(1);
    let log = open_with(dir.path(), Options { retention, sweep_every, ..Options::default() });
    let mut object = Object::new(&log, "room/a");
    let (done, waiting) = mpsc::channel();
    for _ in 0..2000 {
        let done = done.clone();
        wait(log.append(object.prepare(&["text"], 0, move |result| done.send(result).unwrap())));
        if object.tail.offset > 5 {
            waiting.recv_timeout(Duration::from_secs(30)).expect("the log goes on").unwrap();
        }
    }
    until(|| kept(&log, &object) == (1998, vec![1999, 2000]));
}
