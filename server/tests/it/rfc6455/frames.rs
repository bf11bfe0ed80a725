//! Sections 1 to 4: framing, pings and pongs, reserved bits, opcodes.

use super::case::{BINARY, Back, CLOSE, Case, PING, PONG, TEXT, reserved, whole};

const HELLO: &[u8] = b"Hello, world!";
const NOT_TEXT: &[u8] = b"\x00\xFF\xFE\xFD\xFC\xFB\x00\xFF";
const BROKEN: &[u16] = &[1002];

/// Section 1.
pub(super) fn messages() -> Vec<Case> {
    const SIZES: [usize; 7] = [0, 125, 126, 127, 128, 65_535, 65_536];
    let mut cases = Vec::new();
    for (group, opcode, byte) in [("1.1", TEXT, b'*'), ("1.2", BINARY, 0xFE)] {
        for (index, size) in SIZES.into_iter().enumerate() {
            let payload = vec![byte; size];
            let case = Case::new(format!("{group}.{}", index + 1));
            cases.push(case.send(whole(opcode, &payload)).echoes(opcode, &payload));
        }
        let payload = vec![byte; 65_536];
        let case = Case::new(format!("{group}.8")).chopped(997, [whole(opcode, &payload)]);
        cases.push(case.echoes(opcode, &payload));
    }
    cases
}

/// Section 2.
pub(super) fn pings() -> Vec<Case> {
    let long = [0xFE; 125];
    let pong = |id: &str, payload: &[u8]| {
        Case::new(id).send(whole(PING, payload)).back(Back::pong(payload))
    };
    let payloads = || (0..10).map(|number| format!("payload-{number}").into_bytes());
    let many = |case: Case| payloads().fold(case, |case, payload| case.back(Back::pong(&payload)));
    let ten = || payloads().map(|payload| whole(PING, &payload));
    let unasked: &[u8] = b"unsolicited pong payload";
    vec![
        pong("2.1", b""),
        pong("2.2", HELLO),
        pong("2.3", NOT_TEXT),
        pong("2.4", &long),
        Case::new("2.5").send(whole(PING, &[0xFE; 126])).fails(BROKEN),
        Case::new("2.6").chopped(1, [whole(PING, &long)]).back(Back::pong(&long)),
        Case::new("2.7").send(whole(PONG, b"")),
        Case::new("2.8").send(whole(PONG, unasked)),
        Case::new("2.9")
            .frame_wise([whole(PONG, unasked), whole(PING, b"ping payload")])
            .back(Back::pong(b"ping payload")),
        many(Case::new("2.10").frame_wise(ten())),
        many(Case::new("2.11").chopped(1, ten())),
    ]
}

/// Section 3.
pub(super) fn reserved_bits() -> Vec<Case> {
    let frames = |rsv| [whole(TEXT, HELLO), reserved(rsv, TEXT, HELLO), whole(PING, b"")];
    let hello = Back::text(HELLO);
    let cases = [
        Case::new("3.1").send(reserved(1, TEXT, HELLO)),
        Case::new("3.2").at_once(frames(2)).back(hello.clone()),
        Case::new("3.3").frame_wise(frames(3)).back(hello.clone()),
        Case::new("3.4").chopped(1, frames(4)).back(hello),
        Case::new("3.5").send(reserved(5, BINARY, NOT_TEXT)),
        Case::new("3.6").send(reserved(6, PING, HELLO)),
        Case::new("3.7").send(reserved(7, CLOSE, b"")),
    ];
    cases.map(|case| case.fails(BROKEN)).into()
}

/// Section 4: opcodes without a meaning, among those for data and those for control.
pub(super) fn opcodes() -> Vec<Case> {
    let mut cases = Vec::new();
    for (group, first) in [("4.1", 3), ("4.2", 11)] {
        let id = |number: u8| Case::new(format!("{group}.{number}"));
        let frames =
            |opcode, payload: &[u8]| [whole(TEXT, HELLO), whole(opcode, payload), whole(PING, b"")];
        cases.extend([
            id(1).send(whole(first, b"")),
            id(2).send(whole(first + 1, b"reserved opcode payload")),
            id(3).at_once(frames(first + 2, b"")).back(Back::text(HELLO)),
            id(4).at_once(frames(first + 3, HELLO)).back(Back::text(HELLO)),
            id(5).chopped(1, frames(first + 4, HELLO)).back(Back::text(HELLO)),
        ]);
    }
    cases.into_iter().map(|case| case.fails(BROKEN)).collect()
}
