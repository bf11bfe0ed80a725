//! One connection that never blocks: it connects, upgrades, cuts what arrives into messages and sends what it can.
//!
//! At rest it holds no memory: the beginning of a frame is kept only where the frame is cut, and output only where the system
//! takes no more. Pings are answered here.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, bail, ensure};
use mio::event::Source;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use socket2::{Domain, SockAddr, SockRef, Type};

use super::frame::{self, Frame, Opcode};
use super::tls::Tls;
use crate::wire::Upgrade;

/// What one `read` takes at most, unless a frame is larger.
pub(super) const READ_BYTES: usize = 64 << 10;
/// Memory that a connection may keep for the next frame that is cut.
const KEPT_BYTES: usize = 4 << 10;

/// A connection.
pub(super) struct Socket {
    stream: TcpStream,
    tls: Option<Tls>,
    stage: Stage,
    /// What of the last frame has arrived.
    partial: Vec<u8>,
    /// Frames to send.
    pub(super) out: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    Upgrading,
    Open,
}

/// What a connection is to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    /// The server.
    pub(super) address: SocketAddr,
    /// This end; any address without it.
    pub(super) from: Option<IpAddr>,
    /// How many bytes the system may take in for it; its own choice without it.
    pub(super) receive_buffer: Option<usize>,
}

/// What arrived.
pub(super) enum Arrival<'a> {
    /// The server speaks WebSocket.
    Upgraded,
    /// A message.
    Message(&'a [u8]),
}

/// Whether there may be more to read, without an event that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum More {
    Maybe,
    No,
}

impl Socket {
    /// Starts to connect, through TLS if there is any.
    pub(super) fn connect(ends: Ends, tls: Option<Tls>) -> Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(ends.address), Type::STREAM, None)
            .context("cannot open one more connection")?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(bytes) = ends.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(from) = ends.from {
            let from = SockAddr::from(SocketAddr::new(from, 0));
            socket.bind(&from).context("cannot use this source address")?;
        }
        match socket.connect(&SockAddr::from(ends.address)) {
            Err(error) if !is_under_way(&error) => {
                return Err(error).context("cannot open one more connection");
            }
            _ => {}
        }
        let stream = TcpStream::from_std(socket.into());
        Ok(Self { stream, tls, stage: Stage::Connecting, partial: Vec::new(), out: Vec::new() })
    }

    /// Lets the system take in so many bytes for it.
    pub(super) fn take_in(&self, bytes: usize) -> io::Result<()> {
        SockRef::from(&self.stream).set_recv_buffer_size(bytes)
    }

    /// Has the system acknowledge what arrives when it is read, and not put that off until more arrives, as it may after the first
    /// words were exchanged (tcp(7), `TCP_QUICKACK`). On the loopback interface that would be the server's processor time, or not, as
    /// it happens.
    pub(super) fn acknowledge(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        SockRef::from(&self.stream).set_tcp_quickack(true)?;
        Ok(())
    }

    /// Asks to be told of it.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.stream.register(registry, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Asks for the upgrade as soon as it is connected.
    pub(super) fn greet(&mut self, host: &str, upgrade: impl FnOnce() -> Upgrade) -> Result<()> {
        if self.stage != Stage::Connecting {
            return Ok(());
        }
        if let Some(error) = self.stream.take_error()? {
            return Err(error).context("cannot connect");
        }
        match self.stream.peer_addr() {
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(()),
            done => done?,
        };
        let Upgrade { path, subprotocol } = upgrade();
        write!(
            self.out,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ZG9ybW91c2UtbG9hZHRlcw==\r\n"
        )?;
        if let Some(name) = subprotocol {
            write!(self.out, "Sec-WebSocket-Protocol: {name}\r\n")?;
        }
        self.out.extend_from_slice(b"\r\n");
        self.stage = Stage::Upgrading;
        Ok(())
    }

    /// Reads once, at most so many bytes, and tells what has arrived whole, with the place for what answers it. The buffer is only
    /// lent, and grows where a frame is larger. An error is the end of the connection.
    pub(super) fn receive(
        &mut self,
        buffer: &mut Vec<u8>,
        bytes_max: usize,
        mut take: impl FnMut(Arrival<'_>, &mut Vec<u8>) -> Result<()>,
    ) -> Result<More> {
        let kept = self.partial.len();
        if buffer.len() < kept + READ_BYTES {
            buffer.resize(kept + READ_BYTES, 0);
        }
        let room = &mut buffer[kept..];
        let room_bytes = room.len().min(bytes_max);
        let room = &mut room[..room_bytes];
        let read = match &mut self.tls {
            None => self.stream.read(room),
            Some(tls) => tls.read(&mut self.stream, room),
        };
        let count = match read {
            Ok(0) => bail!("the connection ended"),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(More::No),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(More::Maybe),
            Err(error) => return Err(error.into()),
        };
        buffer[..kept].copy_from_slice(&self.partial);
        let mut rest = &buffer[..kept + count];
        if self.stage == Stage::Upgrading
            && let Some(after) = skip_answer(rest)?
        {
            self.stage = Stage::Open;
            take(Arrival::Upgraded, &mut self.out)?;
            rest = after;
        }
        if self.stage == Stage::Open {
            while let Some((Frame { opcode, payload }, end)) = frame::read(rest)? {
                rest = &rest[end..];
                match opcode {
                    Opcode::Text | Opcode::Binary => {
                        take(Arrival::Message(payload), &mut self.out)?;
                    }
                    Opcode::Ping => {
                        frame::write(&mut self.out, Opcode::Pong, |out| {
                            out.extend_from_slice(payload);
                        });
                    }
                    Opcode::Pong => {}
                    Opcode::Close => {
                        let code =
                            payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                        bail!("the server closed with {code}")
                    }
                }
            }
        }
        keep(&mut self.partial, rest);
        // TLS reads in steps of its own.
        Ok(if count == room_bytes || self.tls.is_some() { More::Maybe } else { More::No })
    }

    /// Sends what the system takes. There will be an event when it takes more.
    pub(super) fn send(&mut self) -> Result<()> {
        let mut sent = 0;
        while sent < self.out.len() && self.stage != Stage::Connecting {
            let rest = &self.out[sent..];
            let written = match &mut self.tls {
                None => self.stream.write(rest),
                Some(tls) => tls.write(&mut self.stream, rest),
            };
            match written {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.out.drain(..sent);
        if let Some(tls) = &mut self.tls
            && self.stage != Stage::Connecting
        {
            tls.flush(&mut self.stream)?;
        }
        if self.out.is_empty() && self.out.capacity() > KEPT_BYTES {
            self.out = Vec::new();
        }
        Ok(())
    }
}

fn keep(partial: &mut Vec<u8>, rest: &[u8]) {
    if rest.len() <= KEPT_BYTES && partial.capacity() > KEPT_BYTES {
        *partial = Vec::new();
    }
    partial.clear();
    partial.extend_from_slice(rest);
}

/// What follows the server's answer to the handshake, if that is whole. The proof that the server has understood it is left alone: its
/// frames will show.
fn skip_answer(input: &[u8]) -> Result<Option<&[u8]>> {
    let end = input.windows(4).position(|end| end == b"\r\n\r\n");
    let Some(end) = end else { return Ok(None) };
    let status = String::from_utf8_lossy(&input[..end.min(32)]);
    ensure!(status.starts_with("HTTP/1.1 101"), "the server refused: {status:?}");
    Ok(Some(&input[end + 4..]))
}

fn is_under_way(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EINPROGRESS as i32)
}
