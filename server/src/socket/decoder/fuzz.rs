//! What holds for any bytes that a client sends on its socket: the fuzz target `frames`.

use std::io::{self, Read, Write};

use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocket, WebSocketConfig};

use super::{Decoder, Incoming, Opcode};
use crate::limits::Budget;
use crate::socket::deflate;
use crate::socket::frame::{self, MAX_CONTROL, Violation, unmask};

/// What was decoded, kept.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

impl From<Incoming<'_>> for Got {
    fn from(incoming: Incoming<'_>) -> Self {
        match incoming {
            Incoming::Text(text) => Self::Text(text.into()),
            Incoming::Binary(bytes) => Self::Binary(bytes.into()),
            Incoming::Ping(payload) => Self::Ping(payload.into()),
            Incoming::Pong => Self::Pong,
            Incoming::Close(code) => Self::Close(code),
        }
    }
}

/// Decodes bytes that come in pieces of these sizes, over and over: the messages, and what stands after them.
pub(super) fn decode(
    bytes: &[u8],
    sizes: &[usize],
    limit: usize,
    deflates: bool,
) -> (Vec<Got>, Result<(), Violation>) {
    let (mut decoder, budget) = (Decoder::default(), Budget::unlimited());
    let mut got = Vec::new();
    let mut rest = bytes.to_vec();
    let mut rest = rest.as_mut_slice();
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = sizes.next().map_or(1, |size| *size).clamp(1, rest.len());
        let (mut input, later) = std::mem::take(&mut rest).split_at_mut(size);
        rest = later;
        loop {
            match decoder.next(&mut input, limit, deflates, &budget) {
                Ok(Some(incoming)) => got.push(incoming.into()),
                Ok(None) => break,
                Err(violation) => return (got, Err(violation)),
            }
        }
        assert!(input.is_empty(), "all of the input is taken");
        let held = decoder.0.as_ref().map_or(0, |partial| partial.message.len());
        let most = if deflates { deflate::bound(limit) } else { limit };
        assert!(held <= most, "no more is kept of a message than it may have");
    }
    if decoder.is_idle() {
        assert_eq!(decoder.next(&mut [].as_mut_slice(), limit, deflates, &budget), Ok(None));
        assert!(decoder.0.is_none(), "between messages a decoder owns nothing");
    }
    (got, Ok(()))
}

/// The first two bytes say how the rest comes: how long a message may be, whether it may be compressed, and how the bytes are cut.
pub fn frames(bytes: &[u8]) {
    let [limit, cut, bytes @ ..] = bytes else { return };
    let deflates = limit & 4 != 0;
    let limit = [MAX_CONTROL, 126, 1_000, 100_000][usize::from(limit % 4)];
    let cut = usize::from(*cut);
    let (got, end) = decode(bytes, &[bytes.len()], limit, deflates);
    for sizes in [&[1][..], &[1 + cut], &[1 + cut % 7, 1 + cut / 7, 1]] {
        assert_eq!(
            decode(bytes, sizes, limit, deflates),
            (got.clone(), end),
            "in pieces of {sizes:?}"
        );
    }
    for message in &got {
        let size = match message {
            Got::Text(text) => text.len(),
            Got::Binary(bytes) => bytes.len(),
            Got::Ping(payload) => payload.len(),
            Got::Pong | Got::Close(_) => 0,
        };
        assert!(size <= limit, "a message of {size} bytes where {limit} are allowed");
        is_written_as_it_is_read(message, limit);
    }
    agrees_with_tungstenite(bytes, limit, &got, end);
}

/// What our side writes is, with a client's mask, what our side reads; compressed too.
fn is_written_as_it_is_read(message: &Got, limit: usize) {
    let (opcode, payload) = match message {
        Got::Text(text) => (Opcode::Text, text.as_bytes().to_vec()),
        Got::Binary(bytes) => (Opcode::Binary, bytes.clone()),
        Got::Ping(payload) => (Opcode::Ping, payload.clone()),
        Got::Pong => (Opcode::Pong, Vec::new()),
        Got::Close(code) => {
            (Opcode::Close, code.map_or(Vec::new(), |code| code.to_be_bytes().into()))
        }
    };
    let read = |written: &[u8]| {
        let bytes = masked(written);
        decode(&bytes, &[bytes.len()], limit, true)
    };
    assert_eq!(read(&frame::data(opcode, &payload)), (vec![message.clone()], Ok(())));
    if let Some(small) = deflate::deflate(&payload) {
        assert_eq!(read(&frame::deflated(opcode, &small)), (vec![message.clone()], Ok(())));
    }
}

/// A frame of the server as a client would send it.
fn masked(written: &[u8]) -> Vec<u8> {
    let header_len = match written[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let (header, payload) = written.split_at(header_len);
    let (mask, mut payload) = ([1, 20, 30, 200], payload.to_vec());
    unmask(&mut payload, mask, 0);
    let mut bytes = [header, &mask, &payload].concat();
    bytes[1] |= 0x80;
    bytes
}

/// As far as both go on they read the same, up to a close; and tungstenite goes no further than we, but where a length is
/// longer than needed or a close code is one that no peer may send.
fn agrees_with_tungstenite(bytes: &[u8], limit: usize, got: &[Got], end: Result<(), Violation>) {
    let config = WebSocketConfig::default()
        .read_buffer_size(4 << 10)
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit));
    let mut socket = WebSocket::from_raw_socket(Wire(bytes), Role::Server, Some(config));
    let mut got = got.iter();
    while let Ok(message) = socket.read() {
        let theirs = match message {
            Message::Text(text) => Got::Text(text.as_str().into()),
            Message::Binary(bytes) => Got::Binary(bytes.into()),
            Message::Ping(payload) => Got::Ping(payload.into()),
            Message::Pong(_) => Got::Pong,
            Message::Close(frame) => Got::Close(frame.map(|frame| frame.code.into())),
            Message::Frame(_) => unreachable!("whole messages are read"),
        };
        match (got.next(), theirs) {
            // It takes some codes for broken that have been registered since.
            (Some(Got::Close(_)), Got::Close(_)) => return,
            (Some(ours), theirs) => assert_eq!(*ours, theirs),
            (None, theirs) => return assert!(end.is_err(), "{theirs:?} was not read"),
        }
    }
}

/// Gives its bytes and takes any.
struct Wire<'a>(&'a [u8]);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
