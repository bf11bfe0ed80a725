//! Opening a directory that can't be opened says why and changes nothing.

use std::fs;

use super::*;
use crate::log::keys::format;

fn refusal(dir: &Path) -> OpenError {
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    Log::open(dir, Options::default(), metrics).err().unwrap()
}

#[test]
fn a_directory_belongs_to_one_log_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let error = refusal(dir.path());
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    log.close();
    drop(log);
    open(dir.path());
}

#[test]
fn a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.0.shared.store.meta.insert(format::KEY, format::encode(format::VERSION + 1)).unwrap();
    log.close();
    drop(log);
    let error = refusal(dir.path());
    assert!(matches!(error, OpenError::NewerFormat { found: 2, known: 1, .. }), "{error}");
}

#[test]
fn a_directory_that_can_not_be_written_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = refusal(&file.join("below"));
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error}");
}

#[test]
fn a_database_that_is_not_a_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    fs::create_dir(&log).unwrap();
    fs::write(log.join("syslog"), "of the system").unwrap();
    let error = refusal(dir.path());
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert_eq!(fs::read_dir(&log).unwrap().count(), 1, "nothing is put beside what is there");
}

#[test]
fn a_newer_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close();
    let version = dir.path().join("log").join("version");
    let known = fs::read(&version).unwrap();
    fs::write(&version, [&known[..3], &[known[3] + 1]].concat()).unwrap();
    let error = refusal(dir.path());
    assert!(matches!(error, OpenError::OtherDatabase { .. }), "{error}");
    fs::write(&version, known).unwrap();
    open(dir.path());
}

/// Directories that were written once must open for ever: see `tests/it/upgrade.rs`.
#[test]
fn the_present_format_has_a_fixture() {
    let fixture = format!("tests/fixtures/format-{}.tar.gz", format::VERSION);
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join(fixture);
    assert!(fixture.exists(), "write it: see the README beside it");
}

#[test]
fn a_first_start_that_crashed_is_started_over() {
    let dir = tempfile::tempdir().unwrap();
    let draft = dir.path().join("log.new");
    fs::create_dir(&draft).unwrap();
    fs::write(draft.join("0.jnl"), "half").unwrap();
    let log = open(dir.path());
    Object::new(&log, "room/a").append(&log, &["x"], 1).unwrap();
    assert!(!draft.exists());
}

#[test]
fn an_id_is_never_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let first = Object::new(&log, "room/first");
    let mut second = Object::new(&log, "room/second");
    second.append(&log, &["x"], 1).unwrap();
    assert_ne!(first.identity.id, second.identity.id);
    log.close();
    drop(log);
    let log = open(dir.path());
    assert!(Object::new(&log, "room/third").identity.id > second.identity.id);
    assert_eq!(log.find(&name("room/first")).unwrap(), None);
}
