//! One client's socket and what belongs to it alone. At rest it owns no buffer, no task and no timer.

use bytes::Bytes;
use dormouse_protocol::{Encoding, Key, ServerMessage};
use mio::net::TcpStream;

use super::accepted::Slot;
use super::decoder::Decoder;
use super::frame;
use super::outbox::Outbox;
use super::wheel::Tick;
use crate::log::ObjectId;
use crate::object::{Address, Message};
use crate::session::SessionId;

/// A client's connection.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own about the socket or the requests"
)]
pub(super) struct Connection {
    pub(super) socket: TcpStream,
    /// Tells this connection from others that had the same key.
    pub(super) generation: u32,
    pub(super) encoding: Encoding,
    pub(super) session: SessionId,
    pub(super) decoder: Decoder,
    /// Bytes that were read and not looked at, because the connection is paused.
    pub(super) unread: Unread,
    pub(super) outbox: Outbox,
    pub(super) joins: Vec<Joined>,
    /// How many memberships there have been.
    pub(super) joins_ever: u32,
    /// Requests that wait for their reply.
    pub(super) in_flight: u32,
    /// Bytes that those hold.
    pub(super) in_flight_bytes: usize,
    /// One of those reads the log (a join, a page of history): what the client sends behind it waits in its socket.
    pub(super) busy: bool,
    /// A publish that its object had no room for.
    pub(super) stalled: Option<Box<Stalled>>,
    /// Signals kept while the socket takes nothing, the newest for each sender and key.
    pub(super) signals: Vec<KeptSignal>,
    /// A page of catch-up is being read for this connection.
    pub(super) reading_page: bool,
    /// When the peer was last heard.
    pub(super) heard: Tick,
    /// Bytes sent since then.
    pub(super) unanswered: usize,
    /// When the socket last took something, or was first full.
    pub(super) progress: Tick,
    /// Until when the peer must be heard after a ping.
    pub(super) pong_due: Option<Tick>,
    pub(super) phase: Phase,
    /// The socket may have more to read.
    pub(super) readable: bool,
    /// The peer has sent its last byte.
    pub(super) hung_up: bool,
    /// The connection is in the list of those to write to.
    pub(super) dirty: bool,
    /// The socket took less than it was given; it will tell when it takes more.
    pub(super) blocked: bool,
    /// Counts against the server's bound on connections.
    pub(super) _slot: Slot,
}

/// Bytes that were read and have to wait.
#[derive(Default)]
pub(super) struct Unread {
    bytes: Vec<u8>,
    /// How many of them are done with.
    done: usize,
}

impl Unread {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), done: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes[self.done..]
    }

    /// Only so many at the end still have to wait.
    pub(super) fn keep(&mut self, left: usize) {
        self.done = self.bytes.len() - left;
        if left == 0 {
            *self = Self::default();
        }
    }
}

/// How far a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// Our close frame is on its way; the peer must answer until then.
    Closing(Tick),
    /// The same after a broken frame: what the peer still sends can't be understood and is thrown away.
    Deaf(Tick),
    /// Both sides have closed: the socket goes when the outbox is empty, at the latest at that tick.
    Closed(Tick),
}

/// Where a connection's membership stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Joined {
    pub(super) object: ObjectId,
    /// The key of the object's audience on this reactor.
    pub(super) audience: u32,
    /// The place among the audience's members.
    pub(super) member: u32,
    /// Tells this membership from an earlier one of the same object.
    pub(super) serial: u32,
}

/// A publish that waits for room in an object's mailbox.
pub(super) struct Stalled {
    pub(super) message: Message,
    pub(super) object: ObjectId,
    /// When waiting ends with a refusal.
    pub(super) until: Tick,
}

/// A signal that waits for the socket.
pub(super) struct KeptSignal {
    pub(super) object: ObjectId,
    pub(super) sender: SessionId,
    pub(super) key: Key,
    pub(super) frame: Bytes,
}

impl Connection {
    /// The address of a request on this connection.
    pub(super) fn address(&self, key: usize, request: u32) -> Address {
        Address { connection: key as u32, generation: self.generation, request }
    }

    /// Queues a message.
    pub(super) fn queue(&mut self, message: &ServerMessage) {
        let payload = self.encoding.encode_server(message);
        self.queue_frame(frame::message(self.encoding, &payload));
    }

    /// Queues a frame. After a close frame nothing may follow: RFC 6455, section 5.5.1.
    pub(super) fn queue_frame(&mut self, frame: Bytes) {
        if self.is_open() {
            self.outbox.push(frame);
        }
    }

    /// Where the connection's membership of an object stands.
    pub(super) fn joined(&self, object: ObjectId) -> Option<Joined> {
        self.joins.iter().find(|joined| joined.object == object).copied()
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }
}
