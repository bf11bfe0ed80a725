//! How systems are spoken to: what bytes join a room and publish to it, and what is in the bytes that come back.
//!
//! Pure: no socket, no clock. Every system here delivers what a member publishes to that member, too.

pub(crate) mod dormouse;
pub(crate) mod nats;
pub(crate) mod plain;
pub(crate) mod socket_io;

use std::borrow::Cow;

use anyhow::Result;

/// The language of one system.
pub(crate) trait Wire {
    /// What is to be known of one member, over its connections.
    type Peer;

    /// A member that will join a room. Both are numbers from 0; a member is a member of one room.
    fn peer(&self, member: u32, room: u32) -> Self::Peer;

    /// What a connection of that member asks for in its handshake.
    fn upgrade(&self, peer: &Self::Peer) -> Upgrade;

    /// What it sends once it is connected, as frames.
    fn join(&self, peer: &mut Self::Peer, out: &mut Vec<u8>) -> Membership;

    /// A publish with that payload, which is text of letters, digits and dots, as frames.
    fn publish(&self, peer: &mut Self::Peer, payload: &[u8], out: &mut Vec<u8>);

    /// Takes one WebSocket message, tells what it holds, in order, and adds the frames that answer it. An error is a
    /// refusal, or a message that is none.
    fn message(
        &self,
        peer: &mut Self::Peer,
        message: &[u8],
        out: &mut Vec<u8>,
        notice: &mut impl FnMut(Notice<'_>),
    ) -> Result<()>;
}

/// What a handshake asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upgrade {
    /// The path, and what follows it.
    pub(crate) path: Cow<'static, str>,
    /// The subprotocols, if any have to be named.
    pub(crate) subprotocol: Option<Cow<'static, str>>,
}

/// Whether a connection is a member's as soon as it has said what it has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Membership {
    /// It is: what is published from now on arrives.
    Complete,
    /// [`Notice::Joined`] will tell.
    Awaited,
}

/// What a message holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Notice<'a> {
    /// The connection is a member's from here on. Where deliveries have offsets, they go on after this one.
    Joined {
        /// The offset.
        from: Option<u64>,
    },
    /// A publish of some member.
    Delivered {
        /// What was published.
        payload: &'a [u8],
        /// Its place in the room's log, where the system has one and this is from it.
        offset: Option<u64>,
    },
    /// Everything that was missed has been delivered; what follows is live.
    CaughtUp,
    /// The roster is told anew: what was told of it before is void.
    RosterBegins,
    /// The member with this number is here.
    Present(u32),
}
