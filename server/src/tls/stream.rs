//! A TLS connection as a stream of bytes, for the time that it is in HTTP.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::session::{MIN_BUFFER, MIN_WRITE_BUFFER, Session};

/// A socket with its session, after the handshake.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    session: Box<Session>,
    /// Decrypted bytes that the reader has not taken yet.
    plain: Vec<u8>,
    has_ended: bool,
}

/// A socket that is only tried: it never waits.
struct Try<'a>(&'a TcpStream);

impl Read for Try<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Try<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream {
    /// Carries out the handshake. The caller sets the deadline. A peer that violates the protocol gets an alert.
    pub async fn accept(socket: TcpStream, session: Box<Session>) -> io::Result<Self> {
        let mut stream = Self { socket, session, plain: Vec::new(), has_ended: false };
        loop {
            while !stream.session.flush(&mut Try(&stream.socket))? {
                stream.socket.writable().await?;
            }
            if !stream.session.is_handshaking() {
                return Ok(stream);
            }
            if stream.has_ended {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            stream.socket.readable().await?;
            match stream.try_fill() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    let _ = stream.session.flush(&mut Try(&stream.socket));
                    return Err(error);
                }
                Ok(()) => {}
            }
        }
    }

    /// The certificate of the peer, if it has one.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.session.peer_certificate()
    }

    /// The parts: the socket, its session, and the decrypted bytes that the reader has not taken.
    pub fn into_parts(self) -> (TcpStream, Box<Session>, Vec<u8>) {
        (self.socket, self.session, self.plain)
    }

    /// Reads once.
    fn try_fill(&mut self) -> io::Result<()> {
        let mut buffers = vec![0; 2 * MIN_BUFFER];
        let (plain, records) = buffers.split_at_mut(MIN_BUFFER);
        let arrived = self.session.read(&mut Try(&self.socket), plain, records, MIN_BUFFER)?;
        self.plain.extend_from_slice(&plain[..arrived.bytes]);
        self.has_ended |= arrived.ended;
        Ok(())
    }

    fn poll_flush_session(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.session.flush(&mut Try(&self.socket))? {
            ready!(self.socket.poll_write_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.plain.is_empty() && !self.has_ended {
            ready!(self.socket.poll_read_ready(cx))?;
            match self.try_fill() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(()) => {}
            }
        }
        let count = self.plain.len().min(buffer.remaining());
        buffer.put_slice(&self.plain[..count]);
        self.plain.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let mut buffer = vec![0; MIN_WRITE_BUFFER];
        loop {
            ready!(this.poll_flush_session(cx))?;
            match this.session.write(&mut Try(&this.socket), bytes, &mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush_session(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_flush_session(cx))?;
        // It fails if the peer is gone.
        let _ = this.session.close(&mut Try(&this.socket));
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}
