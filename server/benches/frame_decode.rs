//! Reading masked frames of clients: our decoder against tungstenite's, from the same bytes in memory.
//!
//! `cargo bench -p dormouse-server --bench frame_decode`

#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on should stop")]
#![allow(missing_docs, reason = "criterion's macro makes the only public item")]

use std::hint::black_box;
use std::io::Cursor;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use dormouse::limits;
use dormouse::limits::Budget;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket, WebSocketConfig};

/// The decoder is private to the server: its files are compiled once more here.
#[allow(dead_code, unreachable_pub, unused_imports, reason = "not all of the files is used here")]
#[path = "../src/socket"]
mod socket {
    pub(super) mod decoder;
    pub(super) mod deflate;
    pub(super) mod frame;

    use super::Budget;

    /// How many messages there are in the bytes.
    pub(super) fn count(mut input: &mut [u8]) -> usize {
        let (mut decoder, budget) = (decoder::Decoder::default(), Budget::unlimited());
        let mut count = 0;
        while decoder
            .next(&mut input, 1 << 20, false, &budget)
            .is_ok_and(|incoming| incoming.is_some())
        {
            count += 1;
        }
        count
    }
}

const FRAMES: usize = 1_000;

fn frames(payload: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..FRAMES {
        let opcode = OpCode::Data(Data::Binary);
        let mask = Some([1, 2, 3, 4]);
        let header = FrameHeader { opcode, mask, ..FrameHeader::default() };
        Frame::from_payload(header, vec![7; payload].into()).format(&mut bytes).unwrap();
    }
    bytes
}

fn decode(criterion: &mut Criterion) {
    for payload in [32, 128, 4096] {
        let bytes = frames(payload);
        let mut group = criterion.benchmark_group(format!("{payload} bytes"));
        group.throughput(Throughput::Elements(FRAMES as u64));
        group.bench_function("dormouse", |bencher| {
            let run = |mut bytes: Vec<u8>| assert_eq!(socket::count(black_box(&mut bytes)), FRAMES);
            bencher.iter_batched(|| bytes.clone(), run, BatchSize::LargeInput);
        });
        group.bench_function("tungstenite", |bencher| {
            let run = |bytes: Vec<u8>| {
                // The size of buffer at which it is fastest here; the default is 128 KiB for each connection.
                let config = WebSocketConfig::default().read_buffer_size(64 << 10);
                let mut socket =
                    WebSocket::from_raw_socket(Cursor::new(bytes), Role::Server, Some(config));
                for _ in 0..FRAMES {
                    black_box(socket.read().unwrap());
                }
            };
            bencher.iter_batched(|| bytes.clone(), run, BatchSize::LargeInput);
        });
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
