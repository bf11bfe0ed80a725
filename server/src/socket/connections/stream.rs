//! Reads and writes of a connection's socket, through TLS where the connection has it.
//!
//! Owns the TLS sessions. A connection without one costs only a look into a map, which is empty where the server has no TLS.

use std::io::{self, Read as _, Write};
use std::net::Shutdown;

use bytes::Bytes;
use dormouse_protocol::CloseCode;
use mio::net::TcpStream;

use super::Connections;
use super::outbox::{self, JOINED_BYTES, Written};
use super::wheel::{self, Tick};
use crate::tls::{Arrived, MIN_WRITE_BUFFER, SESSION_BYTES, Session};

/// The TLS of one connection.
pub(super) struct Tls {
    session: Box<Session>,
    /// When the record began that has arrived in part, or when the connection was last paused.
    record_begun: Option<Tick>,
}

/// A socket to write to, with the TLS of its connection and a buffer for records.
struct Stream<'a> {
    socket: &'a mut TcpStream,
    tls: Option<&'a mut Tls>,
    records: &'a mut [u8],
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.socket.write(bytes),
            Some(tls) => tls.session.write(self.socket, bytes, self.records),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream<'_> {
    /// Whether the socket has taken all that was written.
    fn try_flush(&mut self) -> io::Result<bool> {
        self.tls.as_mut().map_or(Ok(true), |tls| tls.session.flush(self.socket))
    }
}

impl Connections {
    pub(super) fn set_tls(&mut self, key: usize, session: Box<Session>) {
        self.tls.insert(key as u32, Tls { session, record_begun: None });
    }

    /// The memory that TLS takes for a connection.
    pub(in crate::socket) fn tls_bytes(&self, key: usize) -> usize {
        if self.tls.contains_key(&(key as u32)) { SESSION_BYTES } else { 0 }
    }

    /// Bytes of a TLS record that has arrived in part.
    pub(super) fn record_bytes(&self, key: usize) -> usize {
        self.tls.get(&(key as u32)).map_or(0, |tls| tls.session.unread_bytes())
    }

    /// The time in which a connection was not read from does not count for the record that it sends.
    pub(in crate::socket) fn excuse_record(&mut self, key: usize) {
        let now = self.wheel.now();
        if let Some(begun) =
            self.tls.get_mut(&(key as u32)).and_then(|tls| tls.record_begun.as_mut())
        {
            *begun = now;
        }
    }

    /// Reads once, at most `most` bytes of the socket.
    pub(in crate::socket) fn read(
        &mut self,
        key: usize,
        buffer: &mut [u8],
        most: usize,
    ) -> io::Result<Arrived> {
        let socket = &mut self.slab[key].socket;
        let Some(tls) = self.tls.get_mut(&(key as u32)) else {
            let bytes = socket.read(&mut buffer[..most])?;
            // A short read has emptied the socket.
            return Ok(Arrived { bytes, more: bytes == most, ended: bytes == 0 });
        };
        let (plain, records) = buffer.split_at_mut(buffer.len() / 2);
        let read = tls.session.read(socket, plain, records, most);
        if read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::InvalidData) {
            // The alert, as far as the socket takes it.
            let _ = tls.session.flush(socket);
        }
        let arrived = read?;
        let has_output = tls.session.has_output();
        let now = self.wheel.now();
        let begun = tls.record_begun.filter(|_| arrived.bytes == 0).unwrap_or(now);
        tls.record_begun = (tls.session.unread_bytes() > 0).then_some(begun);
        if now - begun >= wheel::ticks(self.common.settings.message_timeout) {
            self.ask_close(key, CloseCode::SlowMessage);
        }
        if has_output {
            self.queue_write(key);
        }
        Ok(arrived)
    }

    /// Writes a frame at once, as far as the socket takes it. Returns how many bytes need no second write, and whether the socket has them all.
    pub(in crate::socket) fn write_frame(
        &mut self,
        key: usize,
        frame: &Bytes,
    ) -> io::Result<Written> {
        let mut stream = Stream {
            socket: &mut self.slab[key].socket,
            tls: self.tls.get_mut(&(key as u32)),
            records: &mut self.buffer,
        };
        let bytes = outbox::write(&mut stream, frame)?;
        Ok(Written { bytes, all: bytes == frame.len() && stream.try_flush()? })
    }

    /// Writes what is queued for a connection, as far as its socket takes it; true if that was all.
    pub(in crate::socket) fn write_outbox(&mut self, key: usize) -> io::Result<bool> {
        let now = self.wheel.now();
        let connection = &mut self.slab[key];
        let work = connection.activity.begin();
        let (joined, records) = self.buffer.split_at_mut(JOINED_BYTES);
        let tls = self.tls.get_mut(&(key as u32));
        let mut stream = Stream { socket: &mut connection.socket, tls, records };
        let Written { bytes, all } = work.outbox.write_to(&mut stream, joined)?;
        let all = all && stream.try_flush()?;
        work.blocked = !all;
        work.progress = now;
        work.count_memory(&self.common.budget);
        self.note_sent(key, bytes);
        Ok(all)
    }

    /// Sends `close_notify` if the connection uses TLS, and closes the sending side of the socket.
    pub(in crate::socket) fn end_output(&mut self, key: usize) {
        let socket = &mut self.slab[key].socket;
        if let Some(tls) = self.tls.get_mut(&(key as u32)) {
            let _ = tls.session.close(socket);
        }
        // The peer may be gone.
        let _ = socket.shutdown(Shutdown::Write);
    }
}

/// Frames are joined in one part of the reactor's buffer, and encrypted into the other.
const _: () = assert!(super::READ_BYTES >= JOINED_BYTES + MIN_WRITE_BUFFER);
