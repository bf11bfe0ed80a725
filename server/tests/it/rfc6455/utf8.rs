//! Section 6: text is UTF-8, and what is not is refused as soon as that can be told.

use super::case::{Back, Case, PING, TEXT, begun, fragments, whole};
use crate::raw::frame;

const BAD_TEXT: &[u16] = &[1007];
/// Greek letters of two and three bytes.
const GREEK: &[u8] = b"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5";
const MIXED: &str = "Hello-µ@ßöäüàá-UTF-8!!";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = empty_fragments();
    cases.extend(cut());
    cases.extend(invalid_in_pieces());
    cases.extend(at_once());
    for (group, sequences) in (5..).zip(sequences()) {
        for (number, (is_valid, payload)) in (1..).zip(sequences) {
            let case = Case::new(format!("6.{group}.{number}")).send(whole(TEXT, &payload));
            cases.push(if is_valid {
                case.back(Back::text(&payload))
            } else {
                case.fails(BAD_TEXT)
            });
        }
    }
    cases
}

fn empty_fragments() -> Vec<Case> {
    let three = |middle: &[u8]| [begun(TEXT, b""), begun(0, middle), whole(0, b"")];
    let middle: &[u8] = b"middle frame payload";
    vec![
        Case::new("6.1.1").send(whole(TEXT, b"")).back(Back::text(b"")),
        Case::new("6.1.2").frame_wise(three(b"")).back(Back::text(b"")),
        Case::new("6.1.3").frame_wise(three(middle)).back(Back::text(middle)),
    ]
}

/// Between characters and within them.
fn cut() -> Vec<Case> {
    let mixed = MIXED.as_bytes();
    let (first, second) = mixed.split_at(MIXED.find('ü').unwrap());
    let two = [begun(TEXT, first), whole(0, second)];
    let octets = |payload| fragments(TEXT, payload, 1);
    vec![
        Case::new("6.2.1").send(whole(TEXT, mixed)).back(Back::text(mixed)),
        Case::new("6.2.2").frame_wise(two).back(Back::text(mixed)),
        Case::new("6.2.3").frame_wise(octets(mixed)).back(Back::text(mixed)),
        Case::new("6.2.4").frame_wise(octets(GREEK)).back(Back::text(GREEK)),
    ]
}

fn invalid_in_pieces() -> Vec<Case> {
    let payload = [GREEK, b"\xED\xA0\x80edited"].concat();
    vec![
        Case::new("6.3.1").send(whole(TEXT, &payload)).fails(BAD_TEXT),
        Case::new("6.3.2").frame_wise(fragments(TEXT, &payload, 1)).fails(BAD_TEXT),
    ]
}

/// What is wrong is refused before the rest of the message has been sent, which it never is here.
fn at_once() -> Vec<Case> {
    let payload = [GREEK, b"\xF4\x90\x80\x80edited"].concat();
    // All of the impossible character, and its beginning up to where it shows.
    let cuts = [(11, 15), (12, 13)];
    let mut cases = Vec::new();
    for (id, (first, second)) in ["6.4.1", "6.4.2"].into_iter().zip(cuts) {
        cases.push(
            Case::new(id)
                .frame_wise([begun(TEXT, &payload[..first]), whole(PING, b"")])
                .wait(Back::pong(b""))
                .send(begun(0, &payload[first..second]))
                .fails(BAD_TEXT),
        );
    }
    for (id, (first, second)) in ["6.4.3", "6.4.4"].into_iter().zip(cuts) {
        let bytes = frame(0x81, &payload);
        let header = bytes.len() - payload.len();
        cases.push(
            Case::new(id)
                .send(&bytes[..header + first])
                .send(&bytes[header + first..header + second])
                .fails(BAD_TEXT),
        );
    }
    cases
}

type Sequence = (bool, Vec<u8>);

/// Groups 6.5 to 6.23, after Markus Kuhn's stress test for decoders: the sequences, and whether each is UTF-8.
fn sequences() -> Vec<Vec<Sequence>> {
    let all = |is_valid: bool, list: &[&[u8]]| -> Vec<Sequence> {
        list.iter().map(|bytes| (is_valid, bytes.to_vec())).collect()
    };
    let valid = |list| all(true, list);
    let invalid = |list| all(false, list);
    let prefixes = (1..=GREEK.len()).map(|end| {
        let prefix = &GREEK[..end];
        ([2, 5, 7, 9, 11].contains(&end), prefix.to_vec())
    });
    let incomplete: &[&[u8]] = &[
        b"\xC0",
        b"\xE0\x80",
        b"\xF0\x80\x80",
        b"\xF8\x80\x80\x80",
        b"\xFC\x80\x80\x80\x80",
        b"\xDF",
        b"\xEF\xBF",
        b"\xF7\xBF\xBF",
        b"\xFB\xBF\xBF\xBF",
        b"\xFD\xBF\xBF\xBF\xBF",
    ];
    let continuations = (1..=6).map(|len| [0x80, 0xBF].repeat(3)[..len].to_vec());
    let mut unexpected = invalid(&[b"\x80", b"\xBF"]);
    unexpected.extend(continuations.skip(1).map(|bytes| (false, bytes)));
    unexpected.push((false, (0x80..0xBF).collect()));
    let lonely = [0xC0..0xDF_u8, 0xE0..0xEF, 0xF0..0xF7, 0xF8..0xFB, 0xFC..0xFD];
    let lonely =
        lonely.map(|starts| (false, starts.flat_map(|start| [start, b' ']).collect::<Vec<_>>()));
    let mut boundaries =
        valid(&[b"\xED\x9F\xBF", b"\xEE\x80\x80", b"\xEF\xBF\xBD", b"\xF4\x8F\xBF\xBF"]);
    boundaries.extend(invalid(&[b"\xF4\x90\x80\x80"]));
    vec![
        valid(&[
            b"hello$world",
            b"hello\xC2\xA2world",
            b"hello\xE2\x82\xACworld",
            b"hello\xF0\xA4\xAD\xA2world",
            GREEK,
        ]),
        prefixes.collect(),
        valid(&[b"\x00", b"\xC2\x80", b"\xE0\xA0\x80", b"\xF0\x90\x80\x80"]),
        invalid(&[b"\xF8\x88\x80\x80\x80", b"\xFC\x84\x80\x80\x80\x80"]),
        valid(&[b"\x7F", b"\xDF\xBF", b"\xEF\xBF\xBF", b"\xF4\x8F\xBF\xBF"]),
        invalid(&[b"\xF7\xBF\xBF\xBF", b"\xFB\xBF\xBF\xBF\xBF", b"\xFD\xBF\xBF\xBF\xBF\xBF"]),
        boundaries,
        unexpected,
        lonely.into(),
        invalid(incomplete),
        invalid(&[&incomplete.concat()]),
        invalid(&[b"\xFE", b"\xFF", b"\xFE\xFE\xFF\xFF"]),
        // Characters in more bytes than they need, for which the last rows want five and six.
        overlong([0xC0, 0xE0, 0xF0, 0xF8, 0xFC], 0x80, 0xAF),
        invalid(&[
            b"\xC1\xBF",
            b"\xE0\x9F\xBF",
            b"\xF0\x8F\xBF\xBF",
            b"\xF8\x87\xBF\xBF\xBF",
            b"\xFC\x83\xBF\xBF\xBF\xBF",
        ]),
        overlong([0xC0, 0xE0, 0xF0, 0xF8, 0xFC], 0x80, 0x80),
        surrogates(),
        surrogate_pairs(),
        non_characters(),
        (0xB9..=0xBF).map(|last| (true, vec![0xEF, 0xBF, last])).collect(),
    ]
}

fn overlong(starts: [u8; 5], fill: u8, last: u8) -> Vec<Sequence> {
    let sequence = |(fills, start)| {
        let mut bytes = vec![start];
        bytes.extend(vec![fill; fills]);
        bytes.push(last);
        (false, bytes)
    };
    (0..).zip(starts).map(sequence).collect()
}

fn surrogates() -> Vec<Sequence> {
    let ends: [[u8; 2]; 7] = [
        [0xA0, 0x80],
        [0xAD, 0xBF],
        [0xAE, 0x80],
        [0xAF, 0xBF],
        [0xB0, 0x80],
        [0xBE, 0x80],
        [0xBF, 0xBF],
    ];
    ends.iter().map(|[a, b]| (false, vec![0xED, *a, *b])).collect()
}

fn surrogate_pairs() -> Vec<Sequence> {
    let mut pairs = Vec::new();
    for high in [[0xA0, 0x80], [0xAD, 0xBF], [0xAE, 0x80], [0xAF, 0xBF]] {
        for low in [[0xB0, 0x80], [0xBF, 0xBF]] {
            pairs.push((false, vec![0xED, high[0], high[1], 0xED, low[0], low[1]]));
        }
    }
    pairs
}

/// The last two code points of each plane: no characters, and valid all the same.
fn non_characters() -> Vec<Sequence> {
    let planes = (0..=16_u32).flat_map(|plane| [plane << 16 | 0xFFFE, plane << 16 | 0xFFFF]);
    let encoded = planes.map(|point| char::from_u32(point).unwrap().to_string().into_bytes());
    encoded.map(|bytes| (true, bytes)).collect()
}
