//! One connection's flood keeps others from nothing, not on the same reactor either: promise 7.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use dormouse_protocol::{ClientMessage, Encoding, Join, Leave, Ping, ServerMessage, Signal, Start};
use tokio::io::AsyncWriteExt as _;

use crate::client::{Client, Payload};
use crate::raw::{BINARY, Raw, frame};
use crate::server::TestServer;

/// While the server works on a flood, somebody else on the same reactor is answered again and again.
async fn others_are_served(flood: impl FnOnce(u64) -> Vec<ClientMessage>) {
    let server = TestServer::start(|config| config.reactors = 1).await;
    let mut raw = Raw::connect(server.address, Encoding::Msgpack).await;
    let mut client = Client::connect(server.address, Encoding::Msgpack).await;
    let object = client.join_now("room/a").await;
    let encode = |message: &ClientMessage| frame(BINARY, &Encoding::Msgpack.encode_client(message));
    let last = ClientMessage::Ping(Ping { id: u32::MAX });
    let flood: Vec<u8> = flood(object).iter().chain([&last]).flat_map(encode).collect();
    let (mut from, mut to) = {
        let Raw { stream, .. } = &mut raw;
        stream.split()
    };
    let is_over = Arc::new(AtomicBool::new(false));
    let reading = async {
        // The answers are taken as they come, so that only the server's own order holds anybody up.
        let last = Encoding::Msgpack
            .encode_server(&ServerMessage::Done(dormouse_protocol::Done { id: u32::MAX }));
        let (mut seen, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
        loop {
            let count = tokio::io::AsyncReadExt::read(&mut from, &mut buffer).await.unwrap();
            assert!(count > 0, "the server has closed");
            seen.extend_from_slice(&buffer[..count]);
            // Answers of objects may come behind it.
            if seen.windows(last.len()).any(|window| window == last) {
                break;
            }
            seen.drain(..seen.len().saturating_sub(last.len()));
        }
        is_over.store(true, SeqCst);
    };
    let writing = async { to.write_all(&flood).await.unwrap() };
    let asking = async {
        let mut answers = 0;
        while !is_over.load(SeqCst) {
            client.ping().await;
            answers += 1;
        }
        answers
    };
    let ((), (), answers) = tokio::join!(reading, writing, asking);
    // Some 400; before connections waited in line once each, 18.
    assert!(answers >= 40, "somebody was answered {answers} times during the flood");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_joins_and_leaves() {
    others_are_served(|object| {
        let pair = |id| {
            [
                ClientMessage::Join(Join::new(id, "room/a".parse().unwrap(), Start::Now)),
                ClientMessage::Leave(Leave { id, object }),
            ]
        };
        (0..20_000).flat_map(pair).collect()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_requests_that_are_refused() {
    others_are_served(|object| {
        (0..100_000).map(|id| ClientMessage::Leave(Leave { id, object })).collect()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_signals() {
    others_are_served(|object| {
        let data = Payload::of(&1).unwrap();
        let signal = |id| {
            ClientMessage::Signal(Signal { id: Some(id), object, data: data.clone(), key: None })
        };
        (0..100_000).map(signal).collect()
    })
    .await;
}
