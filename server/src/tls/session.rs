//! One TLS connection: from bytes of a socket to plain bytes, and back.
//!
//! Owns the keys, the received part of an incomplete record, and records that wait for the socket; at rest it has neither. The caller owns
//! the socket and the buffers. This uses rustls without its own buffers, because those keep 4 KiB for each connection.

use std::io::{self, Read, Write};

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

use crate::limits::{Budget, Held, Permit, Purpose};

/// The size of the buffers that [`Session::read`] needs at least: the largest record (RFC 8446, section 5.2; RFC 5246, section 6.2.3).
pub(super) const MIN_BUFFER: usize = (16 << 10) + 2048 + 5;
/// The plain bytes of one record.
const FRAGMENT: usize = 16 << 10;
/// What encryption adds to a fragment at most, with a `KeyUpdate` before it.
const OVERHEAD: usize = 1 << 10;
/// The size of the buffer that [`Session::write`] needs at least.
pub const MIN_WRITE_BUFFER: usize = FRAGMENT + OVERHEAD;

/// The memory of a session at rest, measured with `dormouse-loadtest idle --tls`.
pub(crate) const SESSION_BYTES: usize = 4 << 10;

/// A TLS connection.
pub struct Session {
    connection: UnbufferedServerConnection,
    /// What has arrived of a record that is not complete.
    input: Vec<u8>,
    /// Records that the socket has not taken yet.
    output: Vec<u8>,
    /// The peer sends no more.
    has_ended: bool,
    /// We send no more: the connection is closed, or has failed. Then rustls must not be asked again.
    is_closed: bool,
    held: Held,
    budget: Budget,
    _permit: Permit,
}

/// What one read of a socket brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// Bytes for the reader. There may be none, although the peer goes on.
    pub bytes: usize,
    /// The socket may have more.
    pub more: bool,
    /// The peer sends no more.
    pub ended: bool,
}

impl Session {
    /// A session that begins its handshake; `None` if the budget has no room for it.
    pub(super) fn new(connection: UnbufferedServerConnection, budget: &Budget) -> Option<Self> {
        let permit = budget.try_acquire(Purpose::Connection, SESSION_BYTES)?;
        let (input, output, has_ended, is_closed, held) = Default::default();
        let budget = budget.clone();
        Some(Self {
            connection,
            input,
            output,
            has_ended,
            is_closed,
            held,
            budget,
            _permit: permit,
        })
    }

    /// Whether the handshake is under way.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// The certificate that the peer has proved to be its own, if it has one: in DER.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.connection.peer_certificates()?.first().map(|certificate| &**certificate)
    }

    /// Bytes of a record that has arrived in part.
    pub fn unread_bytes(&self) -> usize {
        self.input.len()
    }

    /// Whether records wait for the socket: see [`Session::flush`].
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Reads at most `most` bytes once, and decrypts into `plain`. Both buffers need [`MIN_BUFFER`] bytes. Answers of the protocol itself may
    /// have to be flushed after this, also after an error.
    pub fn read(
        &mut self,
        socket: &mut impl Read,
        plain: &mut [u8],
        buffer: &mut [u8],
        most: usize,
    ) -> io::Result<Arrived> {
        if self.has_ended {
            return Ok(Arrived { bytes: 0, more: false, ended: true });
        }
        let kept = self.input.len();
        let end = buffer.len().min(plain.len()).min(kept.saturating_add(most));
        if kept >= end {
            return Err(invalid("a handshake message is too large"));
        }
        buffer[..kept].copy_from_slice(&self.input);
        let count = socket.read(&mut buffer[kept..end])?;
        self.has_ended = count == 0;
        let arrived = &mut buffer[..kept + count];
        let decrypted = self.decrypt(arrived, plain);
        if decrypted.is_err() {
            (self.has_ended, self.is_closed) = (true, true);
        }
        let (done, bytes) = decrypted?;
        self.input.clear();
        self.input.extend_from_slice(&arrived[done..]);
        self.tidy();
        let more = kept + count == end || self.has_ended;
        Ok(Arrived { bytes, more, ended: self.has_ended && bytes == 0 })
    }

    /// Encrypts and writes a part of the bytes, and returns how many: these need no second write, but the socket may not have taken them all
    /// yet. `buffer` needs [`MIN_WRITE_BUFFER`] bytes. The error is `WouldBlock` while earlier records wait for the socket.
    pub fn write(
        &mut self,
        socket: &mut impl Write,
        bytes: &[u8],
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        if self.is_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.collect_output()?;
        if !self.flush(socket)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let fragment = &bytes[..bytes.len().min(FRAGMENT)];
        let encrypted = self.when_open(|traffic| traffic.encrypt(fragment, buffer))?;
        self.send(socket, &buffer[..encrypted])?;
        Ok(fragment.len())
    }

    /// Writes what waits for the socket; false if the socket takes no more now.
    pub fn flush(&mut self, socket: &mut impl Write) -> io::Result<bool> {
        if self.output.is_empty() {
            return Ok(true);
        }
        let output = std::mem::take(&mut self.output);
        self.send(socket, &output)?;
        Ok(self.output.is_empty())
    }

    /// Sends `close_notify`, as far as the socket accepts it. A second call does nothing.
    pub fn close(&mut self, socket: &mut impl Write) -> io::Result<()> {
        if std::mem::replace(&mut self.is_closed, true) {
            return Ok(());
        }
        let mut buffer = [0; OVERHEAD];
        let encrypted = self.when_open(|traffic| traffic.queue_close_notify(&mut buffer))?;
        self.output.extend_from_slice(&buffer[..encrypted]);
        self.flush(socket).map(drop)
    }

    /// Decrypts records; returns how many bytes of them are done with, and how many plain ones there are.
    fn decrypt(&mut self, records: &mut [u8], plain: &mut [u8]) -> io::Result<(usize, usize)> {
        let (mut done, mut bytes) = (0, 0);
        loop {
            let UnbufferedStatus { discard, state, .. } =
                self.connection.process_tls_records(&mut records[done..]);
            done += discard;
            match state.map_err(invalid) {
                Err(error) => {
                    // The alert that tells the peer. With the same records: rustls remembers where in them messages are.
                    let again = self.connection.process_tls_records(&mut records[done..]);
                    if let Ok(ConnectionState::EncodeTlsData(alert)) = again.state {
                        encode(alert, &mut self.output)?;
                    }
                    return Err(error);
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let payload = record.map_err(invalid)?.payload;
                        plain[bytes..bytes + payload.len()].copy_from_slice(payload);
                        bytes += payload.len();
                    }
                }
                Ok(ConnectionState::EncodeTlsData(message)) => encode(message, &mut self.output)?,
                Ok(ConnectionState::TransmitTlsData(transmitted)) => transmitted.done(),
                Ok(ConnectionState::PeerClosed) => self.has_ended = true,
                Ok(_) => return Ok((done, bytes)),
            }
        }
    }

    /// Puts what the protocol itself has to say into the output.
    fn collect_output(&mut self) -> io::Result<()> {
        loop {
            match self.connection.process_tls_records(&mut self.input).state.map_err(invalid)? {
                ConnectionState::EncodeTlsData(message) => encode(message, &mut self.output)?,
                ConnectionState::TransmitTlsData(transmitted) => transmitted.done(),
                _ => return Ok(()),
            }
        }
    }

    /// Encrypts, if the handshake is done.
    fn when_open(
        &mut self,
        encrypt: impl FnOnce(&mut WriteTraffic<'_>) -> Result<usize, EncryptError>,
    ) -> io::Result<usize> {
        match self.connection.process_tls_records(&mut self.input).state.map_err(invalid)? {
            ConnectionState::WriteTraffic(mut traffic) => encrypt(&mut traffic).map_err(invalid),
            _ => Err(invalid("the TLS connection is not open")),
        }
    }

    /// Writes records, and keeps what the socket does not take.
    fn send(&mut self, socket: &mut impl Write, records: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        while sent < records.len() {
            match socket.write(&records[sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.extend_from_slice(&records[sent..]);
        self.tidy();
        Ok(())
    }

    /// Frees buffers that are empty, and counts the others.
    fn tidy(&mut self) {
        for buffer in [&mut self.input, &mut self.output] {
            if buffer.is_empty() {
                *buffer = Vec::new();
            }
        }
        self.held.hold(&self.budget, self.input.capacity() + self.output.capacity());
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("has_ended", &self.has_ended).finish_non_exhaustive()
    }
}

type WriteTraffic<'a> = rustls::unbuffered::WriteTraffic<'a, rustls::server::ServerConnectionData>;
type EncodeTlsData<'a> =
    rustls::unbuffered::EncodeTlsData<'a, rustls::server::ServerConnectionData>;

fn encode(mut message: EncodeTlsData<'_>, output: &mut Vec<u8>) -> io::Result<()> {
    let (start, mut size) = (output.len(), 0);
    loop {
        output.resize(start + size, 0);
        match message.encode(&mut output[start..]) {
            Ok(_) => return Ok(()),
            Err(EncodeError::InsufficientSize(needed)) => size = needed.required_size,
            Err(error) => return Err(invalid(error)),
        }
    }
}

fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
