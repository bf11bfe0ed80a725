//! The log as its users see it. What they share is here: a log in a directory of its own, and a writer of events.

mod damage;
mod failure;
mod model;
mod open;
mod pairs;
mod retention;
mod survival;
mod torn;

use std::path::Path;
use std::sync::{Arc, mpsc};

use dormouse_protocol::{Event, ObjectName, Payload};
use tokio::runtime;

use super::*;

const ALL: PageLimit = PageLimit { events: usize::MAX, bytes: usize::MAX };

fn open(dir: &Path) -> Log {
    open_with(dir, Options::default())
}

fn open_with(dir: &Path, options: Options) -> Log {
    Log::open(dir, options, Metrics::register(&prometheus::Registry::new()).unwrap()).unwrap()
}

fn name(text: &str) -> ObjectName {
    text.parse().unwrap()
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn event(text: &str) -> Event {
    Event {
        offset: 0,
        time: 0,
        sender: "sender".into(),
        kind: "message".parse().unwrap(),
        data: Payload::of(&text).unwrap(),
        key: None,
        user: None,
    }
}

/// An object that is appended to, as an instance would.
struct Object {
    identity: Arc<Identity>,
    tail: Tail,
}

impl Object {
    fn new(log: &Log, object: &str) -> Self {
        Self { identity: log.new_identity(name(object)), tail: Tail::default() }
    }

    fn find(log: &Log, object: &str) -> Self {
        let Stored { identity, tail, .. } = log.find(&name(object)).unwrap().unwrap();
        Self { identity, tail }
    }

    /// Appends an event for each text and waits until they are on disk.
    fn append(&mut self, log: &Log, texts: &[&str], now_ms: u64) -> Result<(), Unavailable> {
        let (done, waiting) = mpsc::channel();
        let append = self.prepare(texts, now_ms, move |result| done.send(result).unwrap());
        wait(log.append(append));
        waiting.recv().unwrap()
    }

    fn prepare(
        &mut self,
        texts: &[&str],
        now_ms: u64,
        done: impl FnOnce(Result<(), Unavailable>) + Send + 'static,
    ) -> Append {
        let first = self.tail.offset + 1;
        let entries = texts.iter().map(|text| self.tail.push(&mut event(text), now_ms)).collect();
        Append {
            object: Arc::clone(&self.identity),
            first,
            entries,
            changes: Vec::new(),
            done: Box::new(done),
        }
    }
}

/// The payloads of events, as text.
fn texts(events: &[Entry]) -> Vec<String> {
    let text = |entry: &Entry| {
        let event = entry.decode().unwrap();
        rmp_serde::from_slice(event.data.as_msgpack()).unwrap()
    };
    events.iter().map(text).collect()
}
