//! socket.io, version 5 of its protocol, over a bare WebSocket: text with the digits of its types in front. A publish is an
//! event `m` with one text.

use std::borrow::Cow;

use anyhow::{Result, bail};

use super::{Membership, Notice, Upgrade, Wire};
use crate::drive::frame::{self, Opcode};

/// What stands around the payload of a publish.
const EVENT: (&[u8], &[u8]) = (b"42[\"m\",\"", b"\"]");
const CONNECT: &[u8] = b"40";
const PING: &[u8] = b"2";
const PONG: &[u8] = b"3";

/// The language.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SocketIo;

impl Wire for SocketIo {
    /// The room.
    type Peer = u32;

    fn peer(&self, _: u32, room: u32) -> u32 {
        room
    }

    fn upgrade(&self, room: &u32) -> Upgrade {
        let path = Cow::Owned(format!("/socket.io/?EIO=4&transport=websocket&room={room}"));
        Upgrade { path, subprotocol: None }
    }

    fn join(&self, _: &mut u32, out: &mut Vec<u8>) -> Membership {
        send(out, &[CONNECT]);
        Membership::Awaited
    }

    fn publish(&self, _: &mut u32, payload: &[u8], out: &mut Vec<u8>) {
        // A payload has nothing that JSON escapes.
        send(out, &[EVENT.0, payload, EVENT.1]);
    }

    fn message(
        &self,
        _: &mut u32,
        message: &[u8],
        out: &mut Vec<u8>,
        notice: &mut impl FnMut(Notice<'_>),
    ) -> Result<()> {
        let event = message.strip_prefix(EVENT.0).and_then(|rest| rest.strip_suffix(EVENT.1));
        match message {
            _ if let Some(payload) = event => notice(Notice::Delivered { payload, offset: None }),
            _ if message.starts_with(CONNECT) => notice(Notice::Joined { from: None }),
            PING => send(out, &[PONG]),
            // The transport is open; the namespace is not yet.
            [b'0', ..] => {}
            other => bail!("the server says {}", other.escape_ascii()),
        }
        Ok(())
    }
}

fn send(out: &mut Vec<u8>, parts: &[&[u8]]) {
    frame::write(out, Opcode::Text, |out| {
        for part in parts {
            out.extend_from_slice(part);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(message: &[u8], out: &mut Vec<u8>) -> Result<Option<Vec<u8>>> {
        let mut told = None;
        let notice = &mut |notice: Notice<'_>| match notice {
            Notice::Joined { from: None } => told = Some(b"joined".to_vec()),
            Notice::Delivered { payload, offset: None } => told = Some(payload.to_vec()),
            other => panic!("{other:?}"),
        };
        SocketIo.message(&mut 7, message, out, notice)?;
        Ok(told)
    }

    /// Messages as socket.io 4.8.4 sends them, shortened.
    #[test]
    fn messages_are_told_apart_by_their_digits() {
        let mut out = Vec::new();
        let open = br#"0{"sid":"lH5s","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#;
        assert_eq!(told(open, &mut out).unwrap(), None);
        assert_eq!(told(br#"40{"sid":"m_Dl"}"#, &mut out).unwrap().unwrap(), b"joined");
        assert_eq!(told(br#"42["m","hello"]"#, &mut out).unwrap().unwrap(), b"hello");
        assert!(out.is_empty());
        assert_eq!(told(b"2", &mut out).unwrap(), None);
        assert!(out.ends_with(b"3"), "the ping is answered");
        assert!(told(br#"44{"message":"no"}"#, &mut out).is_err());
    }

    #[test]
    fn a_publish_is_an_event() {
        let mut out = Vec::new();
        SocketIo.publish(&mut 7, b"hello", &mut out);
        assert!(out.ends_with(br#"42["m","hello"]"#));
    }
}
