//! Sections 12 and 13: compressed messages of many kinds and sizes, and the parameters of compression.
//!
//! The suite sends a thousand messages a case, of files of its own; here it is as many as make 256 KiB, of data made alike.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::case::{BINARY, CLOSE, TEXT, close_frame, fragments};
use super::data::Data;
use super::runner::{Echo, Received, echo_server};
use crate::raw::frame;

const CASE_BYTES: usize = 256 << 10;
const MAX_BYTES: usize = 128 << 10;
const MESSAGES: usize = 1_000;
const TAIL: &[u8] = &[0x00, 0x00, 0xFF, 0xFF];
/// Sizes of messages, and of the frames that they are sent in; 0 is a single one.
const SIZES: [(usize, usize); 18] = [
    (16, 0),
    (64, 0),
    (256, 0),
    (1_024, 0),
    (4_096, 0),
    (8_192, 0),
    (16_384, 0),
    (32_768, 0),
    (65_536, 0),
    (131_072, 0),
    (8_192, 256),
    (16_384, 256),
    (32_768, 256),
    (65_536, 256),
    (131_072, 256),
    (131_072, 1_024),
    (131_072, 4_096),
    (131_072, 32_768),
];

const ANSWER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
const ANSWER_12: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                         server_max_window_bits=12";

/// What clients offer, and the answer; without one the extension is declined, and messages are sent as they are.
const OFFERS: [(&str, Option<&str>); 7] = [
    ("permessage-deflate; client_no_context_takeover; client_max_window_bits", Some(ANSWER)),
    (
        "permessage-deflate; client_no_context_takeover; client_max_window_bits; \
         server_no_context_takeover",
        Some(ANSWER),
    ),
    (
        "permessage-deflate; client_no_context_takeover; client_max_window_bits; \
         server_max_window_bits=8",
        None,
    ),
    (
        "permessage-deflate; client_no_context_takeover; client_max_window_bits; \
         server_max_window_bits=15",
        Some(ANSWER_12),
    ),
    (
        "permessage-deflate; client_no_context_takeover; client_max_window_bits; \
         server_no_context_takeover; server_max_window_bits=8",
        None,
    ),
    (
        "permessage-deflate; client_no_context_takeover; client_max_window_bits; \
         server_no_context_takeover; server_max_window_bits=15",
        Some(ANSWER_12),
    ),
    (
        "permessage-deflate; client_no_context_takeover; client_max_window_bits; \
         server_no_context_takeover; server_max_window_bits=8, \
         permessage-deflate; client_no_context_takeover; client_max_window_bits; \
         server_no_context_takeover, \
         permessage-deflate; client_no_context_takeover; client_max_window_bits",
        Some(ANSWER),
    ),
];

pub(super) struct CompressionCase {
    pub(super) id: String,
    section: usize,
    kind: Data,
    size: usize,
    fragment: usize,
    offer: &'static str,
    answer: Option<&'static str>,
}

pub(super) fn sections() -> Vec<CompressionCase> {
    let of_data = (1..).zip(Data::ALL).map(|(group, data)| (12, group, data, OFFERS[0]));
    let of_offers = (1..).zip(OFFERS).map(|(group, offer)| (13, group, Data::Json, offer));
    let mut cases = Vec::new();
    for (section, group, data, (offer, answer)) in of_data.chain(of_offers) {
        for (number, (size, fragment)) in (1..).zip(SIZES) {
            let id = format!("{section}.{group}.{number}");
            cases.push(CompressionCase { id, section, kind: data, size, fragment, offer, answer });
        }
    }
    cases
}

pub(super) async fn play_section(section: usize) {
    let server = echo_server(true).await;
    let data: Vec<Vec<u8>> = Data::ALL.map(|data| data.bytes(CASE_BYTES + MAX_BYTES)).into();
    for case in sections().into_iter().filter(|case| case.section == section) {
        let CompressionCase { id, kind, size, fragment, offer, answer, .. } = case;
        println!("{id}");
        let headers = format!("Sec-WebSocket-Extensions: {offer}\r\n");
        let mut echo = Echo::connect(server.address, &headers).await;
        assert_eq!(echo.extensions.as_deref(), answer);
        let opcode = if kind.is_text() { TEXT } else { BINARY };
        let bytes = &data[kind as usize];
        let count = (CASE_BYTES / size).clamp(2, MESSAGES);
        let mut compressed = 0;
        for index in 0..count {
            let message = &bytes[index * size % CASE_BYTES..][..size];
            echo.send(&in_frames(opcode, message, fragment, answer.is_some())).await;
            let Received { rsv, back } = echo.receive().await.unwrap();
            assert_eq!(back.opcode, opcode);
            let came = match (rsv, answer) {
                (0, _) => back.payload,
                (4, Some(_)) => {
                    compressed += 1;
                    inflated(&back.payload)
                }
                _ => panic!("reserved bits {rsv}"),
            };
            assert!(came == message, "message {index} has come back changed");
        }
        let shrinks = size >= 256 && kind.shrinks() && answer.is_some();
        assert_eq!(compressed, if shrinks { count } else { 0 }, "compressed messages");
        echo.send(&close_frame(1000, b"")).await;
        let close = echo.receive().await.unwrap().back;
        assert_eq!((close.opcode, &close.payload[..2]), (CLOSE, &1000_u16.to_be_bytes()[..]));
        assert!(echo.receive().await.is_none());
    }
}

/// A message in frames of at most `size` bytes, in one where that is 0.
fn in_frames(opcode: u8, message: &[u8], size: usize, is_deflated: bool) -> Vec<u8> {
    let payload = if is_deflated { deflated(message) } else { message.into() };
    let size = if size == 0 { payload.len() } else { size };
    let mut bytes = fragments(opcode, &payload, size).concat();
    if is_deflated {
        bytes[0] |= 0x40;
    }
    bytes
}

/// A message, compressed as a client does, in the largest window.
pub(super) fn deflated(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 8 + 100);
    let mut compress = Compress::new(Compression::default(), false);
    compress.compress_vec(message, &mut out, FlushCompress::Sync).unwrap();
    assert_eq!(compress.total_in() as usize, message.len());
    out.strip_suffix(TAIL).unwrap().into()
}

/// A whole message in one compressed frame.
pub(super) fn deflated_frame(opcode: u8, message: &[u8]) -> Vec<u8> {
    frame(0xC0 | opcode, &deflated(message))
}

/// What the server has compressed, read within no more than the window that it promises, and with nothing left of a message
/// before.
pub(super) fn inflated(payload: &[u8]) -> Vec<u8> {
    let mut decompress = Decompress::new_with_window_bits(false, 12);
    let mut out = Vec::new();
    for mut input in [payload, TAIL] {
        while !input.is_empty() || out.len() == out.capacity() {
            out.reserve(4096);
            let before = decompress.total_in();
            decompress.decompress_vec(input, &mut out, FlushDecompress::Sync).unwrap();
            input = &input[(decompress.total_in() - before) as usize..];
        }
    }
    out
}
