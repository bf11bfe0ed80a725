//! Systems whose messages are the payloads themselves: Bun as `peers/bun.mjs` sets it up, and nchan. The path names the room.

use std::borrow::Cow;

use anyhow::Result;

use super::{Membership, Notice, Upgrade, Wire};
use crate::drive::frame::{self, Opcode};

/// The language.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Plain {
    /// Members of rooms.
    Rooms,
    /// Connections that get back what they send, without a room.
    Echo,
}

impl Wire for Plain {
    /// The room.
    type Peer = u32;

    fn peer(&self, _: u32, room: u32) -> u32 {
        room
    }

    fn upgrade(&self, room: &u32) -> Upgrade {
        let path = match self {
            Self::Rooms => Cow::Owned(format!("/room/{room}")),
            Self::Echo => Cow::Borrowed("/echo"),
        };
        Upgrade { path, subprotocol: None }
    }

    fn join(&self, _: &mut u32, _: &mut Vec<u8>) -> Membership {
        Membership::Complete
    }

    fn publish(&self, _: &mut u32, payload: &[u8], out: &mut Vec<u8>) {
        // As bytes: nobody has to look whether they are text.
        frame::write(out, Opcode::Binary, |out| out.extend_from_slice(payload));
    }

    fn message(
        &self,
        _: &mut u32,
        message: &[u8],
        _: &mut Vec<u8>,
        notice: &mut impl FnMut(Notice<'_>),
    ) -> Result<()> {
        notice(Notice::Delivered { payload: message, offset: None });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_names_the_room() {
        assert_eq!(Plain::Rooms.upgrade(&Plain::Rooms.peer(3, 7)).path, "/room/7");
        assert_eq!(Plain::Echo.upgrade(&Plain::Echo.peer(3, 7)).path, "/echo");
    }

    #[test]
    fn a_message_is_a_payload() {
        let (mut out, mut told) = (Vec::new(), Vec::new());
        let notice = &mut |notice: Notice<'_>| {
            let Notice::Delivered { payload, offset: None } = notice else { panic!("{notice:?}") };
            told.push(payload.to_vec());
        };
        Plain::Rooms.message(&mut 7, b"0123...", &mut out, notice).unwrap();
        assert_eq!(told, [b"0123..."]);
        assert!(out.is_empty());
    }
}
