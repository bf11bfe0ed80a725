//! The messages of the way of a publish: what a client sends, and the `events` that all members get, in both encodings. The
//! events are copied from the form in which they are stored.

#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on should stop")]
#![allow(missing_docs, reason = "criterion's macro makes the only public item")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dormouse_protocol::{ClientMessage, Encoding, Event, Payload, Publish, encode_events};

const ENCODINGS: [(&str, Encoding); 2] = [("msgpack", Encoding::Msgpack), ("json", Encoding::Json)];

/// 128 bytes.
fn text() -> Payload {
    Payload::of(&"x".repeat(128)).unwrap()
}

fn decode_publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode_publish");
    for (name, encoding) in ENCODINGS {
        let publish = Publish {
            id: 70_000,
            object: 12,
            kind: "message".parse().unwrap(),
            data: text(),
            key: Some("0f8e6a52c3b1".parse().unwrap()),
            after: None,
        };
        let bytes = encoding.encode_client(&ClientMessage::Publish(publish));
        group.bench_function(name, |bencher| {
            bencher.iter(|| encoding.decode_client(black_box(&bytes)).unwrap());
        });
    }
    group.finish();
}

fn encode_commit(criterion: &mut Criterion) {
    let stored: Vec<Vec<u8>> = (0..64)
        .map(|nth| {
            let event = Event {
                offset: 1_000_000 + nth,
                time: 1_795_438_298_879,
                sender: "0123456789abc".into(),
                kind: "message".parse().unwrap(),
                data: text(),
                key: None,
                user: None,
            };
            let mut bytes = Vec::new();
            event.write_msgpack(&mut bytes);
            bytes
        })
        .collect();
    let mut group = criterion.benchmark_group("encode_events");
    for events in [1, 16, 64] {
        group.throughput(Throughput::Elements(events as u64));
        for (name, encoding) in ENCODINGS {
            group.bench_function(BenchmarkId::new(name, events), |bencher| {
                bencher.iter(|| encode_events(encoding, 12, black_box(&stored[..events])).unwrap());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, decode_publish, encode_commit);
criterion_main!(benches);
