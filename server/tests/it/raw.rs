//! A client that writes and reads bytes, to send what no library would.

use std::io;
use std::net::SocketAddr;

use dormouse_protocol::{ClientMessage, Encoding, ServerMessage};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::support::{PATIENCE, handshake};

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8A;

/// How little a client's system takes while the client does not read.
#[derive(Clone, Copy)]
pub(crate) struct SmallWindow {
    buffer_bytes: u32,
    segment_bytes: Option<u32>,
}

impl SmallWindow {
    /// For a client that leaves the window closed.
    pub(crate) const CLOSED: Self = Self { buffer_bytes: 4096, segment_bytes: None };
    /// For a client that reads much in the end. The segments of loopback are larger than the whole buffer, and each of them would wait for
    /// the persist timer (RFC 9293, section 3.8.6.2.1): 200 ms for 2 KB.
    pub(crate) const READ: Self = Self { buffer_bytes: 4096, segment_bytes: Some(536) };
}

pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    encoding: Encoding,
}

impl Raw {
    /// Connects and takes the welcome.
    pub(crate) async fn connect(address: SocketAddr, encoding: Encoding) -> Self {
        Self::open(address, encoding, "", None).await.welcomed().await
    }

    /// A client whose kernel takes little that is not read.
    pub(crate) async fn narrow(address: SocketAddr, encoding: Encoding) -> Self {
        Self::open(address, encoding, "", Some(SmallWindow::CLOSED)).await.welcomed().await
    }

    pub(crate) async fn open(
        address: SocketAddr,
        encoding: Encoding,
        query: &str,
        window: Option<SmallWindow>,
    ) -> Self {
        Self::shake_hands(address, encoding, query, "", window).await
    }

    /// Connects with further headers.
    pub(crate) async fn open_with(address: SocketAddr, encoding: Encoding, headers: &str) -> Self {
        Self::shake_hands(address, encoding, "", headers, None).await
    }

    async fn shake_hands(
        address: SocketAddr,
        encoding: Encoding,
        query: &str,
        headers: &str,
        window: Option<SmallWindow>,
    ) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(SmallWindow { buffer_bytes, segment_bytes }) = window {
            socket.set_recv_buffer_size(buffer_bytes).unwrap();
            if let Some(bytes) = segment_bytes {
                SockRef::from(&socket).set_tcp_mss(bytes).unwrap();
            }
        }
        let mut stream = timeout(PATIENCE, socket.connect(address)).await.unwrap().unwrap();
        stream.set_nodelay(true).unwrap();
        let subprotocol = match encoding {
            Encoding::Msgpack => "Sec-WebSocket-Protocol: dormouse.v1.msgpack\r\n",
            Encoding::Json => "",
        };
        let headers = format!("{subprotocol}{headers}");
        stream.write_all(handshake(query, &headers).as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        Self { stream, encoding }
    }

    async fn welcomed(mut self) -> Self {
        assert!(matches!(self.message().await, ServerMessage::Welcome(_)));
        self
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.unwrap().unwrap();
    }

    pub(crate) async fn request(&mut self, message: &ClientMessage) {
        self.requests(std::slice::from_ref(message)).await;
    }

    /// Sends several in one write.
    pub(crate) async fn requests(&mut self, messages: &[ClientMessage]) {
        let opcode = if self.encoding == Encoding::Json { TEXT } else { BINARY };
        let frames = messages.iter().map(|m| frame(opcode, &self.encoding.encode_client(m)));
        self.send(&frames.collect::<Vec<_>>().concat()).await;
    }

    /// The next frame: its first byte and its payload. `None` at the end of the connection.
    pub(crate) async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        match timeout(PATIENCE, self.read_frame()).await.expect("a frame arrives in time") {
            Ok(frame) => Some(frame),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => panic!("{error}"),
        }
    }

    async fn read_frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let first = self.stream.read_u8().await?;
        let len = match self.stream.read_u8().await? {
            126 => self.stream.read_u16().await?.into(),
            127 => self.stream.read_u64().await?,
            len => {
                assert!(len < 126, "a server does not mask");
                len.into()
            }
        };
        let mut payload = vec![0; len as usize];
        self.stream.read_exact(&mut payload).await?;
        Ok((first, payload))
    }

    /// The next message; pings in between are answered.
    pub(crate) async fn message(&mut self) -> ServerMessage {
        loop {
            match self.frame().await.expect("the connection is open") {
                (TEXT | BINARY, payload) => return self.encoding.decode_server(&payload).unwrap(),
                (PING, payload) => self.send(&frame(PONG, &payload)).await,
                other => panic!("{other:?} instead of a message"),
            }
        }
    }

    /// The server closes with this code, and its close frame is the last thing that it sends.
    pub(crate) async fn is_closed(&mut self, code: u16) {
        let (first, payload) = self.frame().await.expect("a close frame comes first");
        assert_eq!((first, closed_with(&payload)), (CLOSE, code), "{payload:?}");
        // It fails where the server has closed already.
        let _ = self.stream.write_all(&frame(CLOSE, &code.to_be_bytes())).await;
        assert_eq!(self.frame().await, None);
    }
}

/// The code in a close frame.
pub(crate) fn closed_with(payload: &[u8]) -> u16 {
    u16::from_be_bytes([payload[0], payload[1]])
}

/// A frame in its shortest format, masked.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            bytes.push(0xFE);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0xFF);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    let mask = [0x5A, 0x11, 0xE7, 0x03];
    bytes.extend(mask);
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    let (wide, rest) = bytes[start..].as_chunks_mut::<16>();
    let wide_mask = u128::from(u32::from_ne_bytes(mask)) * 0x1_0000_0001_0000_0001_0000_0001;
    for chunk in wide {
        *chunk = (u128::from_ne_bytes(*chunk) ^ wide_mask).to_ne_bytes();
    }
    rest.iter_mut().zip(mask.into_iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    bytes
}
