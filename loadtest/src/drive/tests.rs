//! The engine against a server of a few lines, which does what servers do at their worst.

use std::borrow::Cow;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Error, Result};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};

use super::swarm::{Listener, Swarm};
use crate::wire::{Membership, Notice, Upgrade, Wire};

const SOON: Duration = Duration::from_millis(20);
const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

/// A language without words: what is published is what is received.
struct Bare;

impl Wire for Bare {
    type Peer = ();

    fn peer(&self, _: u32, _: u32) {}

    fn upgrade(&self, (): &()) -> Upgrade {
        Upgrade { path: Cow::Borrowed("/path"), subprotocol: Some("words".into()) }
    }

    fn join(&self, (): &mut (), _: &mut Vec<u8>) -> Membership {
        Membership::Complete
    }

    fn publish(&self, (): &mut (), payload: &[u8], out: &mut Vec<u8>) {
        super::frame::write(out, super::frame::Opcode::Text, |out| out.extend_from_slice(payload));
    }

    fn message(
        &self,
        (): &mut (),
        message: &[u8],
        _: &mut Vec<u8>,
        notice: &mut impl FnMut(Notice<'_>),
    ) -> Result<()> {
        notice(Notice::Delivered { payload: message, offset: None });
        Ok(())
    }
}

/// Who received what, and whose connection ended.
#[derive(Default)]
struct Heard {
    payloads: Vec<(u32, Vec<u8>)>,
    closed: Vec<(u32, String)>,
}

impl Listener for Heard {
    fn notice(&mut self, member: u32, _: Duration, notice: Notice<'_>) {
        if let Notice::Delivered { payload, .. } = notice {
            self.payloads.push((member, payload.to_vec()));
        }
    }

    fn closed(&mut self, member: u32, why: &Error) {
        self.closed.push((member, why.to_string()));
    }
}

/// A server of one connection: it reads the request and does this.
fn server<T: Send + 'static>(
    serve: impl FnOnce(TcpStream, String) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.set_nodelay(true).unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        serve(socket, String::from_utf8(request).unwrap())
    });
    (address, serving)
}

fn frame(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    Frame::from_payload(header, payload.to_vec().into()).format(&mut bytes).unwrap();
    bytes
}

fn text(payload: &[u8]) -> Vec<u8> {
    frame(OpCode::Data(Data::Text), payload)
}

/// One member, which has joined.
fn joined(address: SocketAddr, sources: u8) -> (Swarm<Bare>, Heard) {
    let mut swarm = Swarm::new(Bare, address, sources).unwrap();
    swarm.seat(0, None);
    let mut heard = Heard::default();
    swarm.open(&mut heard).unwrap();
    (swarm, heard)
}

#[test]
fn frames_are_read_however_they_are_cut_and_pings_answered() {
    let large = vec![b'l'; 200_000];
    let sent = large.clone();
    let (address, serving) = server(move |mut socket, request| {
        let mut bytes = UPGRADED.to_vec();
        bytes.extend(text(b"at once"));
        bytes.extend(frame(OpCode::Control(Control::Ping), b"echo"));
        for byte in bytes {
            socket.write_all(&[byte]).unwrap();
        }
        socket.write_all(&text(&sent)).unwrap();
        socket.write_all(&[text(b"two"), text(b"in one")].concat()).unwrap();
        let mut answer = [0; 10];
        socket.read_exact(&mut answer).unwrap();
        (request, answer)
    });
    let (mut swarm, mut heard) = joined(address, 1);
    while heard.closed.is_empty() {
        swarm.turn(SOON, &mut heard).unwrap();
    }
    let expected = [&b"at once"[..], &large, b"two", b"in one"];
    assert!(heard.payloads.iter().map(|(_, payload)| &payload[..]).eq(expected));
    assert_eq!(swarm.received().messages, 4);
    assert_eq!(heard.closed, [(0, "the connection ended".to_owned())]);
    let (request, answer) = serving.join().unwrap();
    assert!(request.starts_with("GET /path HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nSec-WebSocket-Protocol: words\r\n"), "{request}");
    assert_eq!(&answer, b"\x8a\x84\0\0\0\0echo");
}

#[test]
fn what_the_system_does_not_take_is_sent_later() {
    const PUBLISHES: usize = 20_000;
    let (address, serving) = server(|mut socket, _| {
        socket.write_all(UPGRADED).unwrap();
        thread::sleep(SOON);
        socket.read_exact(&mut vec![0; PUBLISHES * 1008]).unwrap();
    });
    let (mut swarm, mut heard) = joined(address, 1);
    for _ in 0..PUBLISHES {
        swarm.publish(0, &[b'p'; 1000]);
    }
    while !serving.is_finished() {
        swarm.turn(SOON, &mut heard).unwrap();
    }
    serving.join().unwrap();
}

#[test]
fn connections_are_spread_over_addresses() {
    let (address, serving) = server(|mut socket, _| {
        socket.write_all(UPGRADED).unwrap();
        socket.peer_addr().unwrap().ip()
    });
    let mut swarm = Swarm::new(Bare, address, 3).unwrap();
    (0..2).for_each(|_| swarm.seat(0, None));
    swarm.admit(1);
    let mut heard = Heard::default();
    while swarm.expected() > 0 {
        swarm.turn(SOON, &mut heard).unwrap();
    }
    assert_eq!(serving.join().unwrap(), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));
}

#[test]
fn a_slow_member_reads_a_little_at_a_time_and_all_of_it_when_it_may() {
    let (address, _serving) = server(|mut socket, _| {
        socket.write_all(UPGRADED).unwrap();
        socket.write_all(&text(b"before").repeat(10)).unwrap();
        let _ = socket.read(&mut [0]);
        socket.write_all(&text(&[b's'; 100]).repeat(20)).unwrap();
        let _ = socket.read(&mut [0]);
    });
    let (mut swarm, mut heard) = joined(address, 1);
    while heard.payloads.len() < 10 {
        swarm.turn(SOON, &mut heard).unwrap();
    }
    swarm.slow_down(0..1);
    swarm.publish(0, b"");
    for _ in 0..10 {
        swarm.turn(SOON, &mut heard).unwrap();
    }
    assert!(heard.payloads.len() < 10 + 20, "2,040 bytes take two seconds");
    swarm.speed_up().unwrap();
    while heard.payloads.len() < 10 + 20 {
        swarm.turn(SOON, &mut heard).unwrap();
    }
}

#[test]
fn a_close_is_told_and_a_refusal_ends_the_run() {
    let (address, _serving) = server(|mut socket, _| {
        socket.write_all(UPGRADED).unwrap();
        let close = frame(OpCode::Control(Control::Close), &3001_u16.to_be_bytes());
        socket.write_all(&close).unwrap();
        let _ = socket.read(&mut [0]);
    });
    let (mut swarm, mut heard) = joined(address, 1);
    while heard.closed.is_empty() {
        swarm.turn(SOON, &mut heard).unwrap();
    }
    assert_eq!(heard.closed[0].1, "the server closed with 3001");
    swarm.publish(0, b"to nobody");
    swarm.turn(SOON, &mut heard).unwrap();

    let (address, _serving) = server(|mut socket, _| {
        socket.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap();
    });
    let mut swarm = Swarm::new(Bare, address, 1).unwrap();
    swarm.seat(0, None);
    let refusal = format!("{:#}", swarm.open(&mut Heard::default()).unwrap_err());
    assert!(refusal.contains("503"), "{refusal}");
}
