//! The loop of a thread that owns sockets.
//!
//! A turn: what is ready is read and carried out, letters are taken, deadlines looked at, and at its end every socket that
//! got something is written to once. Each step is bounded, so that no fan-out starves reads or timers.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read};
use std::net::Shutdown;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dormouse_protocol::{CloseCode, Encoding, ServerMessage, Welcome};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use tracing::{debug, error};

use super::audience::Audience;
use super::connection::{Connection, Phase};
use super::decoder::{Decoder, Incoming};
use super::frame::{self, Opcode, Violation};
use super::inbox::{Inbox, Letter, WAKER};
use super::metrics::Metrics;
use super::wheel::{self, Wheel};
use super::{Accepted, Settings};
use crate::log::{Log, ObjectId};
use crate::object::{Address, Registry};

/// Bytes that one read takes.
const READ_BYTES: usize = 64 * 1024;
/// Letters taken in one turn.
const LETTERS: usize = 1_024;
/// Sockets written to before the loop looks at what else there is.
const WRITES: usize = 256;
/// How long a publish waits for room in its object's mailbox.
pub(super) const STALL: Duration = Duration::from_secs(5);
/// How soon the loop comes back where something waits that tells nobody when it is ready.
const RETRY: Duration = Duration::from_millis(1);

/// What a reactor works with.
pub(super) struct Parts {
    pub(super) index: usize,
    pub(super) poll: Poll,
    pub(super) inbox: Arc<Inbox>,
    pub(super) letters: mpsc::Receiver<Letter>,
    pub(super) peers: Arc<[Arc<Inbox>]>,
    pub(super) registry: Registry,
    pub(super) log: Log,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) settings: Settings,
    pub(super) metrics: Metrics,
}

/// A thread's sockets and what they have joined.
pub(super) struct Reactor {
    pub(super) index: usize,
    pub(super) inbox: Arc<Inbox>,
    pub(super) peers: Arc<[Arc<Inbox>]>,
    pub(super) registry: Registry,
    pub(super) log: Log,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) settings: Settings,
    pub(super) metrics: Metrics,
    pub(super) connections: Slab<Connection>,
    pub(super) audiences: Slab<Audience>,
    pub(super) audience_of: HashMap<ObjectId, u32>,
    pub(super) wheel: Wheel<Address>,
    /// Connections to write to.
    pub(super) dirty: VecDeque<u32>,
    /// Connections with members that have fallen behind in this turn.
    pub(super) behind: Vec<u32>,
    /// Connections with a publish that waits for room.
    pub(super) stalled: Vec<Address>,
    /// Connections to go on reading from.
    ready: VecDeque<Address>,
    poll: Poll,
    letters: mpsc::Receiver<Letter>,
    /// Where sockets are read into; taken out while it is in use.
    buffer: Vec<u8>,
    generation: u32,
    draining: Option<CloseCode>,
    stopped: bool,
}

impl Reactor {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            index: parts.index,
            inbox: parts.inbox,
            peers: parts.peers,
            registry: parts.registry,
            log: parts.log,
            runtime: parts.runtime,
            settings: parts.settings,
            metrics: parts.metrics,
            connections: Slab::new(),
            audiences: Slab::new(),
            audience_of: HashMap::new(),
            wheel: Wheel::new(Instant::now()),
            dirty: VecDeque::new(),
            behind: Vec::new(),
            stalled: Vec::new(),
            ready: VecDeque::new(),
            poll: parts.poll,
            letters: parts.letters,
            buffer: vec![0; READ_BYTES],
            generation: 0,
            draining: None,
            stopped: false,
        }
    }

    /// Runs until it is drained or stopped.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1_024);
        let mut due = Vec::new();
        while !self.stopped && !(self.draining.is_some() && self.connections.is_empty()) {
            match self.poll.poll(&mut events, self.timeout()) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                self.socket_ready(event);
            }
            self.go_on_reading();
            self.take_letters();
            self.wheel.advance(Instant::now(), &mut due);
            for address in due.drain(..) {
                self.deadline(address);
            }
            self.retry_all_stalled();
            for key in std::mem::take(&mut self.behind) {
                self.catch_up(key as usize);
            }
            self.write_dirty();
        }
        Ok(())
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.dirty.is_empty() || !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let wheel = self.wheel.timeout(Instant::now());
        if self.stalled.is_empty() { wheel } else { Some(wheel.map_or(RETRY, |t| t.min(RETRY))) }
    }

    fn take_letters(&mut self) {
        self.inbox.listen();
        for _ in 0..LETTERS {
            match self.letters.try_recv() {
                Ok(letter) => self.letter(letter),
                Err(_) => return,
            }
        }
        // There may be more, and nobody is going to say so again.
        self.inbox.wake();
    }

    fn letter(&mut self, letter: Letter) {
        match letter {
            Letter::Accepted(accepted) => self.accept(*accepted),
            Letter::Delivery(delivery) => self.delivery(delivery),
            Letter::Lagging => self.lagging(),
            Letter::Signal(signal) => {
                self.inbox.taken_signal(&signal);
                self.fan_out_signal(&signal);
            }
            Letter::Opened(join) => self.join_opened(*join),
            Letter::Page(page) => self.page_read(*page),
            Letter::Reply(address, reply) => self.reply(address, reply),
            Letter::Drain(code) => self.drain(code),
            Letter::Stop => self.stopped = true,
        }
    }

    /// The key of a connection, if it is still the one that is meant.
    pub(super) fn find(&self, address: Address) -> Option<usize> {
        let key = address.connection as usize;
        let connection = self.connections.get(key)?;
        (connection.generation == address.generation).then_some(key)
    }

    fn accept(&mut self, accepted: Accepted) {
        let Accepted { stream, read, encoding, session, slot } = accepted;
        let mut socket = TcpStream::from_std(stream);
        self.generation = self.generation.wrapping_add(1);
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut socket, Token(key), interest) {
            error!(%error, "a connection can't be watched and is dropped");
            return;
        }
        let session_id: Arc<str> = session.as_ref().map_or("", |session| &session.id).into();
        entry.insert(Connection {
            socket,
            generation: self.generation,
            encoding,
            session: session_id,
            decoder: Decoder::default(),
            unread: Vec::new(),
            outbox: super::outbox::Outbox::default(),
            joins: Vec::new(),
            joins_ever: 0,
            in_flight: 0,
            busy: false,
            stalled: None,
            signals: Vec::new(),
            reading_page: false,
            heard: self.wheel.now(),
            pong_due: None,
            phase: Phase::Open,
            readable: true,
            hung_up: false,
            dirty: false,
            blocked: false,
            _slot: slot,
        });
        self.metrics.connections.inc();
        let address = self.connections[key].address(key, 0);
        self.wheel.insert(self.wheel.after(self.silence(self.generation)), address);
        match session {
            Ok(session) => self.connections[key].queue(&ServerMessage::Welcome(Welcome {
                session: session.id,
                token: session.token,
                server: concat!("dormouse/", env!("CARGO_PKG_VERSION")).into(),
                ping_interval_ms: self.settings.ping_interval.as_millis() as u64,
                limits: self.settings.limits,
            })),
            Err(_) => self.close(key, CloseCode::BadToken),
        }
        if let Some(code) = self.draining {
            self.close(key, code);
        }
        self.mark_dirty(key);
        self.connections[key].unread = read.into();
        self.go_on(key);
    }

    /// How long a connection may be silent before it is pinged: up to an eighth less than the interval, so that
    /// connections that came together are not pinged together.
    fn silence(&self, generation: u32) -> Duration {
        let spread = generation.wrapping_mul(0x9E37_79B9) >> 25;
        self.settings.ping_interval * (1024 - spread) / 1024
    }

    fn socket_ready(&mut self, event: &Event) {
        let Token(key) = event.token();
        if event.token() == WAKER || !self.connections.contains(key) {
            return;
        }
        if event.is_writable() {
            self.connections[key].blocked = false;
            self.mark_dirty(key);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            let connection = &mut self.connections[key];
            connection.readable = true;
            connection.hung_up |= event.is_read_closed() || event.is_error();
            self.read(key);
        }
    }

    /// Puts the connection in the line of those to read from.
    pub(super) fn go_on(&mut self, key: usize) {
        self.ready.push_back(self.connections[key].address(key, 0));
    }

    fn go_on_reading(&mut self) {
        for _ in 0..self.ready.len() {
            let Some(address) = self.ready.pop_front() else { return };
            if let Some(key) = self.find(address) {
                self.read(key);
            }
        }
    }

    /// Requests of this connection wait: for room in an object, for a read of the log, or for its own socket.
    fn is_paused(&self, connection: &Connection) -> bool {
        connection.busy
            || connection.stalled.is_some()
            || connection.outbox.bytes() > self.settings.outbound_bytes
            || self.draining.is_some() && connection.is_open()
    }

    /// Reads once and carries out what has arrived.
    fn read(&mut self, key: usize) {
        let connection = &self.connections[key];
        if self.is_paused(connection) {
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let connection = &mut self.connections[key];
        let was_unread = !connection.unread.is_empty();
        let read = if connection.unread.is_empty() {
            if !connection.readable {
                self.buffer = buffer;
                return;
            }
            connection.socket.read(&mut buffer)
        } else {
            let count = connection.unread.len().min(buffer.len());
            let later = connection.unread.split_off(count);
            buffer[..count].copy_from_slice(&connection.unread);
            connection.unread = later;
            Ok(count)
        };
        let address = connection.address(key, 0);
        match read {
            Ok(0) => self.lost(key),
            Ok(count) => {
                // A short read has emptied the socket: the poller tells when there is more, but not of an end that
                // it has told of already.
                connection.readable = count == buffer.len() || connection.hung_up || was_unread;
                connection.heard = self.wheel.now();
                connection.pong_due = None;
                self.metrics.bytes_in.inc_by(count as u64);
                self.feed(key, &mut buffer[..count]);
                // The socket may hold more: others go first.
                if let Some(key) = self.find(address) {
                    self.go_on(key);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.readable = false;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.go_on(key),
            Err(error) => {
                debug!(%error, "a connection is lost");
                self.lost(key);
            }
        }
        self.buffer = buffer;
    }

    fn feed(&mut self, key: usize, bytes: &mut [u8]) {
        let limit = self.settings.limits.message_bytes as usize;
        let address = self.connections[key].address(key, 0);
        let mut decoder = std::mem::take(&mut self.connections[key].decoder);
        let mut rest = bytes;
        loop {
            if matches!(self.connections[key].phase, Phase::Deaf(_)) {
                break;
            }
            if self.is_paused(&self.connections[key]) {
                // Before what was read earlier and is still waiting.
                self.connections[key].unread.splice(..0, rest.iter().copied());
                break;
            }
            match decoder.next(&mut rest, limit) {
                Ok(Some(incoming)) => self.incoming(key, incoming),
                Ok(None) => break,
                Err(Violation(code)) => {
                    self.close(key, code);
                    let due = self.wheel.after(self.settings.close_timeout);
                    self.connections[key].phase = Phase::Deaf(due);
                    break;
                }
            }
            if self.find(address).is_none() {
                return;
            }
        }
        if let Some(key) = self.find(address) {
            self.connections[key].decoder = decoder;
        }
    }

    fn incoming(&mut self, key: usize, incoming: Incoming<'_>) {
        let connection = &mut self.connections[key];
        match (incoming, connection.encoding) {
            (Incoming::Close(code), _) => {
                debug!(?code, "the client closes");
                if connection.is_open() {
                    self.close(key, CloseCode::Normal);
                }
                self.peer_closed(key);
            }
            // After our close frame nothing but the peer's matters: RFC 6455, section 1.4.
            _ if !connection.is_open() => {}
            (Incoming::Pong, _) => {}
            (Incoming::Ping(payload), _) => {
                let pong = frame::control(Opcode::Pong, payload);
                connection.outbox.push(pong);
                self.mark_dirty(key);
            }
            (Incoming::Text(text), Encoding::Json) => self.request(key, text.as_bytes()),
            (Incoming::Binary(bytes), Encoding::Msgpack) => self.request(key, bytes),
            (Incoming::Text(_) | Incoming::Binary(_), _) => {
                self.close(key, CloseCode::UnsupportedData);
            }
        }
    }

    fn reply(&mut self, address: Address, reply: Bytes) {
        let Some(key) = self.find(address) else { return };
        self.connections[key].outbox.push(reply);
        self.mark_dirty(key);
        self.finish_reading(key);
    }

    /// The request that read the log has its reply.
    pub(super) fn finish_reading(&mut self, key: usize) {
        self.connections[key].busy = false;
        self.finish_request(key);
        self.go_on(key);
    }

    /// A request has its reply.
    pub(super) fn finish_request(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        connection.in_flight -= 1;
        if let Some(code) = self.draining
            && connection.in_flight == 0
        {
            self.close(key, code);
        }
    }

    fn retry_all_stalled(&mut self) {
        for address in std::mem::take(&mut self.stalled) {
            let Some(key) = self.find(address) else { continue };
            if self.retry_stalled(key) {
                self.go_on(key);
            } else {
                self.stalled.push(address);
            }
        }
    }

    /// The socket is to be written to at the end of the turn.
    pub(super) fn mark_dirty(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push_back(key as u32);
        }
    }

    fn write_dirty(&mut self) {
        for _ in 0..WRITES {
            let Some(key) = self.dirty.pop_front() else { return };
            let key = key as usize;
            // A connection that went may have left its key to one that is not dirty.
            let Some(connection) = self.connections.get_mut(key) else { continue };
            if std::mem::take(&mut connection.dirty) && !connection.blocked {
                self.write(key);
            }
        }
    }

    fn write(&mut self, key: usize) {
        if !self.connections[key].signals.is_empty() {
            self.release_signals(key);
        }
        let was_paused = self.is_paused(&self.connections[key]);
        let connection = &mut self.connections[key];
        let before = connection.outbox.bytes();
        let written = connection.outbox.write_to(&mut connection.socket);
        self.metrics.bytes_out.inc_by((before - connection.outbox.bytes()) as u64);
        match written {
            Ok(is_empty) => {
                connection.blocked = !is_empty;
                match connection.phase {
                    Phase::Closed(_) if is_empty => return self.lost(key),
                    // The peer learns at once that nothing more comes. To close before it stops sending would
                    // reset the connection, and our close frame could be lost on the way.
                    Phase::Deaf(_) if is_empty => {
                        let _ = connection.socket.shutdown(Shutdown::Write);
                    }
                    _ => {}
                }
                if was_paused && !self.is_paused(&self.connections[key]) {
                    self.go_on(key);
                }
                self.catch_up(key);
            }
            Err(error) => {
                debug!(%error, "a connection is lost");
                self.lost(key);
            }
        }
    }

    /// Begins the closing handshake, unless it has begun: what was queued before still goes out.
    pub(super) fn close(&mut self, key: usize, code: CloseCode) {
        let connection = &mut self.connections[key];
        if !connection.is_open() {
            return;
        }
        connection.outbox.push(frame::close(code));
        connection.unread = Vec::new();
        let due = self.wheel.after(self.settings.close_timeout);
        connection.phase = Phase::Closing(due);
        let address = connection.address(key, 0);
        self.metrics.count_close(code);
        self.wheel.insert(due, address);
        self.leave_all(key);
        self.mark_dirty(key);
        self.go_on(key);
    }

    /// The peer sends no more: the socket goes when ours is out (RFC 6455, 7.1.1: the server goes first).
    fn peer_closed(&mut self, key: usize) {
        let due = self.wheel.after(self.settings.close_timeout);
        self.connections[key].phase = Phase::Closed(due);
        self.mark_dirty(key);
    }

    fn drain(&mut self, code: CloseCode) {
        self.draining = Some(code);
        let keys: Vec<usize> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            if self.connections[key].in_flight == 0 {
                self.close(key, code);
            }
        }
    }

    /// Something of this connection may be due.
    fn deadline(&mut self, address: Address) {
        let Some(key) = self.find(address) else { return };
        let now = self.wheel.now();
        let silence = self.silence(address.generation);
        let connection = &mut self.connections[key];
        match connection.phase {
            Phase::Closing(due) | Phase::Deaf(due) | Phase::Closed(due) => {
                // Otherwise its own entry is still in the wheel.
                if due <= now {
                    self.lost(key);
                }
            }
            Phase::Open => {
                let ping_at = connection.heard + wheel::ticks(silence);
                let next = match connection.pong_due {
                    Some(due) if due <= now => {
                        self.close(key, CloseCode::PingTimeout);
                        return self.lost(key);
                    }
                    Some(due) => due,
                    None if ping_at <= now => {
                        let due = self.wheel.after(self.settings.pong_timeout);
                        connection.pong_due = Some(due);
                        connection.outbox.push(frame::control(Opcode::Ping, &[]));
                        self.metrics.pings.inc();
                        self.mark_dirty(key);
                        due
                    }
                    None => ping_at,
                };
                self.wheel.insert(next, address);
            }
        }
    }

    fn leave_all(&mut self, key: usize) {
        let joins: Vec<ObjectId> =
            self.connections[key].joins.iter().map(|joined| joined.object).collect();
        for object in joins {
            self.leave(key, object);
        }
    }

    /// The connection is over.
    pub(super) fn lost(&mut self, key: usize) {
        self.leave_all(key);
        let mut connection = self.connections.remove(key);
        let _ = self.poll.registry().deregister(&mut connection.socket);
        // The last frames may be in the kernel still: a plain close sends them, and then a FIN.
        let _ = connection.socket.shutdown(Shutdown::Write);
        self.metrics.connections.dec();
    }
}
