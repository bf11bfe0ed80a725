//! The log against the simplest thing that it could be: a map of bytes for each object.

use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const OBJECTS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Append {
        object: usize,
        sizes: Vec<usize>,
        now_ms: u64,
    },
    Page {
        object: usize,
        after: u64,
        max: PageLimit,
    },
    Range {
        object: usize,
        after: Option<u64>,
        before: Option<u64>,
        reverse: bool,
        max: PageLimit,
    },
    Trim {
        object: usize,
        keep: u64,
    },
    /// Close and open again.
    Restart,
    /// Go on with a copy of the files as they are while the log is open: what a crash leaves.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let object = 0..OBJECTS;
    let offset = || prop_oneof![9 => 0..30_u64, 1 => Just(u64::MAX)];
    let max =
        || (1..20_usize, 0..2000_usize).prop_map(|(events, bytes)| PageLimit { events, bytes });
    let sizes = proptest::collection::vec(0..300_usize, 1..6);
    prop_oneof![
        8 => (object.clone(), sizes, 0..1000_u64)
            .prop_map(|(object, sizes, now_ms)| Step::Append { object, sizes, now_ms }),
        6 => (object.clone(), offset(), max())
            .prop_map(|(object, after, max)| Step::Page { object, after, max }),
        6 => (object.clone(), proptest::option::of(offset()), proptest::option::of(offset()),
                any::<bool>(), max())
            .prop_map(|(object, after, before, reverse, max)| {
                Step::Range { object, after, before, reverse, max }
            }),
        3 => (object, 0..20_u64).prop_map(|(object, keep)| Step::Trim { object, keep }),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
    ]
}

#[derive(Default)]
struct Model {
    events: BTreeMap<u64, Vec<u8>>,
    tail: Tail,
    trimmed: u64,
    identity: Option<Arc<Identity>>,
}

struct World {
    dir: TempDir,
    log: Option<Log>,
    models: [Model; OBJECTS],
}

fn object_name(object: usize) -> String {
    format!("room/{object}")
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let to = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy(&file.path(), &to);
        } else {
            fs::copy(file.path(), to).unwrap();
        }
    }
}

/// What of these events a read with that limit gives, and whether there are more.
fn limited<'a>(events: impl Iterator<Item = &'a Vec<u8>>, max: PageLimit) -> (Vec<&'a [u8]>, bool) {
    let (mut taken, mut bytes) = (Vec::new(), 0);
    for event in events {
        bytes += event.len();
        if !taken.is_empty() && (taken.len() == max.events || bytes > max.bytes) {
            return (taken, true);
        }
        taken.push(event.as_slice());
    }
    (taken, false)
}

fn wires(events: &[Entry]) -> Vec<&[u8]> {
    events.iter().map(Entry::wire).collect()
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = Some(open(dir.path()));
        Self { dir, log, models: Default::default() }
    }

    fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    fn identity(&mut self, object: usize) -> Arc<Identity> {
        let log = self.log.as_ref().unwrap();
        let new = || log.new_identity(name(&object_name(object)));
        Arc::clone(self.models[object].identity.get_or_insert_with(new))
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append { object, sizes, now_ms } => self.append(object, &sizes, now_ms),
            Step::Page { object, after, max } => {
                let identity = self.identity(object);
                let Model { events, tail, trimmed, .. } = &self.models[object];
                let page = self.log().page(&identity, after, max).unwrap();
                let rest = events.iter().filter(|(offset, _)| **offset > after);
                let (expected, _) = limited(rest.clone().map(|(_, event)| event), max);
                assert_eq!(wires(&page.events), expected);
                let last = rest.take(expected.len()).last().map_or(after, |(offset, _)| *offset);
                assert_eq!((page.last, page.head, page.trimmed), (last, tail.offset, *trimmed));
            }
            Step::Range { object, after, before, reverse, max } => {
                let identity = self.identity(object);
                let range = self.log().range(&identity, after, before, reverse, max).unwrap();
                let within = self.models[object].events.iter().filter(|(offset, _)| {
                    after.is_none_or(|after| **offset > after)
                        && before.is_none_or(|before| **offset < before)
                });
                let events = within.map(|(_, event)| event);
                let expected =
                    if reverse { limited(events.rev(), max) } else { limited(events, max) };
                assert_eq!((wires(&range.events), range.more), expected);
            }
            Step::Trim { object, keep } => {
                let limits = Retention { max_events: Some(keep), ..Retention::default() };
                self.log().0.shared.trim(&name(&object_name(object)), &limits, 0).unwrap();
                let model = &mut self.models[object];
                model.trimmed = model.trimmed.max(model.tail.offset.saturating_sub(keep));
                model.events.retain(|offset, _| *offset > model.trimmed);
            }
            Step::Restart => {
                self.log.take().unwrap().close();
                self.log = Some(open(self.dir.path()));
                self.check_found();
            }
            Step::Crash => {
                let dir = tempfile::tempdir().unwrap();
                copy(self.dir.path(), dir.path());
                self.log = Some(open(dir.path()));
                self.dir = dir;
                self.check_found();
            }
        }
    }

    fn append(&mut self, object: usize, sizes: &[usize], now_ms: u64) {
        let identity = self.identity(object);
        let model = &mut self.models[object];
        let mut appended = Object { identity, tail: model.tail };
        let payloads: Vec<_> = sizes.iter().map(|size| "x".repeat(*size)).collect();
        let texts: Vec<_> = payloads.iter().map(String::as_str).collect();
        appended.append(self.log.as_ref().unwrap(), &texts, now_ms).unwrap();
        for text in texts {
            let mut event = event(text);
            event.offset = model.tail.offset + 1;
            event.time = model.tail.time.max(now_ms);
            let mut wire = Vec::new();
            event.write_msgpack(&mut wire);
            model.tail.offset = event.offset;
            model.tail.time = event.time;
            model.tail.bytes += wire.len() as u64;
            model.events.insert(event.offset, wire);
        }
    }

    /// What a start finds; identities that were never stored are forgotten.
    fn check_found(&mut self) {
        let log = self.log.as_ref().unwrap();
        for (object, model) in self.models.iter_mut().enumerate() {
            let found = log.find(&name(&object_name(object))).unwrap();
            if model.tail.offset == 0 {
                assert_eq!(found, None);
                model.identity = None;
                continue;
            }
            let identity = Arc::clone(model.identity.as_ref().unwrap());
            let bytes = model.events.values().map(|event| event.len() as u64).sum();
            let expected = Stored { identity, tail: model.tail, trimmed: model.trimmed, bytes };
            assert_eq!(found, Some(expected));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn the_log_is_a_map_for_each_object(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
    }
}
