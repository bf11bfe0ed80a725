//! What carries an HTTP connection: a socket of TCP, with or without TLS, or a Unix socket.

use std::io;
use std::net;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::reject::{self, Rejection};
use crate::tls;

pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<tls::Stream>),
    Unix(UnixStream),
}

/// What is left of a transport that leaves HTTP.
pub(super) struct Parts {
    pub(super) socket: net::TcpStream,
    pub(super) tls: Option<Box<tls::Session>>,
    /// Bytes that were decrypted and not read.
    pub(super) unread: Vec<u8>,
}

impl Transport {
    /// What the reactors need. They know sockets of TCP only.
    pub(super) fn into_parts(self) -> io::Result<Parts> {
        let (socket, tls, unread) = match self {
            Self::Unix(_) => return Err(io::ErrorKind::Unsupported.into()),
            Self::Plain(socket) => (socket, None, Vec::new()),
            Self::Tls(stream) => {
                let (socket, session, unread) = stream.into_parts();
                (socket, Some(session), unread)
            }
        };
        Ok(Parts { socket: socket.into_std()?, tls, unread })
    }

    /// Closes a connection before its request was read. Over TLS the server sends no reason, because it would have to encrypt the text
    /// and wait for the socket.
    pub(super) fn cut_off(self, cut: Rejection) {
        if let Self::Plain(socket) = self {
            cut_off(socket, cut);
        }
    }
}

/// Closes a connection that has not got through to HTTP.
pub(super) fn cut_off(socket: TcpStream, cut: Rejection) {
    if let Ok(socket) = socket.into_std() {
        reject::tell(&socket, cut);
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}
