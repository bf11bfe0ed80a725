//! What RFC 7692 demands beyond the suite's cases: where the bit may stand, how much a message may become, and what is shared.

use dormouse_protocol::{ClientMessage, Encoding, Join, ServerMessage, Start};
use serde_json::json;

use super::case::{BINARY, Back, CLOSE, PING, PONG, TEXT, begun, whole};
use super::compression::{deflated, deflated_frame, inflated};
use super::runner::{Echo, Received, echo_server};
use crate::client::{Client, ENCODINGS, publish};
use crate::raw::{Raw, frame};
use crate::server::TestServer;

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

async fn agreed(server: &TestServer) -> Echo {
    let echo = Echo::connect(server.address, OFFER).await;
    assert!(echo.extensions.is_some());
    echo
}

async fn is_closed(mut echo: Echo, code: u16, what: &str) {
    let Received { rsv, back } = echo.receive().await.unwrap();
    let code = code.to_be_bytes();
    assert_eq!((rsv, back.opcode, &back.payload[..2]), (0, CLOSE, &code[..]), "{what}");
    assert!(echo.receive().await.is_none(), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bit_stands_at_the_beginning_of_messages_only() {
    let server = echo_server(true).await;
    let payload = deflated(b"compressed");
    let broken: [(&str, Vec<u8>); 6] = [
        ("ping", frame(0xC0 | PING, b"")),
        ("pong", frame(0xC0 | PONG, b"")),
        ("close", frame(0xC0 | CLOSE, b"\x03\xE8")),
        ("continuation", [frame(0x40 | TEXT, &payload), frame(0xC0, b"")].concat()),
        ("other bit", frame(0xE0 | TEXT, &payload)),
        ("not compressed data", frame(0xC0 | BINARY, b"\x07\x07\x07")),
    ];
    for (what, bytes) in broken {
        let mut echo = agreed(&server).await;
        echo.send(&bytes).await;
        is_closed(echo, 1002, what).await;
    }
    let mut echo = Echo::connect(server.address, "").await;
    echo.send(&frame(0xC0 | TEXT, &payload)).await;
    is_closed(echo, 1002, "nothing was agreed on").await;
    let off = echo_server(false).await;
    let mut echo = Echo::connect(off.address, OFFER).await;
    assert_eq!(echo.extensions, None);
    echo.send(&frame(0xC0 | TEXT, &payload)).await;
    is_closed(echo, 1002, "it is off").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_and_plain_messages_control_frames_and_fragments_mix() {
    let server = echo_server(true).await;
    let mut echo = agreed(&server).await;
    let message = "all the same, ".repeat(100);
    let payload = deflated(message.as_bytes());
    let (first, second) = payload.split_at(payload.len() / 2);
    let bytes = [
        frame(0x40 | TEXT, first),
        whole(PING, b"between"),
        begun(0, b""),
        whole(0, second),
        whole(TEXT, b"plain"),
        deflated_frame(TEXT, b""),
        deflated_frame(BINARY, b"short"),
    ];
    for byte in bytes.concat() {
        echo.send(&[byte]).await;
    }
    assert_eq!(echo.receive().await.unwrap().back, Back::pong(b"between"));
    let Received { rsv, back } = echo.receive().await.unwrap();
    assert_eq!((rsv, inflated(&back.payload)), (4, message.into_bytes()));
    for (opcode, payload) in [(TEXT, &b"plain"[..]), (TEXT, b""), (BINARY, b"short")] {
        let Received { rsv, back } = echo.receive().await.unwrap();
        assert_eq!((rsv, back), (0, Back { opcode, payload: payload.into() }));
    }
    echo.send(&deflated_frame(TEXT, b"not UTF-8: \xFF")).await;
    is_closed(echo, 1007, "not UTF-8").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_counts_by_what_it_becomes() {
    let server = TestServer::start(|config| {
        config.test_controls = true;
        config.compression = true;
        config.limits.message_bytes = 4_096;
    })
    .await;
    let mut echo = agreed(&server).await;
    for size in [4_095, 4_096] {
        echo.send(&deflated_frame(BINARY, &vec![7; size])).await;
        assert_eq!(inflated(&echo.receive().await.unwrap().back.payload), vec![7; size]);
    }
    echo.send(&deflated_frame(BINARY, &[7; 4_097])).await;
    is_closed(echo, 1009, "a byte too many").await;
    // Some 4 KiB that would become 4 MiB, and a header that claims more than any message has.
    let mut echo = agreed(&server).await;
    let bomb = deflated_frame(BINARY, &vec![0; 4_000_000]);
    assert!(bomb.len() < 4_096, "{}", bomb.len());
    echo.send(&bomb).await;
    is_closed(echo, 1009, "a bomb").await;
    let mut echo = agreed(&server).await;
    echo.send(&[0xC2, 0xFF, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]).await;
    is_closed(echo, 1009, "a claim").await;
    assert_eq!(server.metric("dormouse_closes_total{code=\"too_large\"}").await, 3);
}

/// Events, signals and rosters come to everybody, compressed to those who take that, and then the same bytes to all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_with_and_without_compression_see_the_same() {
    let server = TestServer::start(|config| config.compression = true).await;
    let long = "a long and repetitive tale; ".repeat(60);
    for encoding in ENCODINGS {
        let name = format!("room/{encoding:?}");
        let mut members = Vec::new();
        for headers in ["", OFFER, OFFER] {
            let mut raw = Raw::open_with(server.address, encoding, headers).await;
            let join = Join::new(1, name.parse().unwrap(), Start::Now);
            raw.request(&ClientMessage::Join(join)).await;
            members.push(raw);
        }
        let mut object = 0;
        for raw in &mut members {
            // The welcome is long enough to be compressed itself.
            let mut told = [false; 3];
            while told != [true; 3] {
                let (first, payload) = raw.frame().await.unwrap();
                match message(encoding, first, payload) {
                    ServerMessage::Welcome(_) => told[0] = true,
                    ServerMessage::Joined(joined) => (told[1], object) = (true, joined.object),
                    ServerMessage::CaughtUp(_) => told[2] = true,
                    other => panic!("{other:?}"),
                }
            }
        }
        let mut publisher = Client::connect(server.address, Encoding::Json).await;
        assert_eq!(publisher.join_now(&name).await, object);
        publisher.publish(object, json!(long)).await;
        let mut came = Vec::new();
        for raw in &mut members {
            came.push(raw.frame().await.unwrap());
        }
        let opcode = if encoding == Encoding::Json { TEXT } else { BINARY };
        let firsts = [0x80 | opcode, 0xC0 | opcode, 0xC0 | opcode];
        assert_eq!([came[0].0, came[1].0, came[2].0], firsts);
        assert_eq!(came[1].1, came[2].1);
        assert!(came[1].1.len() < came[0].1.len() / 4);
        let [plain, small, _] = came.try_into().unwrap();
        let events = message(encoding, plain.0, plain.1);
        assert_eq!(message(encoding, small.0, small.1), events);
        assert!(matches!(events, ServerMessage::Events(_)));
        // One of those who compress sends what it has to say compressed, too; short signals are left alone.
        let request = encoding.encode_client(&publish(9, object, json!(long), None));
        members[1].send(&deflated_frame(opcode, &request)).await;
        for raw in &mut members {
            let mut is_there = false;
            while !is_there {
                let (first, payload) = raw.frame().await.unwrap();
                is_there = matches!(message(encoding, first, payload), ServerMessage::Events(_));
            }
        }
    }
}

fn message(encoding: Encoding, first: u8, payload: Vec<u8>) -> ServerMessage {
    let payload = if first & 0x40 == 0 { payload } else { inflated(&payload) };
    encoding.decode_server(&payload).unwrap()
}
