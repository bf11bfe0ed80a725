//! The connections of one reactor: their sockets, their deadlines, and the queues in which they wait to be read from and written to.
//!
//! Owns everything that is about a socket. Knows a membership only as a mark that its connection carries; what has to happen to
//! memberships when a connection ends is returned to the reactor ([`Connections::take_closes`]).

mod access;
pub(in crate::socket) mod activity;
pub(in crate::socket) mod admit;
pub(in crate::socket) mod connection;
pub(in crate::socket) mod outbox;
pub(in crate::socket) mod peer;
mod rate;
mod stream;
pub(in crate::socket) mod wheel;
pub(in crate::socket) mod write_queue;

use std::collections::{HashMap, VecDeque};
use std::ops::{Index, IndexMut};
use std::time::Duration;

use dormouse_protocol::{CloseCode, Done, ErrorCode, ErrorReply, ServerMessage};
use mio::net::TcpStream;
use mio::{Interest, Poll, Token};
use slab::Slab;
use smallvec::SmallVec;
use tokio::time::Instant;
use tracing::error;

use self::access::Granted;
use self::activity::Activity;
use self::connection::{Connection, Phase};
use self::stream::Tls;
use self::wheel::{Tick, Wheel};
use self::write_queue::WriteQueue;
use super::Common;
use super::accepted::ConnectionPermit;
use super::frame::Opcode;
use super::framing;
use super::wire_format::WireFormat;
use crate::auth::Admitted;
use crate::limits::Held;
use crate::object::Address;
use crate::object::presence::Holder;
use crate::rates;
use crate::session::SessionId;
use crate::tls;

/// Work of one connection before others are served.
pub(in crate::socket) const TURN_WORK: u64 = 4_096;
/// Work of all queued connections together in one iteration.
pub(in crate::socket) const LINE_WORK: u64 = 4 * TURN_WORK;
/// How often a stopping server looks whether a peer has its close frame.
pub(in crate::socket) const CLOSE_CHECK: Duration = Duration::from_millis(50);
/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;
/// Bytes that are read at once while memory is short.
const SHORT_READ: usize = 1 << 10;

/// The time until the reactor checks again whether there is memory: whatever releases memory sends no notification.
const RETRY_MEMORY: Duration = Duration::from_millis(10);

/// All connections of a reactor, by their keys.
pub(in crate::socket) struct Connections {
    pub(in crate::socket) common: Common,
    slab: Slab<Connection>,
    /// The access of the connections that may not do everything. It is apart from the slab, so that a server without tokens needs no memory
    /// for it.
    access: HashMap<u32, Granted>,
    /// The keys of the rate limits of each connection that is not exempt.
    limited: HashMap<u32, rates::Client>,
    /// The TLS of each connection that has it.
    tls: HashMap<u32, Tls>,
    pub(in crate::socket) wheel: Wheel<Address>,
    /// Connections with queued bytes.
    pub(in crate::socket) write_queue: WriteQueue,
    /// Connections that may have more to read.
    pub(in crate::socket) ready: VecDeque<Address>,
    /// Connections that wait for memory.
    pub(in crate::socket) starved: VecDeque<Address>,
    /// Connections to be closed.
    closes: Vec<(Address, CloseCode)>,
    pub(in crate::socket) poll: Poll,
    /// The read buffer; it is taken out during a read.
    pub(in crate::socket) buffer: Vec<u8>,
    /// Work done so far, in the unit of [`super::read`].
    pub(in crate::socket) work: u64,
    generation: u32,
    pub(in crate::socket) draining: Option<CloseCode>,
}

impl Index<usize> for Connections {
    type Output = Connection;

    fn index(&self, key: usize) -> &Connection {
        &self.slab[key]
    }
}

impl IndexMut<usize> for Connections {
    fn index_mut(&mut self, key: usize) -> &mut Connection {
        &mut self.slab[key]
    }
}

impl Connections {
    pub(in crate::socket) fn new(poll: Poll, common: Common) -> Self {
        Self {
            common,
            slab: Slab::new(),
            access: HashMap::new(),
            limited: HashMap::new(),
            tls: HashMap::new(),
            wheel: Wheel::new(Instant::now()),
            write_queue: WriteQueue::default(),
            ready: VecDeque::new(),
            starved: VecDeque::new(),
            closes: Vec::new(),
            poll,
            buffer: vec![0; READ_BYTES],
            work: 0,
            generation: 0,
            draining: None,
        }
    }

    pub(in crate::socket) fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    pub(in crate::socket) fn get_mut(&mut self, key: usize) -> Option<&mut Connection> {
        self.slab.get_mut(key)
    }

    /// A connection, and the queue in which it waits to be written to.
    pub(in crate::socket) fn with_write_queue(
        &mut self,
        key: u32,
    ) -> (&mut Connection, &mut WriteQueue) {
        (&mut self.slab[key as usize], &mut self.write_queue)
    }

    pub(in crate::socket) fn iter(&self) -> impl Iterator<Item = (usize, &Connection)> {
        self.slab.iter()
    }

    /// Adds a connection. Without an [`Admitted`] its client may do everything, and without a [`rates::Client`] it has no rate limits.
    /// `None` if the poller refuses the socket, which is then closed.
    pub(in crate::socket) fn insert(
        &mut self,
        socket: (std::net::TcpStream, Option<Box<tls::Session>>),
        format: WireFormat,
        echoes: bool,
        session: SessionId,
        client: (Option<Admitted>, Option<rates::Client>),
        slot: ConnectionPermit,
    ) -> Option<usize> {
        let (admitted, limited) = client;
        let (socket, tls) = socket;
        let mut socket = TcpStream::from_std(socket);
        self.generation = self.generation.wrapping_add(1);
        let entry = self.slab.vacant_entry();
        let key = entry.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut socket, Token(key), interest) {
            error!(%error, "a connection can't be watched and is dropped");
            return None;
        }
        entry.insert(Connection {
            socket,
            generation: self.generation,
            format,
            echoes,
            session,
            joins: SmallVec::new(),
            activity: Activity::default(),
            heard: self.wheel.now(),
            unanswered: 0,
            pong_due: None,
            phase: Phase::Open,
            readable: true,
            hung_up: false,
            write_queued: false,
            in_line: false,
            slot,
        });
        self.common.metrics.connections.inc();
        if let Some(session) = tls {
            self.set_tls(key, session);
        }
        if let Some(limited) = limited {
            self.limited.insert(key as u32, limited);
        }
        if let Some(admitted) = admitted {
            self.set_access(key, admitted);
        }
        self.look_again(key, self.wheel.after(self.silence(self.generation)));
        Some(key)
    }

    /// Ends a connection that has no membership.
    pub(in crate::socket) fn remove(&mut self, key: usize) {
        // The kernel may still hold the last frames: a plain close sends them, and then a FIN.
        self.end_output(key);
        let mut connection = self.slab.remove(key);
        self.tls.remove(&(key as u32));
        self.access.remove(&(key as u32));
        self.limited.remove(&(key as u32));
        debug_assert!(connection.joins.is_empty(), "it has left");
        let _ = self.poll.registry().deregister(&mut connection.socket);
        self.common.metrics.connections.dec();
    }

    /// How soon something of them is due; `None` while they all wait for their peers.
    pub(in crate::socket) fn timeout(&self, now: Instant) -> Option<Duration> {
        if !self.write_queue.is_empty() || !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let starved = (!self.starved.is_empty()).then_some(RETRY_MEMORY);
        [self.wheel.timeout(now), starved].into_iter().flatten().min()
    }

    /// Asks the reactor to close a connection with `code`, at the end of its iteration.
    pub(in crate::socket) fn ask_close(&mut self, key: usize, code: CloseCode) {
        self.closes.push((self.slab[key].address(key, 0), code));
    }

    /// The connections that are to be closed.
    pub(in crate::socket) fn take_closes(&mut self) -> Vec<(Address, CloseCode)> {
        std::mem::take(&mut self.closes)
    }

    /// The key of a connection, if the address is still that of this connection.
    pub(in crate::socket) fn find(&self, address: Address) -> Option<usize> {
        let key = address.connection as usize;
        let connection = self.slab.get(key)?;
        (connection.generation == address.generation).then_some(key)
    }

    /// Puts the connection in the line of those to read from, once.
    pub(in crate::socket) fn go_on(&mut self, key: usize) {
        let connection = &mut self.slab[key];
        if !std::mem::replace(&mut connection.in_line, true) {
            self.ready.push_back(connection.address(key, 0));
        }
    }

    /// Requests of this connection wait: for room in an object, for a read of the log, for memory, or for its own socket. Once it is
    /// closing there are none, and the peer's close frame must be seen.
    pub(in crate::socket) fn is_paused(&self, key: usize) -> bool {
        let connection = &self.slab[key];
        connection.is_open()
            && (connection.activity.reading_log
                || connection.activity.stalled.is_some()
                || connection.activity.starved
                || connection.activity.in_flight_bytes > self.common.settings.in_flight_bytes
                || connection.activity.outbox.bytes() > self.common.settings.outbound_bytes
                || self.draining.is_some())
    }

    /// How many bytes may be read at once: all that is read may have to be kept, and a message that has begun may need as much again
    /// as it has. Where there is no memory for that, a few bytes still may, which the connection's own permit covers: short requests
    /// find their way though others hold all memory.
    pub(in crate::socket) fn readable_bytes(&mut self, key: usize) -> usize {
        let (most, budget) = (self.buffer.len(), &self.common.budget);
        let connection = &mut self.slab[key];
        let has_room = match connection.activity.go_on() {
            Some(work) => work.decoder.try_reserve(most, budget),
            None => budget.has_room(most),
        };
        if has_room || !connection.is_open() {
            return most;
        }
        let held = self.slab[key].activity.decoder.held_bytes() + self.record_bytes(key);
        if held + SHORT_READ <= Held::FREE { SHORT_READ } else { 0 }
    }

    /// Puts the connection into the queue for memory, once. The reactor does not read from it until it leaves the queue.
    pub(in crate::socket) fn starve(&mut self, key: usize) {
        let connection = &mut self.slab[key];
        if !std::mem::replace(&mut connection.activity.begin().starved, true) {
            self.starved.push_back(connection.address(key, 0));
            self.common.metrics.starved.inc();
        }
    }

    /// Queues the socket for the writes at the end of the iteration.
    pub(in crate::socket) fn queue_write(&mut self, key: usize) {
        self.write_queue.add(key as u32, &mut self.slab[key]);
    }

    pub(in crate::socket) fn note_sent(&mut self, key: usize, bytes: usize) {
        self.common.metrics.bytes_out.inc_by(bytes as u64);
        let connection = &mut self.slab[key];
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        connection.unanswered = connection.unanswered.saturating_add(bytes);
    }

    /// Discards everything that the peer still sends: after a protocol error it cannot be decoded.
    pub(in crate::socket) fn discard_input(&mut self, key: usize) {
        self.end_by(key, Phase::DiscardingInput);
    }

    /// The peer sends no more. The socket is closed when the outbox is empty (RFC 6455, section 7.1.1: the server closes first).
    pub(in crate::socket) fn peer_closed(&mut self, key: usize) {
        self.end_by(key, Phase::Closed);
    }

    /// Enters a phase of closing, which lasts for `close_timeout` at most.
    pub(in crate::socket) fn end_by(&mut self, key: usize, phase: fn(Tick) -> Phase) {
        let due = self.wheel.after(self.common.settings.close_timeout);
        let connection = &mut self.slab[key];
        connection.phase = phase(due);
        self.wheel.insert(due, connection.address(key, 0));
        if self.draining.is_some() {
            let address = self.slab[key].address(key, 0);
            self.wheel.insert(self.wheel.after(CLOSE_CHECK), address);
        }
        self.queue_write(key);
    }

    /// The connection as rosters know it.
    pub(in crate::socket) fn holder(&self, key: usize) -> Holder {
        Holder(self.slab[key].slot.number())
    }

    /// How long a connection may be silent before it is pinged: up to a thirty-second less than the interval, so
    /// that not all of those that came together are pinged together.
    pub(in crate::socket) fn silence(&self, generation: u32) -> Duration {
        let spread = generation.wrapping_mul(0x9E37_79B9) >> 27;
        self.common.settings.ping_interval * (1024 - spread) / 1024
    }

    /// Sends a message back as it came.
    pub(in crate::socket) fn echo(&mut self, key: usize, opcode: Opcode, payload: &[u8]) {
        let connection = &mut self.slab[key];
        connection.queue_frame(framing::data(opcode, connection.format.deflated, payload));
        self.queue_write(key);
    }

    /// The request that read the log or a roster has its reply.
    pub(in crate::socket) fn finish_reading(&mut self, key: usize) {
        self.slab[key].activity.begin().reading_log = false;
        self.finish_request(key);
        self.go_on(key);
    }

    /// A request has its reply.
    pub(in crate::socket) fn finish_request(&mut self, key: usize) {
        let work = self.slab[key].activity.begin();
        work.in_flight -= 1;
        if let Some(code) = self.draining
            && work.in_flight == 0
        {
            self.ask_close(key, code);
        }
    }

    /// Replies to a request that has no result.
    pub(in crate::socket) fn done(&mut self, key: usize, id: u32) {
        self.slab[key].queue(&ServerMessage::Done(Done { id }));
        self.queue_write(key);
    }

    /// Refuses a request.
    pub(in crate::socket) fn refuse(
        &mut self,
        key: usize,
        id: Option<u32>,
        code: ErrorCode,
        why: &str,
    ) {
        self.common.metrics.count_error(code);
        let message = ServerMessage::Error(ErrorReply {
            id,
            code,
            message: why.into(),
            retry_after_ms: None,
        });
        self.slab[key].queue(&message);
        self.queue_write(key);
    }

    /// The socket takes more: what it still has to know of signals goes first.
    pub(in crate::socket) fn release_signals(&mut self, key: usize) {
        let Some(work) = self.slab[key].activity.go_on() else { return };
        for kept in std::mem::take(&mut work.signals) {
            work.outbox.push_shared(kept.frame);
            self.common.metrics.delivered_signals.inc();
        }
    }
}
