//! From readiness to messages: one read a turn for each socket, and no more while its requests have to wait.

use std::io::{self, Read};

use dormouse_protocol::{CloseCode, Encoding};
use mio::Token;
use mio::event::Event;
use tracing::debug;

use super::connection::{Connection, Phase};
use super::decoder::Incoming;
use super::frame::{self, Opcode, Violation};
use super::inbox::WAKER;
use super::reactor::Reactor;

impl Reactor {
    /// The poller tells of a socket.
    pub(super) fn socket_ready(&mut self, event: &Event) {
        let Token(key) = event.token();
        if event.token() == WAKER || !self.connections.contains(key) {
            return;
        }
        if event.is_writable() {
            let connection = &mut self.connections[key];
            if std::mem::take(&mut connection.blocked) {
                connection.heard = self.wheel.now();
                connection.pong_due = None;
            }
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

    pub(super) fn go_on_reading(&mut self) {
        for _ in 0..self.ready.len() {
            let Some(address) = self.ready.pop_front() else { return };
            if let Some(key) = self.find(address) {
                self.read(key);
            }
        }
    }

    /// Requests of this connection wait: for room in an object, for a read of the log, or for its own socket. Once it is
    /// closing there are none, and the peer's close frame must be seen.
    pub(super) fn is_paused(&self, connection: &Connection) -> bool {
        connection.is_open()
            && (connection.busy
                || connection.stalled.is_some()
                || connection.outbox.bytes() > self.common.settings.outbound_bytes
                || self.draining.is_some())
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
            Ok(0) if connection.is_open() => self.lost(key),
            // It may only have closed its half, and still reads what is queued and our close frame.
            Ok(0) => {
                connection.readable = false;
                if !matches!(connection.phase, Phase::Closed(_)) {
                    self.peer_closed(key);
                }
            }
            Ok(count) => {
                // A short read has emptied the socket: the poller tells when there is more, but not of an end that
                // it has told of already.
                connection.readable = count == buffer.len() || connection.hung_up || was_unread;
                connection.heard = self.wheel.now();
                connection.pong_due = None;
                self.common.metrics.bytes_in.inc_by(count as u64);
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
        let limit = self.common.settings.limits.message_bytes as usize;
        let address = self.connections[key].address(key, 0);
        let mut decoder = std::mem::take(&mut self.connections[key].decoder);
        let mut rest = bytes;
        loop {
            if matches!(self.connections[key].phase, Phase::Deaf(_) | Phase::Closed(_)) {
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
                    self.deafen(key);
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
}
