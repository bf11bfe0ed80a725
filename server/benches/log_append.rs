//! Group commit: events a second by the number of events that share a commit. One caller that waits for each commit, so
//! that the time is that of one commit. The log keeps growing over the run, so memtables and compaction are in it.

#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on should stop")]
#![allow(missing_docs, reason = "criterion's macro makes the only public item")]

use std::sync::{Arc, mpsc};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dormouse::log::{Append, Log, Metrics, Options, Tail};
use dormouse_protocol::{Event, Payload};
use tokio::runtime;

/// As large as a stored event of a chat, about 160 bytes.
fn event() -> Event {
    Event {
        offset: 0,
        time: 0,
        sender: "0123456789abc".into(),
        kind: "message".parse().unwrap(),
        data: Payload::of(&"some words of a chat, ".repeat(5)).unwrap(),
        key: Some("0f8e6a52c3b1".parse().unwrap()),
        user: None,
    }
}

fn append(criterion: &mut Criterion) {
    let runtime = runtime::Builder::new_current_thread().build().unwrap();
    let mut group = criterion.benchmark_group("log_append");
    for events in [1, 16, 64, 1024] {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let log = Log::open(dir.path(), Options::default(), metrics).unwrap();
        let object = log.new_identity("room/bench".parse().unwrap());
        let mut tail = Tail::default();
        let mut event = event();
        group.throughput(Throughput::Elements(events));
        group.bench_function(events.to_string(), |bencher| {
            bencher.iter(|| {
                let first = tail.offset + 1;
                let entries = (0..events).map(|_| tail.push(&mut event, 0)).collect();
                let (done, waiting) = mpsc::channel();
                let done = Box::new(move |result| done.send(result).unwrap());
                let append = Append {
                    object: Arc::clone(&object),
                    first,
                    entries,
                    changes: Vec::new(),
                    done,
                };
                runtime.block_on(log.append(append));
                waiting.recv().unwrap().unwrap();
            });
        });
        log.close();
    }
    group.finish();
}

criterion_group!(benches, append);
criterion_main!(benches);
