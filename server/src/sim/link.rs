//! A client's end of one connection.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use dormouse_protocol::{ClientMessage, CloseCode, Encoding, ServerMessage};
use flate2::{Decompress, FlushDecompress};

const FINAL: u8 = 0x80;
const DEFLATED: u8 = 0x40;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

pub(super) struct Link {
    socket: UnixStream,
    encoding: Encoding,
    unsent: Vec<u8>,
    unread: Vec<u8>,
}

/// What arrives.
#[derive(Debug)]
pub(super) enum Arrival {
    Message(ServerMessage),
    Closed(u16),
}

impl Link {
    /// A link, and the other end of it.
    pub(super) fn new(encoding: Encoding, is_narrow: bool) -> (Self, UnixStream) {
        let (socket, other) = UnixStream::pair().expect("there are descriptors");
        for end in [&socket, &other] {
            end.set_nonblocking(true).expect("it is a socket");
        }
        if is_narrow {
            // The system makes it its least, some kilobytes.
            let other = socket2::SockRef::from(&other);
            other.set_send_buffer_size(1).expect("it is a socket");
        }
        (Self { socket, encoding, unsent: Vec::new(), unread: Vec::new() }, other)
    }

    /// Queues a message.
    pub(super) fn send(&mut self, message: &ClientMessage) {
        let opcode = if self.encoding == Encoding::Json { TEXT } else { BINARY };
        self.queue(opcode, &self.encoding.encode_client(message));
    }

    /// Queues a close in order.
    pub(super) fn close(&mut self) {
        self.queue(CLOSE, &CloseCode::Normal.number().to_be_bytes());
    }

    fn queue(&mut self, opcode: u8, payload: &[u8]) {
        const MASKED: u8 = 0x80;
        const LONG: u8 = 126;
        self.unsent.push(FINAL | opcode);
        match payload.len() {
            len @ 0..=125 => self.unsent.push(MASKED | len as u8),
            len => {
                self.unsent.push(MASKED | LONG);
                self.unsent.extend((len as u16).to_be_bytes());
            }
        }
        // A mask of zeros changes nothing.
        self.unsent.extend([0; 4]);
        self.unsent.extend(payload);
    }

    /// Writes at most so many bytes of what is queued.
    pub(super) fn write(&mut self, most: usize) {
        while !self.unsent.is_empty() {
            match self.socket.write(&self.unsent[..most.min(self.unsent.len())]) {
                Ok(written) => _ = self.unsent.drain(..written),
                // Full, or gone: reading tells.
                Err(_) => return,
            }
            if most < usize::MAX {
                return;
            }
        }
    }

    /// Reads at most so many bytes; how many there were, and whether the other end is gone.
    pub(super) fn read(&mut self, most: usize) -> (usize, bool) {
        let before = self.unread.len();
        let mut buffer = [0; 4096];
        loop {
            let count = self.unread.len() - before;
            if count >= most {
                return (count, false);
            }
            let room = buffer.len().min(most - count);
            match self.socket.read(&mut buffer[..room]) {
                Ok(0) => return (count, true),
                Ok(more) => self.unread.extend(&buffer[..more]),
                Err(error) => return (count, error.kind() != ErrorKind::WouldBlock),
            }
        }
    }

    /// What has arrived as a whole.
    pub(super) fn next(&mut self) -> Result<Option<Arrival>, String> {
        while let Some((opcode, payload)) = self.take_frame() {
            let is_deflated = opcode & DEFLATED != 0;
            let payload = if is_deflated { inflate(&payload)? } else { payload };
            match opcode & !DEFLATED {
                TEXT | BINARY => {
                    let message = self.encoding.decode_server(&payload);
                    let message = message.map_err(|error| format!("no message: {error}"))?;
                    return Ok(Some(Arrival::Message(message)));
                }
                PING => self.queue(PONG, &payload),
                CLOSE => {
                    let code = payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code));
                    return Ok(Some(Arrival::Closed(code)));
                }
                other => return Err(format!("a frame of type {other}")),
            }
        }
        Ok(None)
    }

    fn take_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let bytes = &self.unread;
        let (head, len) = match *bytes.get(1)? {
            126 => (4, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?).into()),
            127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
            len => (2, len.into()),
        };
        if bytes.len() < head + len {
            return None;
        }
        let mut frame: Vec<u8> = self.unread.drain(..head + len).collect();
        let payload = frame.split_off(head);
        Some((frame[0] & !FINAL, payload))
    }
}

fn inflate(payload: &[u8]) -> Result<Vec<u8>, String> {
    let mut message = Vec::with_capacity(1 << 20);
    let input = [payload, &[0, 0, 0xFF, 0xFF]].concat();
    let inflated =
        Decompress::new(false).decompress_vec(&input, &mut message, FlushDecompress::Sync);
    inflated.map_err(|error| format!("not compressed: {error}"))?;
    Ok(message)
}
