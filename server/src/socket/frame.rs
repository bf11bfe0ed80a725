//! WebSocket frames on the wire: RFC 6455, section 5.2. No state, no I/O.

use bytes::{BufMut, Bytes, BytesMut};
use dormouse_protocol::{CloseCode, Encoding};

/// The longest header: two bytes, eight of length, four of mask.
pub(super) const MAX_HEADER: usize = 14;
/// The longest payload of a control frame.
pub(super) const MAX_CONTROL: usize = 125;
/// The first reserved bit: the message that begins with this frame is compressed.
const RSV1: u8 = 0x40;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    pub(super) fn is_control(self) -> bool {
        self.bits() & 0x8 != 0
    }

    fn begins_message(self) -> bool {
        matches!(self, Self::Text | Self::Binary)
    }
}

/// The header of a frame from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    /// A compressed message begins. A connection without compression refuses it.
    pub(super) deflated: bool,
    pub(super) len: u64,
    pub(super) mask: [u8; 4],
}

/// The peer broke the rules: the connection closes with this code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Violation(pub(super) CloseCode);

impl Header {
    /// Reads a header and its length from the start of `bytes`; `None` while there are too few.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Violation> {
        const BROKEN: Violation = Violation(CloseCode::ProtocolError);
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let opcode = Opcode::from_bits(first & 0x0F).ok_or(BROKEN)?;
        let fin = first & 0x80 != 0;
        let deflated = first & RSV1 != 0;
        let short = second & 0x7F;
        // The other reserved bits have no meaning, clients must mask, control frames are short and whole.
        if first & 0x30 != 0
            || second & 0x80 == 0
            || opcode.is_control() && (!fin || usize::from(short) > MAX_CONTROL)
            || deflated && !opcode.begins_message()
        {
            return Err(BROKEN);
        }
        let width = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some((long, rest)) = rest.split_at_checked(width) else { return Ok(None) };
        let Some(mask) = rest.first_chunk::<4>() else { return Ok(None) };
        let long = long.iter().fold(0, |len, byte| len << 8 | u64::from(*byte));
        let len = match short {
            // RFC 6455, 5.2: the shortest format must be used, and the top bit is zero.
            126 if long < 126 => return Err(BROKEN),
            127 if long <= 0xFFFF || long >> 63 != 0 => return Err(BROKEN),
            126 | 127 => long,
            _ => short.into(),
        };
        Ok(Some((Self { fin, opcode, deflated, len, mask: *mask }, 2 + width + 4)))
    }
}

/// Removes (or applies) the mask, which goes on after `done` bytes of the same payload.
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4], done: u64) {
    let turn = (done % 4) as usize;
    let mask = [mask[turn], mask[(turn + 1) % 4], mask[(turn + 2) % 4], mask[(turn + 3) % 4]];
    let wide = u64::from_ne_bytes([
        mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3],
    ]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

/// The same of any kind.
pub(super) fn data(opcode: Opcode, payload: &[u8]) -> Bytes {
    frame(opcode.bits(), payload)
}

/// A whole message as one frame, with a payload that is compressed.
pub(super) fn deflated(opcode: Opcode, payload: &[u8]) -> Bytes {
    frame(RSV1 | opcode.bits(), payload)
}

/// The header alone of a message whose payload is shared with others.
pub(super) fn header(opcode: Opcode, deflated: bool, payload: usize) -> Bytes {
    let mut out = BytesMut::with_capacity(10);
    put_header(&mut out, if deflated { RSV1 } else { 0 } | opcode.bits(), payload);
    out.freeze()
}

/// A ping without a payload.
pub(super) const PING: Bytes = Bytes::from_static(&[0x89, 0]);

/// A control frame with a payload.
pub(super) fn control(opcode: Opcode, payload: &[u8]) -> Bytes {
    debug_assert!(opcode.is_control() && payload.len() <= MAX_CONTROL);
    data(opcode, payload)
}

/// A close frame with a code and its reason.
pub(super) fn close(code: CloseCode) -> Bytes {
    let mut payload = Vec::with_capacity(2 + code.reason().len());
    payload.extend_from_slice(&code.number().to_be_bytes());
    payload.extend_from_slice(code.reason().as_bytes());
    data(Opcode::Close, &payload)
}

/// What carries the messages of an encoding.
pub(super) fn opcode(encoding: Encoding) -> Opcode {
    match encoding {
        Encoding::Msgpack => Opcode::Binary,
        Encoding::Json => Opcode::Text,
    }
}

fn frame(first: u8, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(10 + payload.len());
    put_header(&mut out, first, payload.len());
    out.put_slice(payload);
    out.freeze()
}

fn put_header(out: &mut BytesMut, first: u8, len: usize) {
    out.put_u8(0x80 | first);
    match len {
        len @ 0..=125 => out.put_u8(len as u8),
        len @ 126..=0xFFFF => {
            out.put_u8(126);
            out.put_u16(len as u16);
        }
        len => {
            out.put_u8(127);
            out.put_u64(len as u64);
        }
    }
}

/// Whether a peer may send this close code: RFC 6455, section 7.4, and the IANA registry.
pub(super) fn is_valid_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
