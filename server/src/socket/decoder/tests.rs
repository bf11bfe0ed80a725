//! The codec against tungstenite's: what its client sends we read, however it is cut up, and what we send it reads.

use std::io::Cursor;

use proptest::prelude::*;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocket};

use super::fuzz::Got;
use super::*;
use crate::socket::frame;

/// What a client sends: a message in fragments, or a control frame.
#[derive(Debug, Clone)]
enum Sent {
    Text(String, Vec<usize>),
    Binary(Vec<u8>, Vec<usize>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

fn sent() -> impl Strategy<Value = Sent> {
    let cuts = || prop::collection::vec(0..400_usize, 0..4);
    let bytes = || prop::collection::vec(any::<u8>(), 0..400);
    prop_oneof![
        (".{0,200}", cuts()).prop_map(|(text, cuts)| Sent::Text(text, cuts)),
        (bytes(), cuts()).prop_map(|(bytes, cuts)| Sent::Binary(bytes, cuts)),
        (prop::collection::vec(any::<u8>(), 65_500..65_600), cuts())
            .prop_map(|(bytes, cuts)| Sent::Binary(bytes, cuts)),
        prop::collection::vec(any::<u8>(), 0..125).prop_map(Sent::Ping),
        prop::collection::vec(any::<u8>(), 0..125).prop_map(Sent::Pong),
    ]
}

fn masked(opcode: OpCode, fin: bool, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    let header = FrameHeader { is_final: fin, opcode, mask: Some(mask), ..FrameHeader::default() };
    Frame::from_payload(header, payload.to_vec().into()).format(out).unwrap();
}

fn fragments(kind: Data, payload: &[u8], cuts: &[usize], mask: [u8; 4], out: &mut Vec<u8>) {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (payload.len() + 1)).collect();
    cuts.sort_unstable();
    let (mut from, mut kind) = (0, kind);
    for cut in cuts {
        masked(OpCode::Data(kind), false, &payload[from..cut], mask, out);
        // A control frame may stand between any two fragments.
        masked(OpCode::Control(Control::Ping), true, b"between", mask, out);
        (from, kind) = (cut, Data::Continue);
    }
    masked(OpCode::Data(kind), true, &payload[from..], mask, out);
}

fn between(cuts: &[usize]) -> impl Iterator<Item = Got> + use<> {
    (0..cuts.len()).map(|_| Got::Ping(b"between".into()))
}

/// The bytes of a client, and what they mean.
fn written(all: &[Sent], mask: [u8; 4]) -> (Vec<u8>, Vec<Got>) {
    let (mut bytes, mut meaning) = (Vec::new(), Vec::new());
    for sent in all {
        match sent {
            Sent::Text(text, cuts) => {
                fragments(Data::Text, text.as_bytes(), cuts, mask, &mut bytes);
                meaning.extend(between(cuts));
                meaning.push(Got::Text(text.clone()));
            }
            Sent::Binary(payload, cuts) => {
                fragments(Data::Binary, payload, cuts, mask, &mut bytes);
                meaning.extend(between(cuts));
                meaning.push(Got::Binary(payload.clone()));
            }
            Sent::Ping(payload) => {
                masked(OpCode::Control(Control::Ping), true, payload, mask, &mut bytes);
                meaning.push(Got::Ping(payload.clone()));
            }
            Sent::Pong(payload) => {
                masked(OpCode::Control(Control::Pong), true, payload, mask, &mut bytes);
                meaning.push(Got::Pong);
            }
        }
    }
    (bytes, meaning)
}

fn decode(bytes: &[u8], sizes: &[usize], limit: usize) -> Result<Vec<Got>, Violation> {
    let (got, end) = fuzz::decode(bytes, sizes, limit, false);
    end.map(|()| got)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_tungstenite_sends_is_read_however_it_is_cut(
        all in prop::collection::vec(sent(), 1..8),
        mask in any::<[u8; 4]>(),
        sizes in prop::collection::vec(1..5_000_usize, 1..6),
    ) {
        let (bytes, meaning) = written(&all, mask);
        prop_assert_eq!(decode(&bytes, &sizes, 100_000).unwrap(), meaning);
    }

    #[test]
    fn one_byte_at_a_time_is_enough(text in ".{0,40}", cuts in prop::collection::vec(0..40_usize, 0..3), mask in any::<[u8; 4]>()) {
        let (bytes, meaning) = written(&[Sent::Text(text, cuts)], mask);
        prop_assert_eq!(decode(&bytes, &[1], 1_000).unwrap(), meaning);
    }

    #[test]
    fn what_is_sent_is_read_by_tungstenite(payload in prop::collection::vec(any::<u8>(), 0..70_000)) {
        let mut wire = frame::data(Opcode::Binary, &payload).to_vec();
        wire.extend_from_slice(&frame::control(Opcode::Ping, b"x"));
        wire.extend_from_slice(&frame::close(CloseCode::GoingAway));
        let mut client = WebSocket::from_raw_socket(Cursor::new(wire), Role::Client, None);
        prop_assert_eq!(client.read().unwrap(), Message::Binary(payload.into()));
        prop_assert_eq!(client.read().unwrap(), Message::Ping(b"x".as_slice().into()));
        let Message::Close(Some(close)) = client.read().unwrap() else { panic!("a close frame") };
        prop_assert_eq!((u16::from(close.code), close.reason.as_str()), (3000, "going_away"));
    }
}

fn close_of(bytes: &[u8]) -> CloseCode {
    decode(bytes, &[bytes.len()], 100).expect_err("a violation").0
}

#[test]
fn broken_rules_are_told_apart() {
    const MASK: [u8; 4] = [0; 4];
    let with = |first: u8, second: u8, rest: &[u8]| [&[first, second], rest].concat();
    let violations: &[(&str, Vec<u8>, CloseCode)] = &[
        ("not masked", with(0x81, 0x01, b"a"), CloseCode::ProtocolError),
        ("a reserved bit", with(0xC1, 0x80, &MASK), CloseCode::ProtocolError),
        ("a reserved opcode", with(0x83, 0x80, &MASK), CloseCode::ProtocolError),
        ("a reserved control opcode", with(0x8B, 0x80, &MASK), CloseCode::ProtocolError),
        ("a ping in fragments", with(0x09, 0x80, &MASK), CloseCode::ProtocolError),
        ("a long ping", with(0x89, 0xFE, &[0, 126, 0, 0, 0, 0]), CloseCode::ProtocolError),
        (
            "a length longer than needed",
            with(0x82, 0xFE, &[0, 5, 0, 0, 0, 0]),
            CloseCode::ProtocolError,
        ),
        ("a top bit in the length", with(0x82, 0xFF, &[0xFF; 12]), CloseCode::ProtocolError),
        ("a continuation of nothing", with(0x80, 0x80, &MASK), CloseCode::ProtocolError),
        (
            "a message within a message",
            with(0x01, 0x80, &[0, 0, 0, 0, 0x81, 0x80, 0, 0, 0, 0]),
            CloseCode::ProtocolError,
        ),
        (
            "a claim of gigabytes",
            with(0x82, 0xFF, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
            CloseCode::TooLarge,
        ),
        ("text that is not UTF-8", with(0x81, 0x81, &[0, 0, 0, 0, 0xFF]), CloseCode::InvalidUtf8),
        ("a close of one byte", with(0x88, 0x81, &[0, 0, 0, 0, 3]), CloseCode::ProtocolError),
        (
            "a close code that is not sent",
            with(0x88, 0x82, &[0, 0, 0, 0, 0x03, 0xED]),
            CloseCode::ProtocolError,
        ),
        (
            "a reason that is not UTF-8",
            with(0x88, 0x83, &[0, 0, 0, 0, 0x03, 0xE8, 0xFF]),
            CloseCode::InvalidUtf8,
        ),
    ];
    for (what, bytes, code) in violations {
        assert_eq!(close_of(bytes), *code, "{what}");
    }
}

#[test]
fn the_limit_holds_over_all_fragments() {
    let mut bytes = Vec::new();
    fragments(Data::Binary, &[7; 101], &[50], [1, 2, 3, 4], &mut bytes);
    assert_eq!(close_of(&bytes), CloseCode::TooLarge);
    let mut bytes = Vec::new();
    fragments(Data::Binary, &[7; 100], &[50], [1, 2, 3, 4], &mut bytes);
    assert_eq!(decode(&bytes, &[1_000], 100).unwrap().len(), 2);
}

#[test]
fn a_character_may_be_cut_by_a_fragment() {
    let mut bytes = Vec::new();
    fragments(Data::Text, "ä".as_bytes(), &[1], [9; 4], &mut bytes);
    assert_eq!(decode(&bytes, &[3], 100).unwrap()[1], Got::Text("ä".into()));
}
