//! What a power loss leaves of the journal: what was synced is there, of the rest whole batches in their order, and the log opens.

use std::fs;

use super::*;

/// A log's directory with a journal whose end was never synced, as far as a test decides.
struct Torn {
    dir: tempfile::TempDir,
    journal: Vec<u8>,
    /// The length of the journal after each batch, and how many events of `room/a` and `room/b` it holds by then.
    batches: Vec<(usize, [u64; 2])>,
}

impl Torn {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The first journal has 64 MiB ahead; from the second start on it is as long as what is in it.
        open(dir.path()).close();
        let log = open(dir.path());
        let mut objects = [Object::new(&log, "room/a"), Object::new(&log, "room/b")];
        let mut torn = Self { dir, journal: Vec::new(), batches: Vec::new() };
        torn.batches.push((fs::read(torn.path()).unwrap().len(), [0, 0]));
        let pages = "a long text that takes several pages ".repeat(400);
        let steps: [(usize, &[&str]); 6] = [
            (0, &["one", "two"]),
            (1, &["one"]),
            (0, &["three"]),
            (1, &["two", "three"]),
            (0, &["four"]),
            (0, &["five", &pages, "seven"]),
        ];
        for (index, texts) in steps {
            objects[index].append(&log, texts, 1).unwrap();
            let journal = fs::read(torn.path()).unwrap();
            torn.batches.push((journal.len(), objects.each_ref().map(|object| object.tail.offset)));
            torn.journal = journal;
        }
        log.close();
        torn
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("log/0.jnl")
    }

    /// Opens the log with another journal; what it then holds.
    fn opened_with(&self, journal: &[u8]) -> Result<[u64; 2], OpenError> {
        fs::write(self.path(), journal).unwrap();
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let log = Log::open(self.dir.path(), Options::default(), metrics)?;
        let held = ["room/a", "room/b"].map(|object| {
            let Some(stored) = log.find(&name(object)).unwrap() else { return 0 };
            let page = log.page(&stored.identity, 0, ALL).unwrap();
            assert_eq!(page.events.len() as u64, stored.tail.offset);
            for (offset, entry) in (1..).zip(&page.events) {
                assert_eq!(entry.decode().unwrap().offset, offset);
            }
            stored.tail.offset
        });
        // It goes on from there.
        let mut next = Object::new(&log, "room/next");
        next.append(&log, &["next"], 1).unwrap();
        log.close();
        Ok(held)
    }

    /// What is held by the batches that end at or before a length.
    fn up_to(&self, len: usize) -> [u64; 2] {
        let whole = self.batches.iter().rev().find(|(end, _)| *end <= len);
        whole.map_or([0, 0], |(_, held)| *held)
    }
}

/// Every length of the last commits but the long one, and some of that.
#[test]
fn a_journal_that_is_cut_anywhere_opens_with_its_whole_batches() {
    let torn = Torn::new();
    let [.., (synced, _), (short, _), (end, _)] = torn.batches[..] else { unreachable!() };
    for len in (synced..=short + 64).chain((short + 64..end).step_by(1999)).chain([end]) {
        let held = torn.opened_with(&torn.journal[..len]).unwrap();
        assert_eq!(held, torn.up_to(len), "cut at {len}");
    }
}

#[test]
fn a_journal_that_ends_with_something_else_opens_with_its_whole_batches() {
    let torn = Torn::new();
    let [.., (synced, _), (short, _), (end, _)] = torn.batches[..] else { unreachable!() };
    for filler in [Some(0_u8), Some(0xff), None] {
        // A batch that lacks its first byte is an entry of an unknown kind, which is not cut off, unless that byte is zero.
        let first = synced + usize::from(filler != Some(0));
        for len in (first..short).step_by(5).chain((short + 1..end).step_by(4999)) {
            let mut journal = torn.journal.clone();
            journal[len..].fill_with(|| filler.unwrap_or_else(rand::random));
            // By chance it may be what was there.
            let held = torn.opened_with(&journal).unwrap();
            assert_eq!(held, torn.up_to(len), "{filler:?} from {len}");
        }
    }
}

/// A disk writes the pages of one commit in any order.
#[test]
fn a_last_batch_that_lacks_a_page_is_left_out() {
    let torn = Torn::new();
    let [.., (short, held), (end, _)] = torn.batches[..] else { unreachable!() };
    for page in short.div_ceil(4096)..end / 4096 {
        let mut journal = torn.journal.clone();
        journal[page * 4096..][..4096].fill(0);
        assert_eq!(torn.opened_with(&journal).unwrap(), held, "page {page}");
    }
}

#[test]
fn what_was_synced_is_not_cut_off_but_reported() {
    let torn = Torn::new();
    let before_last = torn.batches[torn.batches.len() - 2].0;
    for at in 0..before_last {
        let mut journal = torn.journal.clone();
        journal[at] ^= 1 << (at % 8);
        let Err(error) = torn.opened_with(&journal) else { panic!("{at} is not seen") };
        let ends = || torn.batches.iter().map(|(end, _)| *end);
        let begin = ends().rev().find(|end| *end <= at).unwrap_or(0);
        let next = ends().find(|end| *end > at).unwrap();
        let OpenError::DamagedFile { file, what, .. } = error else { panic!("{error}") };
        assert_eq!(file, torn.path());
        // A number that is too high shows at the next batch.
        let is_told = |at| what.contains(&format!("byte {at},"));
        assert!(is_told(begin) || is_told(next), "{what} for {at}");
        assert_eq!(fs::read(torn.path()).unwrap(), journal, "nothing was changed");
    }
}

/// A roster is written without an fsync of its own, so it may be lost though the commit after it is there. That is no damage;
/// one commit later it is.
#[test]
fn what_was_written_lazily_may_be_lost_before_what_follows_it() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close();
    let log = open(dir.path());
    let path = dir.path().join("log/0.jnl");
    let len = || fs::metadata(&path).unwrap().len() as usize;
    let mut object = Object::new(&log, "room/a");
    object.append(&log, &["one"], 1).unwrap();
    let synced = len();
    let (key, value) = ("key".into(), Some("value".into()));
    log.change_lazily(vec![Change { keyspace: Keyspace::Presence, key, value }]);
    while len() == synced {
        std::thread::yield_now();
    }
    object.append(&log, &["two"], 1).unwrap();
    let second = len();
    object.append(&log, &["three"], 1).unwrap();
    log.close();
    drop(log);

    let mut journal = fs::read(&path).unwrap();
    journal[synced + 1] ^= 1;
    fs::write(&path, &journal).unwrap();
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let error = Log::open(dir.path(), Options::default(), metrics).err();
    assert!(matches!(error, Some(OpenError::DamagedFile { .. })), "{error:?}");
    fs::write(&path, &journal[..second]).unwrap();
    let log = open(dir.path());
    assert_eq!(texts(&log.page(&object.identity, 0, ALL).unwrap().events), ["one"]);
}
