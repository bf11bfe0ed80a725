//! One client's socket and what belongs to it alone. At rest it owns no buffer, no task and no timer.

use std::num::NonZero;

use bytes::Bytes;
use dormouse_protocol::ServerMessage;
use mio::net::TcpStream;
use smallvec::SmallVec;

use super::activity::Activity;
use super::wheel::Tick;
use crate::auth::Verbs;
use crate::log::ObjectId;
use crate::object::Address;
use crate::session::SessionId;
use crate::socket::accepted::ConnectionPermit;
use crate::socket::framing;
use crate::socket::wire_format::WireFormat;

/// A client's connection: all there is of it while it is at rest.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(in crate::socket) struct Connection {
    pub(in crate::socket) socket: TcpStream,
    /// Tells this connection from others that had the same key.
    pub(in crate::socket) generation: u32,
    pub(in crate::socket) session: SessionId,
    pub(in crate::socket) format: WireFormat,
    /// Its messages go back as they come.
    pub(in crate::socket) echoes: bool,
    /// The socket may have more to read.
    pub(in crate::socket) readable: bool,
    /// The peer has sent its last byte.
    pub(in crate::socket) hung_up: bool,
    /// The connection is in the list of those to write to.
    pub(in crate::socket) write_queued: bool,
    /// The connection is in the line of those to read from.
    pub(in crate::socket) in_line: bool,
    pub(in crate::socket) phase: Phase,
    /// When the peer was last heard.
    pub(in crate::socket) heard: Tick,
    /// Bytes sent since then, as far as they can be counted here.
    pub(in crate::socket) unanswered: u32,
    /// Until when the peer must be heard after a ping.
    pub(in crate::socket) pong_due: Option<NonZero<Tick>>,
    pub(in crate::socket) joins: SmallVec<[Membership; 1]>,
    pub(in crate::socket) activity: Activity,
    /// Counts against the server's bound on connections, and tells which of two came first.
    pub(in crate::socket) slot: ConnectionPermit,
}

/// There are many at rest, so that each byte counts.
#[cfg(all(target_pointer_width = "64", not(debug_assertions)))]
const _: () = assert!(size_of::<Connection>() <= 104);

/// How far a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::socket) enum Phase {
    Open,
    /// Our close frame is on its way; the peer must answer until then.
    Closing(Tick),
    /// The same after a broken frame: what the peer still sends can't be understood and is thrown away.
    DiscardingInput(Tick),
    /// Both sides have closed: the socket goes when the outbox is empty, at the latest at that tick.
    Closed(Tick),
}

/// Where a connection's membership stands.
#[derive(Debug, Clone, Copy)]
pub(in crate::socket) struct Membership {
    pub(in crate::socket) object: ObjectId,
    /// The key of the object's subscribers on this reactor.
    pub(in crate::socket) subscribers: u32,
    /// The index among the subscribers.
    pub(in crate::socket) member: u32,
    /// Tells this membership from an earlier one of the same object.
    pub(in crate::socket) serial: u32,
    /// What the connection may do with the object.
    pub(in crate::socket) verbs: Verbs,
}

impl Connection {
    /// The address of a request on this connection.
    pub(in crate::socket) fn address(&self, key: usize, request: u32) -> Address {
        Address { connection: key as u32, generation: self.generation, request }
    }

    /// Queues a message.
    pub(in crate::socket) fn queue(&mut self, message: &ServerMessage) {
        let payload = self.format.encoding.encode_server(message);
        self.queue_frame(framing::message(self.format, &payload));
    }

    /// Queues a frame for this connection alone. After a close frame nothing may follow: RFC 6455, section 5.5.1.
    pub(in crate::socket) fn queue_frame(&mut self, frame: Bytes) {
        if self.is_open() {
            self.activity.begin().outbox.push(frame);
        }
    }

    /// Queues a frame that carries the permit for its memory.
    pub(in crate::socket) fn queue_shared(&mut self, frame: Bytes) {
        if self.is_open() {
            self.activity.begin().outbox.push_shared(frame);
        }
    }

    /// Begins a request that reads the log or a roster.
    pub(in crate::socket) fn read_log(&mut self) {
        let work = self.activity.begin();
        work.reading_log = true;
        work.in_flight += 1;
    }

    /// Where the connection's membership of an object stands.
    pub(in crate::socket) fn joined(&self, object: ObjectId) -> Option<Membership> {
        self.joins.iter().find(|joined| joined.object == object).copied()
    }

    pub(in crate::socket) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }
}
