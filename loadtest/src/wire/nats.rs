//! NATS over WebSocket: its protocol of text lines inside binary messages. A subject is a room.
//!
//! Where one operation ends has nothing to do with where a WebSocket message does: several stand in one, and one may be cut
//! across two.

use std::borrow::Cow;
use std::io::Write as _;
use std::mem;

use anyhow::{Context as _, Result, bail, ensure};

use super::{Membership, Notice, Upgrade, Wire};
use crate::drive::frame::{self, Opcode};

/// No reply to each publish, and one's own come back.
const CONNECT: &str = r#"CONNECT {"verbose":false,"pedantic":false,"echo":true}"#;

/// The language.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nats;

/// A member.
#[derive(Debug)]
pub(crate) struct Peer {
    room: u32,
    /// The beginning of an operation that the last message cut.
    cut: Vec<u8>,
}

/// What the server sent.
#[derive(Debug, PartialEq)]
enum Operation<'a> {
    /// `MSG`: a message on a subject.
    Message(&'a [u8]),
    /// It wants to know whether we are here.
    Ping,
    /// The answer to ours.
    Pong,
    /// `INFO`, about itself.
    Info,
}

impl Wire for Nats {
    type Peer = Peer;

    fn peer(&self, _: u32, room: u32) -> Peer {
        Peer { room, cut: Vec::new() }
    }

    fn upgrade(&self, _: &Peer) -> Upgrade {
        Upgrade { path: Cow::Borrowed("/"), subprotocol: None }
    }

    fn join(&self, peer: &mut Peer, out: &mut Vec<u8>) -> Membership {
        let Peer { room, cut } = peer;
        cut.clear();
        // What answers the ping comes after the subscription.
        send(out, format_args!("{CONNECT}\r\nSUB room.{room} 1\r\nPING\r\n"));
        Membership::Awaited
    }

    fn publish(&self, peer: &mut Peer, payload: &[u8], out: &mut Vec<u8>) {
        let text = str::from_utf8(payload).expect("a payload is text");
        send(out, format_args!("PUB room.{} {}\r\n{text}\r\n", peer.room, payload.len()));
    }

    fn message(
        &self,
        peer: &mut Peer,
        message: &[u8],
        out: &mut Vec<u8>,
        notice: &mut impl FnMut(Notice<'_>),
    ) -> Result<()> {
        if peer.cut.is_empty() {
            let rest = take(message, out, notice)?;
            peer.cut.extend_from_slice(rest);
        } else {
            let mut bytes = mem::take(&mut peer.cut);
            bytes.extend_from_slice(message);
            let taken = bytes.len() - take(&bytes, out, notice)?.len();
            bytes.drain(..taken);
            peer.cut = bytes;
        }
        Ok(())
    }
}

fn send(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    frame::write(out, Opcode::Binary, |out| {
        out.write_fmt(text).expect("writing to memory does not fail");
    });
}

/// Takes all operations that are whole; what is left is the beginning of one.
fn take<'a>(
    mut bytes: &'a [u8],
    out: &mut Vec<u8>,
    notice: &mut impl FnMut(Notice<'_>),
) -> Result<&'a [u8]> {
    while let Some((operation, rest)) = operation(bytes)? {
        match operation {
            Operation::Message(payload) => notice(Notice::Delivered { payload, offset: None }),
            Operation::Pong => notice(Notice::Joined { from: None }),
            Operation::Ping => send(out, format_args!("PONG\r\n")),
            Operation::Info => {}
        }
        bytes = rest;
    }
    Ok(bytes)
}

/// The first operation, and what stands behind it; None where it is cut.
fn operation(bytes: &[u8]) -> Result<Option<(Operation<'_>, &[u8])>> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let (line, rest) = (bytes[..end].trim_ascii_end(), &bytes[end + 1..]);
    if line.starts_with(b"MSG ") {
        let size = size(line).with_context(|| format!("no size: {}", line.escape_ascii()))?;
        let Some((body, rest)) = rest.split_at_checked(size + 2) else { return Ok(None) };
        let (payload, end) = body.split_at(size);
        ensure!(end == b"\r\n", "a message that is not {size} bytes long");
        return Ok(Some((Operation::Message(payload), rest)));
    }
    let operation = match line {
        b"PING" => Operation::Ping,
        b"PONG" => Operation::Pong,
        line if line.starts_with(b"INFO ") => Operation::Info,
        line => bail!("the server says {}", line.escape_ascii()),
    };
    Ok(Some((operation, rest)))
}

/// The number that the line of a message ends with: `MSG room.7 1 128`.
fn size(line: &[u8]) -> Option<usize> {
    let digits = line.rsplit(|byte| *byte == b' ').next()?;
    // No larger than a frame, so that sums of it do not overflow.
    str::from_utf8(digits).ok()?.parse::<u32>().ok().map(|size| size as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As nats-server 2.9.10 sends them; what it says of itself is shortened.
    const RECORDED: &[u8] = b"INFO {\"server_name\":\"peer\",\"max_payload\":1048576} \r\nPONG\r\n\
        MSG room.7 1 5\r\nhello\r\nPING\r\nMSG room.7 1 7\r\nwo\r\nrld\r\n";

    fn told(peer: &mut Peer, message: &[u8], out: &mut Vec<u8>) -> Result<Vec<String>> {
        let mut told = Vec::new();
        let notice = &mut |notice: Notice<'_>| match notice {
            Notice::Joined { from: None } => told.push("joined".to_owned()),
            Notice::Delivered { payload, offset: None } => {
                told.push(String::from_utf8(payload.to_vec()).unwrap());
            }
            other => panic!("{other:?}"),
        };
        Nats.message(peer, message, out, notice)?;
        Ok(told)
    }

    #[test]
    fn operations_are_read_wherever_messages_cut_them() {
        for size in 1..=RECORDED.len() {
            let (mut peer, mut out) = (Nats.peer(0, 7), Vec::new());
            let parts = RECORDED.chunks(size).map(|part| told(&mut peer, part, &mut out).unwrap());
            assert_eq!(parts.collect::<Vec<_>>().concat(), ["joined", "hello", "wo\r\nrld"]);
            assert!(out.ends_with(b"PONG\r\n"), "the ping is answered");
            assert!(peer.cut.is_empty());
        }
    }

    #[test]
    fn a_refusal_is_an_error() {
        for bad in ["-ERR 'Slow Consumer'\r\n", "MSG room.7 1 x\r\n", "MSG room.7 1 1\r\nab\r\n"] {
            let peer = &mut Nats.peer(0, 7);
            assert!(told(peer, bad.as_bytes(), &mut Vec::new()).is_err(), "{bad}");
        }
    }

    #[test]
    fn publishes_tell_their_size() {
        let mut out = Vec::new();
        Nats.publish(&mut Nats.peer(0, 7), b"hello", &mut out);
        assert!(out.ends_with(b"PUB room.7 5\r\nhello\r\n"));
    }
}
