//! A log that has failed says so to everybody who waits, takes nothing more, and can still be read.

use std::process::Command;
use std::{env, iter};

use super::*;
use crate::log::keys::event;

#[test]
fn a_panic_of_the_writer_fails_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut object = Object::new(&log, "room/a");
    object.append(&log, &["kept"], 1).unwrap();
    let fatal = object.prepare(&["fatal"], 1, |_| panic!("on purpose"));
    wait(log.append(fatal));
    assert_eq!(wait(log.failed()).to_string(), "the log failed: the writer panicked");
    assert_eq!(object.append(&log, &["refused"], 1), Err(Unavailable));
    assert_eq!(log.0.shared.metrics.failed.get(), 1);
    assert_eq!(log.0.shared.metrics.queue_events.get(), 0);
    assert_eq!(texts(&log.page(&object.identity, 0, ALL).unwrap().events)[0], "kept");
    log.close();
}

#[test]
fn a_hole_never_reaches_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut object = Object::new(&log, "room/a");
    object.append(&log, &["one"], 1).unwrap();
    object.tail.offset = 2;
    assert_eq!(object.append(&log, &["three"], 1), Err(Unavailable));
    assert!(wait(log.failed()).to_string().contains("panicked"));
    assert_eq!(log.page(&object.identity, 0, ALL).unwrap().head, 1);
}

#[test]
fn a_closed_log_takes_nothing_and_has_stored_what_was_queued() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut object = Object::new(&log, "room/a");
    let (done, waiting) = mpsc::channel();
    for _ in 0..100 {
        let done = done.clone();
        let append = object.prepare(&["x"], 1, move |result| done.send(result).unwrap());
        wait(log.append(append));
    }
    log.close();
    drop(done);
    assert_eq!(waiting.iter().collect::<Vec<_>>(), vec![Ok(()); 100]);
    assert_eq!(object.append(&log, &["late"], 1), Err(Unavailable));
    assert_eq!(log.page(&object.identity, 0, ALL).unwrap().head, 100);
}

const DIR: &str = "DORMOUSE_TEST_FULL_DISK";

/// A real failed write: a process that may not write files beyond 66 MiB, of which the journal takes 64 MiB from the
/// start. The shell makes the limit give an error instead of a signal.
#[test]
fn a_failed_write_fails_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let script = "trap '' XFSZ; ulimit -f 135168; exec \"$0\" \"$@\"";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "log::tests::failure::fills_the_disk", "--ignored", "--nocapture"])
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("failed as it should"), "{output:?}");

    let log = open(dir.path());
    let object = Object::find(&log, "room/a");
    assert_eq!(texts(&log.page(&object.identity, 0, ALL).unwrap().events)[0], "kept");
}

#[test]
#[ignore = "the child process of another test"]
fn fills_the_disk() {
    let log = open(Path::new(&env::var(DIR).unwrap()));
    let mut object = Object::new(&log, "room/a");
    object.append(&log, &["kept"], 1).unwrap();
    // The journal compresses, so it must be something that can't be.
    let megabyte: String = rand::random_iter::<u8>().take(1 << 20).map(char::from).collect();
    let texts: Vec<_> = iter::repeat_n(megabyte.as_str(), 70).collect();
    assert_eq!(object.append(&log, &texts, 1), Err(Unavailable));
    assert!(wait(log.failed()).to_string().contains("FileTooLarge"));
    assert_eq!(object.append(&log, &["more"], 1), Err(Unavailable));
    assert_eq!(log.page(&object.identity, 0, ALL).unwrap().head, 1);
    println!("failed as it should");
}

#[test]
fn a_hole_on_the_disk_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut object = Object::new(&log, "room/a");
    object.append(&log, &["1", "2", "3"], 1).unwrap();
    log.0.shared.store.events.remove(event::encode_key(object.identity.id, 2)).unwrap();
    let range = |reverse| log.range(&object.identity, None, None, reverse, ALL);
    assert!(log.page(&object.identity, 0, ALL).is_err());
    assert!(log.page(&object.identity, 1, ALL).is_err());
    assert!(range(false).is_err() && range(true).is_err());
    assert_eq!(texts(&log.page(&object.identity, 2, ALL).unwrap().events), ["3"]);
}
