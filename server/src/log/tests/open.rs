//! Opening a directory that can't be opened says why and changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

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

/// All files below a directory, with their content.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files(&path));
        } else {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

/// A directory with some events, whose journal ends with an incomplete batch.
fn with_a_torn_journal() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close();
    let log = open(dir.path());
    let mut object = Object::new(&log, "room/a");
    for text in ["one", "two", "three"] {
        object.append(&log, &[text], 1).unwrap();
    }
    log.close();
    drop(log);
    let journal = dir.path().join("log/0.jnl");
    let len = fs::metadata(&journal).unwrap().len();
    fs::File::options().write(true).open(&journal).unwrap().set_len(len - 2).unwrap();
    dir
}

fn set_marker(dir: &Path, version: u8) {
    fs::write(dir.join("log/version"), [b'F', b'J', b'L', version]).unwrap();
}

fn set_trailers(dir: &Path, version: u8) {
    let journal = dir.join("log/0.jnl");
    let mut bytes = fs::read(&journal).unwrap();
    for at in 0..bytes.len() - 3 {
        if bytes[at..].starts_with(b"FJL\x03") {
            bytes[at + 3] = version;
        }
    }
    fs::write(journal, bytes).unwrap();
}

/// Finding 15: the journal of such a directory was cut to nothing before its version was looked at.
#[test]
fn a_newer_database_is_refused_with_both_versions_and_not_changed() {
    let changes: [&dyn Fn(&Path); 3] =
        [&|dir| set_marker(dir, 4), &|dir| set_trailers(dir, 4), &|dir| {
            set_marker(dir, 4);
            set_trailers(dir, 4);
        }];
    for change in changes {
        let dir = with_a_torn_journal();
        change(dir.path());
        let before = files(dir.path());
        let error = refusal(dir.path());
        assert!(matches!(error, OpenError::OtherDatabase { found: 4, known: 3, .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("version 4") && text.contains("version 3"), "{text}");
        assert_eq!(files(dir.path()), before);
    }
}

#[test]
fn a_newer_format_is_refused_with_both_versions_and_not_changed() {
    let dir = with_a_torn_journal();
    fs::write(dir.path().join("log").join(format::FILE), "2\n").unwrap();
    let before = files(dir.path());
    let error = refusal(dir.path());
    assert!(matches!(error, OpenError::NewerFormat { found: 2, known: 1, .. }), "{error}");
    assert_eq!(files(dir.path()), before);
}

#[test]
fn a_directory_from_before_the_format_file_opens() {
    let dir = with_a_torn_journal();
    fs::remove_file(dir.path().join("log").join(format::FILE)).unwrap();
    let log = open(dir.path());
    assert_eq!(Object::find(&log, "room/a").tail.offset, 2);
}

/// A newer database may have entries of kinds that this program does not know.
#[test]
fn a_journal_that_goes_on_with_an_unknown_kind_of_entry_is_refused_and_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close();
    let log = open(dir.path());
    Object::new(&log, "room/a").append(&log, &["one"], 1).unwrap();
    log.close();
    drop(log);
    let journal = dir.path().join("log/0.jnl");
    let whole = fs::read(&journal).unwrap();
    for tag in [2, 3, 4, 5, 0xff] {
        fs::write(&journal, [&whole[..], &[tag], b"what a newer program has stored"].concat())
            .unwrap();
        let before = files(dir.path());
        let error = refusal(dir.path());
        assert!(matches!(error, OpenError::DamagedFile { .. }), "{error}");
        assert_eq!(files(dir.path()), before);
    }
}

#[test]
fn a_version_file_that_names_no_version_is_damage() {
    let dir = with_a_torn_journal();
    for marker in [&b""[..], b"FJL", b"fjall 4"] {
        fs::write(dir.path().join("log/version"), marker).unwrap();
        let before = files(dir.path());
        let error = refusal(dir.path());
        assert!(matches!(error, OpenError::DamagedFile { .. }), "{error}");
        assert_eq!(files(dir.path()), before);
    }
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
