//! WebSocket frames (RFC 6455, section 5): those of a server are read in place, those of a client appended to a buffer.

use anyhow::{Result, bail, ensure};

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    /// UTF-8.
    Text,
    /// Bytes.
    Binary,
    /// The end.
    Close,
    /// A question for a sign of life.
    Ping,
    /// The answer.
    Pong,
}

/// A whole frame of a server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// What it is.
    pub(crate) opcode: Opcode,
    /// What it carries.
    pub(crate) payload: &'a [u8],
}

/// Larger than any frame that a server has reason to send.
const FRAME_BYTES_MAX: u64 = 16 << 20;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
/// The payload's length follows in 2 bytes.
const LENGTH_16: u8 = 126;
/// The payload's length follows in 8 bytes.
const LENGTH_64: u8 = 127;
/// The mask's key. Zero is as valid as any other and leaves the payload as it is; keys must only be unpredictable
/// where a page that is not trusted chooses the payload (section 10.3).
const KEY: [u8; 4] = [0; 4];
/// What [`write`] leaves free in front of a payload: the longest header for up to 64 KiB.
const HEADER_BYTES: usize = 4 + KEY.len();

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            1 => Some(Self::Text),
            2 => Some(Self::Binary),
            8 => Some(Self::Close),
            9 => Some(Self::Ping),
            10 => Some(Self::Pong),
            _ => None,
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }
}

/// Reads the frame with which the input begins, and tells where the next one does. None if the frame is cut. Messages in fragments
/// are not read: no server here sends them.
pub(crate) fn read(input: &[u8]) -> Result<Option<(Frame<'_>, usize)>> {
    let [first, second, rest @ ..] = input else { return Ok(None) };
    let (start, length) = match *second {
        LENGTH_16 => match rest.first_chunk() {
            Some(length) => (4, u64::from(u16::from_be_bytes(*length))),
            None => return Ok(None),
        },
        LENGTH_64 => match rest.first_chunk() {
            Some(length) => (10, u64::from_be_bytes(*length)),
            None => return Ok(None),
        },
        length => (2, u64::from(length)),
    };
    ensure!(second & MASKED == 0, "the server masks its frames");
    ensure!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes");
    let Some(opcode) = Opcode::from_bits(first & !FINAL).filter(|_| first & FINAL != 0) else {
        bail!(
            "a frame that begins with {first:#04x}: a fragment, an extension, or no frame at all"
        );
    };
    let end = start + length as usize;
    Ok(input.get(start..end).map(|payload| (Frame { opcode, payload }, end)))
}

/// Appends a frame whose payload the closure appends, of up to 64 KiB.
pub(crate) fn write(out: &mut Vec<u8>, opcode: Opcode, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.resize(start + HEADER_BYTES, 0);
    payload(out);
    let length = out.len() - start - HEADER_BYTES;
    out[start] = FINAL | opcode.bits();
    if length < usize::from(LENGTH_16) {
        // The length has to stand in as few bytes as it can.
        out[start + 1] = MASKED | length as u8;
        out[start + 2..start + 6].copy_from_slice(&KEY);
        out.copy_within(start + HEADER_BYTES.., start + 6);
        out.truncate(start + 6 + length);
    } else {
        let length = u16::try_from(length).expect("what a load generator sends is small");
        out[start + 1] = MASKED | LENGTH_16;
        out[start + 2..start + 4].copy_from_slice(&length.to_be_bytes());
        out[start + 4..start + HEADER_BYTES].copy_from_slice(&KEY);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
    use tokio_tungstenite::tungstenite::protocol::frame::{Frame as TheirFrame, FrameHeader};

    use super::*;

    const OPCODES: [(Opcode, OpCode); 5] = [
        (Opcode::Text, OpCode::Data(Data::Text)),
        (Opcode::Binary, OpCode::Data(Data::Binary)),
        (Opcode::Close, OpCode::Control(Control::Close)),
        (Opcode::Ping, OpCode::Control(Control::Ping)),
        (Opcode::Pong, OpCode::Control(Control::Pong)),
    ];

    fn of_server(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = FrameHeader { opcode, ..FrameHeader::default() };
        TheirFrame::from_payload(header, payload.to_vec().into()).format(&mut bytes).unwrap();
        bytes
    }

    fn opcodes() -> impl Strategy<Value = (Opcode, OpCode)> {
        prop::sample::select(OPCODES.to_vec())
    }

    fn lengths() -> impl Strategy<Value = usize> {
        prop_oneof![0_usize..300, 65_500_usize..65_600, Just(125), Just(126)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_others_write_is_read((ours, theirs) in opcodes(), length in lengths(), cut: prop::sample::Index) {
            let payload = vec![b'x'; length];
            let mut bytes = of_server(theirs, &payload);
            let frame = Frame { opcode: ours, payload: &payload };
            let whole = bytes.len();
            let cut = cut.index(whole);
            prop_assert_eq!(read(&bytes[..cut]).unwrap(), None);
            bytes.extend(b"what follows");
            prop_assert_eq!(read(&bytes).unwrap(), Some((frame, whole)));
        }

        #[test]
        fn what_is_written_others_read((ours, theirs) in opcodes(), length in 0_usize..65_536) {
            let payload = vec![b'x'; length];
            let mut bytes = b"before".to_vec();
            write(&mut bytes, ours, |out| out.extend_from_slice(&payload));
            let mut cursor = Cursor::new(&bytes[6..]);
            let (header, their_length) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
            prop_assert_eq!((header.is_final, header.opcode, header.mask), (true, theirs, Some(KEY)));
            prop_assert_eq!(their_length, length as u64);
            prop_assert_eq!(&bytes[6 + cursor.position() as usize..], &payload[..]);
        }
    }

    #[test]
    fn what_is_no_frame_of_a_server_is_an_error() {
        for bad in [
            &[0x01, 0x00][..],                       // not final
            &[0x80, 0x00],                           // continues another
            &[0xc1, 0x00],                           // compressed
            &[0x83, 0x00],                           // no such opcode
            &[0x82, 0x80],                           // masked
            &[0x82, 127, 0, 0, 0, 0, 0x40, 0, 0, 0], // a gigabyte
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
