//! One connection as a pure machine: bytes of the server go in, bytes for it come out. It upgrades, joins one object and then only
//! answers pings.
//!
//! At rest it keeps nothing but its state, so that a process holds thousands. It does not judge what it receives: what it
//! has no use for it skips.

use std::io::Cursor;
use std::mem;

use anyhow::{Context as _, Result, bail, ensure};
use dormouse_protocol::SUBPROTOCOL_JSON;
use serde_json::json;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};

/// A connection.
#[derive(Debug)]
pub(super) struct Member {
    stage: Stage,
    /// The beginning of something that has not arrived whole. Empty at rest.
    partial: Vec<u8>,
}

#[derive(Debug)]
enum Stage {
    /// The HTTP request is on its way; then this request to join.
    Upgrading {
        join: String,
    },
    Joining,
    AtRest,
}

impl Member {
    /// Joins an object, with so many bytes of presence; with 0 it has none. The number makes them differ.
    pub(super) fn new(nth: usize, object: &str, presence_bytes: usize) -> Self {
        let mut join = json!({"id": 1, "object": object});
        if presence_bytes > 0 {
            let digits = format!("{nth:0>presence_bytes$}");
            join["presence"] = json!({"n": digits[digits.len() - presence_bytes..]});
            join["watch"] = json!("none");
        }
        let join = json!({"join": join}).to_string();
        Self { stage: Stage::Upgrading { join }, partial: Vec::new() }
    }

    /// The first bytes to send.
    pub(super) fn upgrade(host: &str) -> String {
        format!(
            "GET /v1/connect HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ZG9ybW91c2UtbG9hZHRlcw==\r\n\
             Sec-WebSocket-Protocol: {SUBPROTOCOL_JSON}\r\n\r\n"
        )
    }

    /// Whether it has joined.
    pub(super) fn is_at_rest(&self) -> bool {
        matches!(self.stage, Stage::AtRest)
    }

    /// Takes what arrived and adds what is to be sent. An error is the end of the connection.
    pub(super) fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let mut input = mem::take(&mut self.partial);
        input.extend_from_slice(bytes);
        let mut taken = 0;
        while let Some(length) = self.step(&input[taken..], out)? {
            taken += length;
        }
        self.partial = input[taken..].to_vec();
        Ok(())
    }

    /// Takes the first whole thing, and tells its length.
    fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>> {
        if let Stage::Upgrading { join } = &mut self.stage {
            let Some(head) = input.windows(4).position(|end| end == b"\r\n\r\n") else {
                return Ok(None);
            };
            let status = String::from_utf8_lossy(&input[..head.min(32)]).into_owned();
            ensure!(status.starts_with("HTTP/1.1 101"), "the server refused: {status:?}");
            send(OpCode::Data(Data::Text), mem::take(join).into_bytes(), out)?;
            self.stage = Stage::Joining;
            return Ok(Some(head + 4));
        }
        let mut cursor = Cursor::new(input);
        let Some((header, length)) = FrameHeader::parse(&mut cursor)? else { return Ok(None) };
        let start = cursor.position() as usize;
        let Some(payload) = input.get(start..start + usize::try_from(length)?) else {
            return Ok(None);
        };
        self.take(header.opcode, payload, out)?;
        Ok(Some(start + payload.len()))
    }

    fn take(&mut self, opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) -> Result<()> {
        match opcode {
            OpCode::Control(Control::Ping) => {
                send(OpCode::Control(Control::Pong), payload.to_vec(), out)
            }
            OpCode::Control(Control::Close) => {
                let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                bail!("the server closed with {code}")
            }
            OpCode::Data(Data::Text) if payload.starts_with(br#"{"error":"#) => {
                bail!("the server refused: {}", String::from_utf8_lossy(payload))
            }
            OpCode::Data(Data::Text) if payload.starts_with(br#"{"joined":"#) => {
                self.stage = Stage::AtRest;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn send(opcode: OpCode, payload: Vec<u8>, out: &mut Vec<u8>) -> Result<()> {
    let mask = Some(rand::random());
    let header = FrameHeader { opcode, mask, ..FrameHeader::default() };
    Frame::from_payload(header, payload.into()).format(out).context("a frame that can't be written")
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

    fn from_server(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = FrameHeader { opcode, ..FrameHeader::default() };
        Frame::from_payload(header, payload.to_vec().into()).format(&mut bytes).unwrap();
        bytes
    }

    /// The one masked frame that these bytes are.
    fn unmasked(bytes: &[u8]) -> (OpCode, String) {
        let mut cursor = Cursor::new(bytes);
        let (header, length) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
        let payload = &bytes[cursor.position() as usize..];
        assert_eq!(payload.len() as u64, length);
        let mask = header.mask.expect("clients mask");
        let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key);
        (header.opcode, String::from_utf8(payload.collect()).unwrap())
    }

    fn joined() -> Member {
        let mut member = Member::new(7, "room/3", 0);
        let mut input = UPGRADED.to_vec();
        input.extend(from_server(OpCode::Data(Data::Text), br#"{"welcome":{}}"#));
        input.extend(from_server(OpCode::Data(Data::Text), br#"{"joined":{}}"#));
        member.receive(&input, &mut Vec::new()).unwrap();
        assert!(member.is_at_rest());
        member
    }

    #[test]
    fn it_joins_with_presence_of_exactly_so_many_bytes() {
        for (nth, bytes, presence) in [(7, 4, "0007"), (12345, 4, "2345"), (12345, 1, "5")] {
            let (mut member, mut out) = (Member::new(nth, "room/3", bytes), Vec::new());
            member.receive(UPGRADED, &mut out).unwrap();
            let join = json!({"join": {
                "id": 1, "object": "room/3", "presence": {"n": presence}, "watch": "none"
            }});
            assert_eq!(unmasked(&out), (OpCode::Data(Data::Text), join.to_string()));
        }
    }

    #[test]
    fn without_presence_the_fields_are_left_out() {
        let (mut member, mut out) = (Member::new(7, "room/3", 0), Vec::new());
        member.receive(UPGRADED, &mut out).unwrap();
        assert_eq!(unmasked(&out).1, r#"{"join":{"id":1,"object":"room/3"}}"#);
    }

    #[test]
    fn a_ping_is_answered_with_its_payload_however_it_arrives() {
        let (mut member, mut out) = (joined(), Vec::new());
        for byte in from_server(OpCode::Control(Control::Ping), b"echo") {
            assert!(out.is_empty());
            member.receive(&[byte], &mut out).unwrap();
        }
        assert_eq!(unmasked(&out), (OpCode::Control(Control::Pong), "echo".to_owned()));
        assert_eq!(member.partial.capacity(), 0, "at rest it holds no memory");
    }

    #[test]
    fn refusals_and_closes_are_errors() {
        let refused = b"HTTP/1.1 503 Service Unavailable\r\n\r\n";
        assert!(Member::new(7, "room/3", 0).receive(refused, &mut Vec::new()).is_err());
        for (opcode, payload) in [
            (OpCode::Data(Data::Text), br#"{"error":{"id":1}}"#.as_slice()),
            (OpCode::Control(Control::Close), &3001_u16.to_be_bytes()),
        ] {
            assert!(joined().receive(&from_server(opcode, payload), &mut Vec::new()).is_err());
        }
    }
}
