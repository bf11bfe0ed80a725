//! Reads from ready sockets: one read for each socket in an iteration, and none while its requests have to wait.
//!
//! Work is counted in units of some 50 ns, so that a flood on one connection does not delay the others. A ready socket is read at
//! once. A connection with more than its share of work waits in a queue, which has one share for all connections in it.

use std::io;

use dormouse_protocol::{CloseCode, Encoding};
use mio::Token;
use mio::event::Event;
use tracing::debug;

use super::connections::activity::Unread;
use super::connections::connection::Phase;
use super::connections::wheel;
use super::connections::{LINE_WORK, TURN_WORK};
use super::decoder::{Decoder, Incoming};
use super::frame::{self, Opcode, Violation};
use super::inbox::WAKER;
use super::reactor::Reactor;
use crate::object::presence::Departing;
use crate::tls::Arrived;

/// A request; what it costs beyond that is counted where it is carried out.
const MESSAGE_WORK: u64 = 16;
/// A ping, a pong or a close.
const CONTROL_WORK: u64 = 2;
/// Bytes of a message that may have been inflated which count like one more message: a few bytes can become many.
const INFLATED_BYTES: usize = 256;

impl Reactor {
    /// The poller tells of a socket.
    pub(super) fn socket_ready(&mut self, event: &Event) {
        let Token(key) = event.token();
        if event.token() == WAKER || self.connections.get_mut(key).is_none() {
            return;
        }
        if event.is_writable() {
            let now = self.connections.wheel.now();
            let connection = &mut self.connections[key];
            if let Some(work) = connection.activity.go_on()
                && std::mem::take(&mut work.blocked)
            {
                connection.heard = now;
                connection.pong_due = None;
                self.connections.queue_write(key);
            }
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            let connection = &mut self.connections[key];
            connection.readable = true;
            connection.hung_up |= event.is_read_closed() || event.is_error();
            // A queued connection is served from the queue, and not here too.
            if !connection.in_line {
                self.read(key);
            }
        }
    }

    pub(super) fn go_on_reading(&mut self) {
        let end = self.connections.work + LINE_WORK;
        for _ in 0..self.connections.ready.len() {
            if self.connections.work >= end {
                return;
            }
            let Some(address) = self.connections.ready.pop_front() else { return };
            if let Some(key) = self.connections.find(address) {
                self.connections[key].in_line = false;
                self.read(key);
            }
        }
    }

    /// Goes on with what has arrived: what was left over first, then one read of the socket.
    fn read(&mut self, key: usize) {
        let connection = &self.connections[key];
        if self.connections.is_paused(key) {
            return;
        }
        if !connection.activity.unread.is_empty() {
            self.read_left_over(key);
        } else if connection.readable {
            self.read_socket(key);
        }
    }

    fn read_left_over(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        let address = connection.address(key, 0);
        let mut unread = std::mem::take(&mut connection.activity.begin().unread);
        let left = self.feed(key, unread.bytes());
        let Some(key) = self.connections.find(address) else { return };
        unread.keep(left);
        let connection = &mut self.connections[key];
        if unread.is_empty() {
            connection.activity.rest();
        } else {
            connection.activity.begin().unread = unread;
        }
        self.connections.go_on(key);
    }

    fn read_socket(&mut self, key: usize) {
        let most = self.connections.readable_bytes(key);
        if most == 0 {
            return self.connections.starve(key);
        }
        let now = self.connections.wheel.now();
        let mut buffer = std::mem::take(&mut self.connections.buffer);
        let address = self.connections[key].address(key, 0);
        let read = self.connections.read(key, &mut buffer, most);
        let connection = &mut self.connections[key];
        match read {
            Ok(Arrived { ended: true, .. }) if connection.is_open() => self.lost(key),
            // It may only have closed its half, and still reads what is queued and our close frame.
            Ok(Arrived { ended: true, .. }) => {
                connection.readable = false;
                if !matches!(connection.phase, Phase::Closed(_)) {
                    self.connections.peer_closed(key);
                }
            }
            Ok(Arrived { bytes: count, more, .. }) => {
                // The poller tells when there is more, but not of an end that it has told of already.
                connection.readable = more || connection.hung_up;
                connection.heard = now;
                connection.unanswered = 0;
                connection.pong_due = None;
                self.common.metrics.bytes_in.inc_by(count as u64);
                let left = self.feed(key, &mut buffer[..count]);
                if let Some(key) = self.connections.find(address) {
                    let connection = &mut self.connections[key];
                    if left > 0 {
                        connection.activity.begin().unread =
                            Unread::new(&buffer[count - left..count], &self.common.budget);
                    } else {
                        connection.activity.rest();
                    }
                    // There may be more: others go first.
                    if connection.readable || left > 0 {
                        self.connections.go_on(key);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.readable = false;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.connections.go_on(key),
            Err(error) => {
                debug!(%error, "a connection is lost");
                self.lost(key);
            }
        }
        self.connections.buffer = buffer;
    }

    /// Carries out what the bytes hold, and returns how many of them, at the end, have to wait: for the requests before
    /// them, or for other connections.
    fn feed(&mut self, key: usize, bytes: &mut [u8]) -> usize {
        let limit = self.common.settings.limits.message_bytes as usize;
        let deflates = self.connections[key].format.deflated;
        let address = self.connections[key].address(key, 0);
        let now = self.connections.wheel.now();
        let work = self.connections[key].activity.go_on();
        let (mut decoder, mut begun) = work.map_or((Decoder::NEW, now), |work| {
            (std::mem::take(&mut work.decoder), work.message_begun)
        });
        if decoder.is_idle() {
            begun = now;
        }
        let mut rest = bytes;
        let end = self.connections.work + TURN_WORK;
        let left = loop {
            let connection = &self.connections[key];
            if matches!(connection.phase, Phase::DiscardingInput(_) | Phase::Closed(_)) {
                break 0;
            }
            if self.connections.is_paused(key) || self.connections.work >= end {
                break rest.len();
            }
            let connection = &mut self.connections[key];
            if connection.is_open() && !connection.activity.has_memory(&self.common.budget) {
                self.connections.starve(key);
                break rest.len();
            }
            match decoder.next(&mut rest, limit, deflates, &self.common.budget) {
                Ok(Some(incoming)) => {
                    if !incoming.is_control() {
                        begun = now;
                    }
                    if deflates {
                        self.connections.work +=
                            (incoming.len() / INFLATED_BYTES) as u64 * MESSAGE_WORK;
                    }
                    self.incoming(key, incoming);
                }
                Ok(None) => break 0,
                Err(Violation(code)) => {
                    self.close(key, code);
                    self.connections.discard_input(key);
                }
            }
            if self.connections.find(address).is_none() {
                return 0;
            }
        };
        if decoder.is_idle() {
            return left;
        }
        if now - begun < wheel::ticks(self.common.settings.message_timeout) {
            let work = self.connections[key].activity.begin();
            (work.decoder, work.message_begun) = (decoder, begun);
        } else if self.connections[key].is_open() {
            self.close(key, CloseCode::SlowMessage);
            self.connections.discard_input(key);
        }
        left
    }

    fn incoming(&mut self, key: usize, incoming: Incoming<'_>) {
        if incoming.is_control() {
            self.connections.work += CONTROL_WORK;
            self.common.metrics.control_frames.inc();
            let is_close = matches!(incoming, Incoming::Close(_));
            if !is_close && !self.connections.admit_control(key) {
                return;
            }
        } else {
            self.connections.work += MESSAGE_WORK;
        }
        let connection = &mut self.connections[key];
        match (incoming, connection.format.encoding) {
            (Incoming::Close(code), _) => {
                debug!(?code, "the client closes");
                if code == Some(CloseCode::Normal.number()) {
                    // It takes its leave; with any other code it may be a page that is loaded again.
                    self.memberships.leave_all(&mut self.connections, key, Departing::Leave);
                }
                let connection = &self.connections[key];
                if connection.is_open() {
                    self.close(key, CloseCode::Normal);
                }
                self.connections.peer_closed(key);
            }
            // After our close frame nothing but the peer's matters: RFC 6455, section 1.4.
            _ if !connection.is_open() => {}
            (Incoming::Pong, _) => {}
            (Incoming::Ping(payload), _) => {
                let pong = frame::control(Opcode::Pong, payload);
                connection.activity.begin().outbox.push(pong);
                self.connections.queue_write(key);
            }
            (Incoming::Text(text), _) if connection.echoes => {
                self.connections.echo(key, Opcode::Text, text.as_bytes());
            }
            (Incoming::Binary(bytes), _) if connection.echoes => {
                self.connections.echo(key, Opcode::Binary, bytes);
            }
            (Incoming::Text(text), Encoding::Json) => self.request(key, text.as_bytes()),
            (Incoming::Binary(bytes), Encoding::Msgpack) => self.request(key, bytes),
            (Incoming::Text(_) | Incoming::Binary(_), _) => {
                self.close(key, CloseCode::UnsupportedData);
            }
        }
    }
}
