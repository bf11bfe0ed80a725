//! Dormouse: what its members say, and what the server's messages mean to them.

mod json;
mod msgpack;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::{Result, bail, ensure};
use dormouse_protocol::{
    ClientMessage, Encoding, Join, ObjectName, Payload, Position, PresenceGet, SUBPROTOCOL_JSON,
    SUBPROTOCOL_MSGPACK, Start, Watch,
};

use super::{Membership, Notice, Upgrade, Wire};
use crate::drive::frame::{self, Opcode};

/// The language.
#[derive(Debug, Clone)]
pub(crate) struct Dormouse {
    encoding: Encoding,
    delivery: Delivery,
    company: Company,
    /// What the names of rooms begin with, before their numbers.
    prefix: String,
    /// The token of access of all members.
    token: Option<String>,
}

/// How a publish travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// As an event: on disk before anybody has it.
    Durable,
    /// As a signal: not stored.
    Signals,
}

/// What members say and want to know of one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Company {
    /// Nothing.
    Unseen,
    /// Each says its number, and watches the whole roster.
    Watched,
    /// Each says its number with so many digits, the last ones, and watches nothing.
    Present {
        /// How many.
        bytes: u32,
    },
}

/// A member.
#[derive(Debug)]
pub(crate) struct Peer {
    member: u32,
    room: u32,
    /// The room's number on the present connection.
    object: u64,
    next_id: u32,
    /// What it has received so far, once it has joined. With it the next connection resumes.
    position: Option<Position>,
}

/// What a message of the server says, in the order in which it stands there, whatever the encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said<'a> {
    Joined {
        object: u64,
        epoch: u32,
        from: u64,
        resumed: bool,
    },
    Event {
        offset: u64,
        data: &'a [u8],
    },
    Signal {
        data: &'a [u8],
    },
    CaughtUp,
    /// What was said of the roster before is void.
    RosterBegins,
    /// In the roster is this member.
    Present {
        member: u32,
    },
    /// A page of the roster ended, after this entry, and there are more.
    RosterGoesOn {
        after: u64,
    },
    /// Somebody left the roster.
    Left,
    Error {
        code: &'a [u8],
        message: &'a [u8],
    },
    Reset,
}

impl Dormouse {
    /// With durable events, without presence, and in rooms that no other run uses.
    pub(crate) fn new(encoding: Encoding) -> Self {
        let prefix = format!("{:x}-", rand::random::<u64>());
        let (delivery, company) = (Delivery::Durable, Company::Unseen);
        Self { encoding, delivery, company, prefix, token: None }
    }

    /// In rooms whose names are their numbers.
    pub(crate) fn in_plain_rooms(self) -> Self {
        Self { prefix: String::new(), ..self }
    }

    /// With a token of access.
    pub(crate) fn with_token(self, token: Option<String>) -> Self {
        Self { token, ..self }
    }

    /// With another kind of publish.
    pub(crate) fn delivering(self, delivery: Delivery) -> Self {
        Self { delivery, ..self }
    }

    /// With presence.
    pub(crate) fn in_company(self, company: Company) -> Self {
        Self { company, ..self }
    }

    /// The name of a room.
    pub(crate) fn room(&self, room: u32) -> ObjectName {
        format!("room/{}{room}", self.prefix).parse().expect("numbers are a name")
    }

    fn send(&self, message: &ClientMessage, out: &mut Vec<u8>) {
        let bytes = self.encoding.encode_client(message);
        frame::write(out, self.opcode(), |out| out.extend_from_slice(&bytes));
    }

    fn opcode(&self) -> Opcode {
        match self.encoding {
            Encoding::Msgpack => Opcode::Binary,
            Encoding::Json => Opcode::Text,
        }
    }

    fn take(
        &self,
        peer: &mut Peer,
        said: Said<'_>,
        out: &mut Vec<u8>,
        notice: &mut impl FnMut(Notice<'_>),
    ) -> Result<()> {
        match said {
            Said::Event { offset, data } => {
                if let Some(position) = &mut peer.position {
                    position.offset = offset;
                }
                notice(Notice::Delivered { payload: data, offset: Some(offset) });
            }
            Said::Signal { data } => {
                notice(Notice::Delivered { payload: data, offset: None });
            }
            Said::Joined { object, epoch, from, resumed } => {
                ensure!(resumed || peer.position.is_none(), "the server resumed nothing");
                peer.object = object;
                peer.position = Some(Position { epoch, offset: from });
                notice(Notice::Joined { from: Some(from) });
            }
            Said::CaughtUp => notice(Notice::CaughtUp),
            Said::RosterBegins => notice(Notice::RosterBegins),
            Said::Present { member } => notice(Notice::Present(member)),
            Said::RosterGoesOn { after } => {
                let (id, object) = (peer.id(), peer.object);
                let after = Some(after);
                let page = PresenceGet { id, object, since: None, after, limit: None };
                self.send(&ClientMessage::PresenceGet(page), out);
            }
            Said::Left => bail!("a member left the roster"),
            Said::Reset => bail!("the server reset a member"),
            Said::Error { code, message } => {
                let [code, message] = [code, message].map(String::from_utf8_lossy);
                bail!("the server refused: {code}: {message}")
            }
        }
        Ok(())
    }
}

impl Peer {
    fn id(&mut self) -> u32 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }
}

impl Wire for Dormouse {
    type Peer = Peer;

    fn peer(&self, member: u32, room: u32) -> Peer {
        Peer { member, room, object: 0, next_id: 0, position: None }
    }

    fn upgrade(&self, _: &Peer) -> Upgrade {
        let encoding = match self.encoding {
            Encoding::Msgpack => SUBPROTOCOL_MSGPACK,
            Encoding::Json => SUBPROTOCOL_JSON,
        };
        let subprotocol = match &self.token {
            Some(token) => format!("{encoding}, dormouse.token.{token}").into(),
            None => encoding.into(),
        };
        Upgrade { path: Cow::Borrowed("/v1/connect"), subprotocol: Some(subprotocol) }
    }

    fn join(&self, peer: &mut Peer, out: &mut Vec<u8>) -> Membership {
        const PAYLOAD: &str = "numbers and their digits are payloads";
        let from = peer.position.map_or(Start::Now, Start::After);
        let mut join = Join::new(peer.id(), self.room(peer.room), from);
        match self.company {
            Company::Unseen => {}
            Company::Watched => {
                join.presence = Some(Payload::of(&peer.member).expect(PAYLOAD));
                join.watch = Watch::Roster;
            }
            Company::Present { bytes } => {
                let bytes = bytes as usize;
                let digits = format!("{:0>bytes$}", peer.member);
                let digits = &digits[digits.len() - bytes..];
                join.presence = Some(Payload::of(&BTreeMap::from([("n", digits)])).expect(PAYLOAD));
            }
        }
        self.send(&ClientMessage::Join(join), out);
        Membership::Awaited
    }

    fn publish(&self, peer: &mut Peer, payload: &[u8], out: &mut Vec<u8>) {
        let (id, object) = (peer.id(), peer.object);
        frame::write(out, self.opcode(), |out| match self.encoding {
            Encoding::Msgpack => msgpack::write(self.delivery, id, object, payload, out),
            Encoding::Json => {
                let data = str::from_utf8(payload).expect("a payload is text");
                match self.delivery {
                    Delivery::Durable => write!(
                        out,
                        r#"{{"publish":{{"id":{id},"object":{object},"data":"{data}"}}}}"#
                    ),
                    Delivery::Signals => {
                        write!(out, r#"{{"signal":{{"object":{object},"data":"{data}"}}}}"#)
                    }
                }
                .expect("writing to memory does not fail");
            }
        });
    }

    fn message(
        &self,
        peer: &mut Peer,
        message: &[u8],
        out: &mut Vec<u8>,
        notice: &mut impl FnMut(Notice<'_>),
    ) -> Result<()> {
        let take = &mut |said: Said<'_>| self.take(peer, said, out, notice);
        match self.encoding {
            Encoding::Msgpack => msgpack::read(message, take),
            Encoding::Json => json::read(message, take),
        }
    }
}

#[cfg(test)]
mod tests;
