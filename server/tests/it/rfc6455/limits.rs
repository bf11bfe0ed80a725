//! Sections 9 and 10: messages of up to 16 MiB, in frames and writes of many sizes, and a thousand one after another.

use super::case::{BINARY, Back, Case, TEXT, fragments as in_fragments, whole};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const MESSAGES: usize = 1_000;

fn patterned(size: usize) -> Vec<u8> {
    let mut bytes = b"BAsd7&jh23".repeat(size / 10 + 1);
    bytes.truncate(size);
    bytes
}

/// 9.1 and 9.2.
pub(super) fn messages() -> Vec<Case> {
    let sizes = [64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB];
    let case = |group, opcode, number, size| {
        let payload = patterned(size);
        let case = Case::new(format!("{group}.{number}"));
        case.send(whole(opcode, &payload)).echoes(opcode, &payload)
    };
    each(&sizes, ["9.1", "9.2"], case)
}

/// 9.3 and 9.4.
pub(super) fn fragments() -> Vec<Case> {
    let sizes = [64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB];
    let payload = vec![b'*'; 4 * MIB];
    let case = |group, opcode, number, size| {
        let case = Case::new(format!("{group}.{number}"));
        case.at_once(in_fragments(opcode, &payload, size)).echoes(opcode, &payload)
    };
    each(&sizes, ["9.3", "9.4"], case)
}

/// 9.5 to 9.8.
pub(super) fn chops_and_round_trips() -> Vec<Case> {
    let payload = patterned(MIB);
    let chopped = |group, opcode, number, size| {
        let case = Case::new(format!("{group}.{number}"));
        case.chopped(size, [whole(opcode, &payload)]).echoes(opcode, &payload)
    };
    let round_trips = |group, opcode, number, size| {
        let payload = vec![if opcode == TEXT { b'*' } else { 0xFE }; size];
        let frame = whole(opcode, &payload);
        let back = Back { opcode, payload };
        let once = |case: Case, _| case.send(frame.clone()).wait(back.clone());
        (0..MESSAGES).fold(Case::new(format!("{group}.{number}")), once)
    };
    let mut cases = each(&[64, 128, 256, 512, 1_024, 2_048], ["9.5", "9.6"], chopped);
    cases.extend(each(&[0, 16, 64, 256, 1_024, 4_096], ["9.7", "9.8"], round_trips));
    cases
}

/// Section 10.
pub(super) fn auto_fragmentation() -> Vec<Case> {
    let payload = vec![b'*'; 65_536];
    let frames = in_fragments(TEXT, &payload, 1_300);
    assert_eq!(frames.len(), 51);
    vec![Case::new("10.1.1").frame_wise(frames).back(Back::text(&payload))]
}

/// A group for text, and one for bytes.
fn each(
    sizes: &[usize],
    groups: [&'static str; 2],
    case: impl Fn(&'static str, u8, usize, usize) -> Case,
) -> Vec<Case> {
    let both = groups.into_iter().zip([TEXT, BINARY]);
    let numbered = |(group, opcode)| {
        let case = &case;
        (1..).zip(sizes).map(move |(number, size)| case(group, opcode, number, *size))
    };
    both.flat_map(numbered).collect()
}
