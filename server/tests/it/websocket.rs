//! RFC 6455 at the level of bytes, liveness, and the end of connections.

use std::time::Duration;

use dormouse_protocol::{ClientMessage, Done, Encoding, Join, Ping, ServerMessage, Start};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::{Client, ENCODINGS, publish};
use crate::process::Program;
use crate::raw::{BINARY, CLOSE, PING, PONG, Raw, TEXT, closed_with, frame};
use crate::server::TestServer;
use crate::support::wait_until_refused;

fn ping(id: u32) -> Vec<u8> {
    format!("{{\"ping\":{{\"id\":{id}}}}}").into_bytes()
}

async fn is_done(raw: &mut Raw, id: u32) {
    assert_eq!(raw.message().await, ServerMessage::Done(Done { id }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_frames_may_stand_between_fragments() {
    let server = TestServer::start(|_| {}).await;
    let mut raw = Raw::connect(server.address, Encoding::Json).await;
    let text = ping(7);
    raw.send(&frame(0x01, &text[..4])).await;
    raw.send(&frame(PING, b"are you there")).await;
    assert_eq!(raw.frame().await, Some((PONG, b"are you there".to_vec())));
    raw.send(&[frame(0x00, &text[4..9]), frame(PONG, b""), frame(0x00, b"")].concat()).await;
    raw.send(&frame(PING, &[9; 125])).await;
    assert_eq!(raw.frame().await, Some((PONG, vec![9; 125])));
    raw.send(&frame(0x80, &text[9..])).await;
    is_done(&mut raw, 7).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_may_come_one_at_a_time_or_all_at_once() {
    let server = TestServer::start(|_| {}).await;
    let mut raw = Raw::connect(server.address, Encoding::Json).await;
    let long = format!("{}{}", String::from_utf8(ping(1)).unwrap(), " ".repeat(200));
    let fragments =
        [frame(0x01, &ping(2)[..5]), frame(PING, b"x"), frame(0x80, &ping(2)[5..])].concat();
    for byte in [frame(TEXT, long.as_bytes()), fragments].concat() {
        raw.send(&[byte]).await;
    }
    is_done(&mut raw, 1).await;
    assert_eq!(raw.frame().await, Some((PONG, b"x".to_vec())));
    is_done(&mut raw, 2).await;

    let many: Vec<u8> = (0..3_000).flat_map(|id| frame(TEXT, &ping(id))).collect();
    raw.send(&many).await;
    for id in 0..3_000 {
        is_done(&mut raw, id).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_the_rules_is_closed_with_its_code() {
    let server = TestServer::start(|config| config.limits.message_bytes = 2048).await;
    let masked = |first: u8, second: u8, rest: &[u8]| [&[first, second], rest].concat();
    let mut broken: Vec<(String, u16, Vec<u8>)> = vec![
        ("no mask".into(), 1002, b"\x81\x02{}".to_vec()),
        ("nothing to continue".into(), 1002, frame(0x80, b"x")),
        ("text in a message".into(), 1002, [frame(0x01, b"a"), frame(TEXT, b"b")].concat()),
        ("ping in fragments".into(), 1002, frame(0x09, b"")),
        ("long ping".into(), 1002, frame(PING, &[0; 126])),
        ("length of 16 bits for 125".into(), 1002, masked(TEXT, 0xFE, &[0, 125, 0, 0, 0, 0])),
        (
            "length of 64 bits for 65535".into(),
            1002,
            masked(TEXT, 0xFF, &[0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0]),
        ),
        (
            "length with the top bit".into(),
            1002,
            masked(TEXT, 0xFF, &[0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]),
        ),
        ("close of one byte".into(), 1002, frame(CLOSE, b"\x03")),
        ("bad UTF-8".into(), 1007, frame(TEXT, b"\"\xC0\xAF\"")),
        (
            "bad UTF-8 over fragments".into(),
            1007,
            [frame(0x01, b"\"\xE2\x82"), frame(0x80, b"\x28\"")].concat(),
        ),
        ("half a character".into(), 1007, frame(TEXT, b"\"\xE2\x82")),
        ("bad UTF-8 in a reason".into(), 1007, frame(CLOSE, b"\x03\xE8\xFF")),
        ("binary in JSON".into(), 1003, frame(BINARY, &ping(1))),
        ("claims too much".into(), 1009, masked(TEXT, 0xFE, &[0x08, 0x01, 0, 0, 0, 0])),
        (
            "claims a terabyte".into(),
            1009,
            masked(TEXT, 0xFF, &[0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ),
        (
            "too much in fragments".into(),
            1009,
            [frame(0x01, &[b' '; 2000]), frame(0x00, &[b' '; 49])].concat(),
        ),
    ];
    for bit in [0x40, 0x20, 0x10] {
        broken.push((format!("reserved bit {bit:#x}"), 1002, frame(TEXT | bit, b"{}")));
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        broken.push((format!("reserved opcode {opcode}"), 1002, frame(0x80 | opcode, b"")));
    }
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535] {
        broken.push((format!("close code {code}"), 1002, frame(CLOSE, &code.to_be_bytes())));
    }
    for (what, code, bytes) in &broken {
        let mut raw = Raw::connect(server.address, Encoding::Json).await;
        raw.send(&[frame(TEXT, &ping(1)), bytes.clone(), frame(TEXT, &ping(2))].concat()).await;
        println!("{what}");
        is_done(&mut raw, 1).await;
        raw.is_closed(*code).await;
    }
    let mut raw = Raw::connect(server.address, Encoding::Msgpack).await;
    raw.send(&frame(TEXT, b"{}")).await;
    raw.is_closed(1003).await;
    for (code, reason) in
        [(1002, "protocol_error"), (1003, "unsupported_data"), (1007, "invalid_utf8")]
    {
        let count = broken.iter().filter(|(_, this, _)| *this == code).count() as u64;
        let counted = server.metric(&format!("dormouse_closes_total{{code=\"{reason}\"}}")).await;
        assert_eq!(counted, count + u64::from(code == 1003), "{reason}");
    }
    server.metric_is("dormouse_connections", |open| open == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_the_full_size_is_taken() {
    let server = TestServer::start(|config| config.limits.message_bytes = 2048).await;
    let mut raw = Raw::connect(server.address, Encoding::Json).await;
    let mut text = ping(1);
    text.resize(2048, b' ');
    raw.send(&frame(TEXT, &text)).await;
    is_done(&mut raw, 1).await;
    raw.send(&[frame(0x01, &text[..1000]), frame(0x80, &text[1000..])].concat()).await;
    is_done(&mut raw, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_is_answered_and_ends_the_connection() {
    let server = TestServer::start(|_| {}).await;
    for payload in [&b""[..], b"\x03\xE8", b"\x03\xE8bye", b"\x03\xE9", b"\x0F\xA0own"] {
        let mut raw = Raw::connect(server.address, Encoding::Json).await;
        raw.send(&frame(CLOSE, payload)).await;
        let (first, answer) = raw.frame().await.unwrap();
        assert_eq!((first, closed_with(&answer)), (CLOSE, 1000));
        assert_eq!(raw.frame().await, None);
    }
}

/// A client that has said all and closes its half at once still reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_closed_client_gets_its_replies_and_the_close() {
    let server = TestServer::start(|_| {}).await;
    for _ in 0..20 {
        let mut raw = Raw::connect(server.address, Encoding::Json).await;
        let bytes = [frame(TEXT, &ping(1)), frame(PING, b"x"), frame(CLOSE, b"\x03\xE8")].concat();
        raw.send(&bytes).await;
        raw.stream.shutdown().await.unwrap();
        is_done(&mut raw, 1).await;
        assert_eq!(raw.frame().await, Some((PONG, b"x".to_vec())));
        let (first, payload) = raw.frame().await.unwrap();
        assert_eq!((first, closed_with(&payload)), (CLOSE, 1000));
        assert_eq!(raw.frame().await, None);
    }
    server.metric_is("dormouse_connections", |open| open == 0).await;
}

/// However long nothing happened before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_after_long_silence_is_answered() {
    let server = TestServer::start(|config| {
        config.reactors = 1;
        config.liveness.close_timeout = Duration::from_millis(100);
    })
    .await;
    let silence = || tokio::time::sleep(Duration::from_millis(400));
    let mut polite = Raw::connect(server.address, Encoding::Json).await;
    silence().await;
    polite.send(&frame(CLOSE, b"\x03\xE8")).await;
    polite.is_closed(1000).await;
    let mut broken = Raw::connect(server.address, Encoding::Json).await;
    silence().await;
    broken.send(b"\x81\x02{}").await;
    broken.is_closed(1002).await;
    silence().await;
    let mut forged = Raw::open(server.address, Encoding::Json, "?session=forged", None).await;
    forged.is_closed(3500).await;
}

/// RFC 6455, 5.5.1: nothing follows a close frame, not even what was being worked on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_frame_is_the_last() {
    let server = TestServer::start(|_| {}).await;
    for round in 0..20 {
        let mut raw = Raw::connect(server.address, Encoding::Msgpack).await;
        let object = format!("room/{round}").parse().unwrap();
        raw.request(&ClientMessage::Join(Join::new(1, object, Start::Now))).await;
        let ServerMessage::Joined(joined) = raw.message().await else { panic!("not joined") };
        assert!(matches!(raw.message().await, ServerMessage::CaughtUp(_)));
        let request = Encoding::Msgpack.encode_client(&publish(2, joined.object, round, None));
        raw.send(&[frame(BINARY, &request), frame(TEXT, b"{}")].concat()).await;
        let mut frames = Vec::new();
        // The closing handshake is left open for as long as the server waits.
        while let Some((first, _)) = raw.frame().await {
            frames.push(first);
            if first == CLOSE {
                raw.send(&frame(PING, b"")).await;
                let mut other = Client::connect(server.address, Encoding::Json).await;
                let object = other.join(&format!("room/{round}"), Start::All).await.object;
                other.events_until(object, 1).await;
                raw.send(&frame(CLOSE, b"\x03\xEB")).await;
            }
        }
        assert_eq!(frames.iter().position(|first| *first == CLOSE), Some(frames.len() - 1));
    }
}

/// A client that answers the close and takes nothing more does not hold its place for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closing_client_that_reads_nothing_is_dropped() {
    let server = TestServer::start(|config| {
        config.limits.outbound_bytes = 64 << 20;
        config.liveness.close_timeout = Duration::from_millis(300);
    })
    .await;
    let mut raw = Raw::narrow(server.address, Encoding::Json).await;
    // More than its kernel and the server's take together.
    let mut pings = 0_usize;
    let many = frame(PING, &[7; 125]).repeat(1_000);
    while pings < 100_000 {
        raw.send(&many).await;
        pings += 1_000;
    }
    raw.send(&frame(BINARY, b"")).await;
    server
        .metric_is("dormouse_closes_total{code=\"unsupported_data\"}", |closes| closes == 1)
        .await;
    // Halfway to the deadline.
    tokio::time::sleep(Duration::from_millis(150)).await;
    raw.send(&frame(CLOSE, b"\x03\xEB")).await;
    server.metric_is("dormouse_connections", |open| open == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mute_client_is_closed_and_one_that_answers_stays() {
    let server = TestServer::start(|config| {
        config.liveness.ping_interval = Duration::from_millis(200);
        config.liveness.pong_timeout = Duration::from_millis(400);
    })
    .await;
    let mut mute = Raw::connect(server.address, Encoding::Json).await;
    let mut alive = Raw::connect(server.address, Encoding::Json).await;
    let alive = tokio::spawn(async move {
        for _ in 0..8 {
            assert_eq!(alive.frame().await, Some((PING, Vec::new())));
            alive.send(&frame(PONG, b"")).await;
        }
        alive.send(&frame(TEXT, &ping(1))).await;
        is_done(&mut alive, 1).await;
        alive
    });
    assert_eq!(mute.frame().await, Some((PING, Vec::new())));
    // The socket goes without waiting for an answer; whether the close frame went out first is not promised.
    while mute.frame().await.is_some() {}
    let mut alive = alive.await.unwrap();
    assert_eq!(server.metric("dormouse_connections").await, 1);
    assert_eq!(server.metric("dormouse_closes_total{code=\"ping_timeout\"}").await, 1);
    // Any byte is a sign of life.
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        alive.send(&frame(PONG, b"unasked")).await;
    }
    alive.send(&frame(TEXT, &ping(2))).await;
    is_done(&mut alive, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_answers_what_is_in_flight_and_sends_clients_away() {
    let data = TempDir::new().unwrap();
    let mut program = Program::start(data.path(), 0, &[]);
    let mut clients = Vec::new();
    for index in 0..6 {
        let mut client = Client::connect(program.address, ENCODINGS[index % 2]).await;
        let object = client.join_now("room/drain").await;
        let mut ids = Vec::new();
        for number in 0..100 {
            ids.push(client.send_publish(object, number, None).await);
        }
        clients.push((client, ids));
    }
    let mut idle = Client::connect(program.address, Encoding::Json).await;
    // The first reply of each shows that its requests have arrived, as they were read together or are next.
    for (client, ids) in &mut clients {
        client.published(ids[0]).await;
    }
    program.signal("TERM");
    assert_eq!(idle.closed().await, Some(3000));
    for (client, ids) in &mut clients {
        assert_eq!(client.closed().await, Some(3000));
        let replied = client.rest();
        let ids_replied: Vec<u32> = replied.iter().filter_map(crate::client::reply_id).collect();
        // What was taken in is answered in order; what was not is not.
        assert!(ids[1..].starts_with(&ids_replied), "{ids_replied:?}");
    }
    assert_eq!(program.ended().code(), Some(0));
}

/// Somebody who is slow with an HTTP request costs the WebSockets neither their farewell nor the time for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_http_request_does_not_take_the_time_of_a_stop() {
    let data = TempDir::new().unwrap();
    let mut program = Program::start(data.path(), 0, &[]);
    let mut client = Client::connect(program.address, Encoding::Json).await;
    let mut slow = tokio::net::TcpStream::connect(program.address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    // Later connections are answered, so the slow one was accepted.
    Client::connect(program.address, Encoding::Json).await;
    program.signal("TERM");
    wait_until_refused(program.address);
    assert_eq!(client.closed().await, Some(3000));
    slow.write_all(b"Host: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(program.ended().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_behind_a_close_are_not_carried_out() {
    let server = TestServer::start(|_| {}).await;
    let mut raw = Raw::connect(server.address, Encoding::Json).await;
    let request = ClientMessage::Ping(Ping { id: 5 });
    let ping = Encoding::Json.encode_client(&request);
    raw.send(&[frame(CLOSE, b""), frame(TEXT, &ping)].concat()).await;
    let (first, _) = raw.frame().await.unwrap();
    assert_eq!(first, CLOSE);
    let after = raw.frame().await;
    assert_eq!(after, None);
}
