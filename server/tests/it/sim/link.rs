//! A client's end of one connection. Reading may be given up at any moment and taken up again.

use std::io;
use std::net::SocketAddr;

use bytes::{Buf as _, BytesMut};
use dormouse_protocol::{ClientMessage, Encoding, ServerMessage};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::raw::{BINARY, CLOSE, TEXT, closed_with, frame};
use crate::support::{PATIENCE, handshake};

pub(super) struct Link {
    stream: TcpStream,
    encoding: Encoding,
    unread: BytesMut,
}

/// What arrives.
pub(super) enum Arrival {
    Message(ServerMessage),
    Closed(u16),
}

impl Link {
    /// Fails where there is no server, or one that stops.
    pub(super) async fn open(
        address: SocketAddr,
        encoding: Encoding,
        token: &str,
        is_narrow: bool,
    ) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if is_narrow {
            // With less, Linux sends 2 KB every 200 ms once the window was full.
            socket.set_recv_buffer_size(16 << 10)?;
        }
        let mut stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        let subprotocol = match encoding {
            Encoding::Msgpack => "Sec-WebSocket-Protocol: dormouse.v1.msgpack\r\n",
            Encoding::Json => "",
        };
        let query = format!("?session={token}");
        stream.write_all(handshake(&query, subprotocol).as_bytes()).await?;
        let mut link = Self { stream, encoding, unread: BytesMut::new() };
        let head_end = loop {
            let end = link.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            match end {
                Some(end) => break end + 4,
                None => link.fill().await?,
            }
        };
        let head = link.unread.split_to(head_end);
        if !head.starts_with(b"HTTP/1.1 101 ") {
            return Err(io::Error::other(String::from_utf8_lossy(&head).into_owned()));
        }
        Ok(link)
    }

    pub(super) async fn send(&mut self, message: &ClientMessage) -> io::Result<()> {
        let opcode = if self.encoding == Encoding::Json { TEXT } else { BINARY };
        self.write(&frame(opcode, &self.encoding.encode_client(message))).await
    }

    /// Begins to close in order; the server's own close comes last.
    pub(super) async fn close(&mut self) -> io::Result<()> {
        self.write(&frame(CLOSE, &1000_u16.to_be_bytes())).await
    }

    pub(super) async fn arrive(&mut self) -> io::Result<Arrival> {
        loop {
            if let Some((first, payload)) = self.take_frame() {
                return Ok(match first {
                    CLOSE => Arrival::Closed(closed_with(&payload)),
                    TEXT | BINARY => {
                        let message = self.encoding.decode_server(&payload);
                        Arrival::Message(message.expect("the server speaks the protocol"))
                    }
                    other => panic!("a frame of type {other}"),
                });
            }
            self.fill().await?;
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = timeout(PATIENCE, self.stream.write_all(bytes)).await;
        written.expect("the server reads")
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.unread).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn take_frame(&mut self) -> Option<(u8, BytesMut)> {
        let bytes = &self.unread;
        let (head, len) = match *bytes.get(1)? {
            126 => (4, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?).into()),
            127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
            len => (2, len.into()),
        };
        if bytes.len() < head + len {
            return None;
        }
        let first = bytes[0];
        self.unread.advance(head);
        Some((first, self.unread.split_to(len)))
    }
}
