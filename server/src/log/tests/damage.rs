//! A flipped bit anywhere in the files is seen or does no harm: what is read is right, or it is an error.

use std::fs;
use std::path::PathBuf;

use super::*;

/// Bits that are flipped in each file.
const FLIPS: usize = 12;

/// Copies a directory; the files in it, by their paths below it.
fn copy(from: &Path, to: &Path, inside: &Path, files: &mut Vec<PathBuf>) {
    fs::create_dir(to.join(inside)).unwrap();
    for entry in fs::read_dir(from.join(inside)).unwrap() {
        let entry = entry.unwrap();
        let path = inside.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(from, to, &path, files);
        } else {
            fs::copy(entry.path(), to.join(&path)).unwrap();
            files.push(path);
        }
    }
}

/// What a log says of two objects, or why it does not.
fn read(dir: &Path) -> Result<Vec<Vec<String>>, String> {
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let log = Log::open(dir, Options::default(), metrics).map_err(|error| error.to_string())?;
    let all = ["room/a", "room/b"].map(|object| {
        let Some(stored) = log.find(&name(object))? else { return Ok(Vec::new()) };
        Ok(texts(&log.page(&stored.identity, 0, ALL)?.events))
    });
    log.close();
    let all: Result<_, ReadError> = all.into_iter().collect();
    assert_eq!(log.0.shared.metrics.read_errors.get() > 0, all.is_err());
    all.map_err(|error| error.to_string())
}

#[test]
fn a_flipped_bit_is_seen_or_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    open(&data).close();
    let log = open(&data);
    let mut objects = [Object::new(&log, "room/a"), Object::new(&log, "room/b")];
    for turn in 0..40 {
        let text = format!("{turn} of some");
        objects[turn % 2].append(&log, &[&text, "more"], 1).unwrap();
        if turn == 30 {
            let store = &log.0.shared.store;
            for keyspace in [&store.meta, &store.objects, &store.events] {
                keyspace.rotate_memtable_and_wait().unwrap();
            }
        }
    }
    // Damage to the very last commit looks like a torn tail.
    let journal = data.join("log/0.jnl");
    let synced = fs::read(&journal).unwrap().len();
    objects[0].append(&log, &["last"], 1).unwrap();
    let whole: Vec<_> = objects
        .iter()
        .map(|object| texts(&log.page(&object.identity, 0, ALL).unwrap().events))
        .collect();
    log.close();
    drop(log);

    let (mut files, mut seen) = (Vec::new(), 0);
    copy(&data, &dir.path().join("all"), Path::new(""), &mut files);
    for file in files {
        let bytes = fs::read(data.join(&file)).unwrap();
        let len = if data.join(&file) == journal { synced } else { bytes.len() };
        for at in (0..len).step_by(len.div_ceil(FLIPS).max(1)) {
            let flipped = dir.path().join("flipped");
            copy(&data, &flipped, Path::new(""), &mut Vec::new());
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            fs::write(flipped.join(&file), changed).unwrap();
            match read(&flipped) {
                Ok(read) => assert_eq!(read, whole, "byte {at} of {}", file.display()),
                Err(_) => seen += 1,
            }
            fs::remove_dir_all(&flipped).unwrap();
        }
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn a_damaged_table_is_an_error_of_its_objects_only() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let events = &log.0.shared.store.events;
    let mut first = Object::new(&log, "room/first");
    first.append(&log, &["x"], 1).unwrap();
    events.rotate_memtable_and_wait().unwrap();
    let mut second = Object::new(&log, "room/second");
    second.append(&log, &["y"], 1).unwrap();
    events.rotate_memtable_and_wait().unwrap();
    log.close();
    drop(log);

    let mut files = Vec::new();
    let copied = tempfile::tempdir().unwrap();
    let copied = copied.path().join("data");
    copy(dir.path(), &copied, Path::new(""), &mut files);
    files.retain(|file| file.starts_with("log/keyspaces/3/tables"));
    assert_eq!(files.len(), 2);
    files.sort_unstable();
    let mut table = fs::read(copied.join(&files[0])).unwrap();
    // Within the one block of data at the beginning.
    table[40] ^= 1;
    fs::write(copied.join(&files[0]), table).unwrap();

    let log = open(&copied);
    let error = log.find(&first.identity.name).unwrap_err();
    assert!(error.to_string().contains("ChecksumMismatch"), "{error}");
    assert_eq!(log.0.shared.metrics.read_errors.get(), 1);
    let found = log.find(&second.identity.name).unwrap().unwrap();
    assert_eq!(texts(&log.page(&found.identity, 0, ALL).unwrap().events), ["y"]);
}
