//! The whole way of one durable publish to the members of a room, over real sockets: from the publisher's frame until every
//! member has read its event. The clients are in the same thread, so the time is that of both ends, and of one fsync.
//!
//! `cargo bench -p dormouse-server --bench fan_out`

#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on should stop")]
#![allow(missing_docs, reason = "criterion's macro makes the only public item")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dormouse::Server;
use dormouse::config::Config;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// A member that speaks JSON; of what arrives it needs the lengths only.
struct Member(TcpStream);

impl Member {
    fn join(address: SocketAddr) -> (Self, u64) {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket
            .write_all(
                b"GET /v1/connect HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
                  Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        let mut member = Self(socket);
        member.send(&json!({"join": {"id": 1, "object": "room/bench"}}));
        let mut object = None;
        loop {
            let message: Value = serde_json::from_slice(&member.receive()).unwrap();
            object = object.or(message["joined"]["object"].as_u64());
            if message["caught_up"].is_object() {
                return (member, object.unwrap());
            }
        }
    }

    /// Masked with zeros, as a client that saves the work of masking does.
    fn send(&mut self, message: &Value) {
        let text = message.to_string();
        let mut frame = vec![0x81, 0x80 | 0x7E];
        frame.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
        if text.len() < 126 {
            frame = vec![0x81, 0x80 | text.len() as u8];
        }
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        self.0.write_all(&frame).unwrap();
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).unwrap();
        let mut len = usize::from(head[1]);
        if len == 126 {
            let mut long = [0; 2];
            self.0.read_exact(&mut long).unwrap();
            len = u16::from_be_bytes(long).into();
        }
        let mut message = vec![0; len];
        self.0.read_exact(&mut message).unwrap();
        message
    }
}

fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan_out");
    for members in [1, 16, 256] {
        let runtime = Runtime::new().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.listen.set_port(0);
        config.data = dir.path().into();
        let server = runtime.block_on(Server::start(config)).unwrap();
        let (mut all, objects): (Vec<_>, Vec<_>) =
            (0..members).map(|_| Member::join(server.address())).unzip();
        let text = "x".repeat(128);
        let publish = json!({"publish": {"id": 2, "object": objects[0], "data": text}});
        group.throughput(Throughput::Elements(members));
        group.bench_function(members.to_string(), |bencher| {
            bencher.iter(|| {
                all[0].send(&publish);
                // The publisher gets its acknowledgement as well.
                all[0].receive();
                for member in &mut all {
                    member.receive();
                }
            });
        });
        drop(all);
        runtime.block_on(server.shutdown());
    }
    group.finish();
}

criterion_group!(benches, fan_out);
criterion_main!(benches);
