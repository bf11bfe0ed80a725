//! Section 7: closing.

use super::case::{Back, CLOSE, Case, PING, TEXT, begun, close_frame, whole};

const NORMAL: &[u16] = &[1000];
const BROKEN: &[u16] = &[1002];
const VALID: [u16; 13] =
    [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999];
const INVALID: [u16; 9] = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999];

pub(super) fn cases() -> Vec<Case> {
    let hello: &[u8] = b"Hello World!";
    let long = vec![b'*'; 256 << 10];
    let close = || close_frame(1000, b"");
    let mut cases = vec![
        Case::new("7.1.1").send(whole(TEXT, hello)).back(Back::text(hello)),
        Case::new("7.1.2").frame_wise([close(), whole(CLOSE, b"")]).answered(NORMAL),
        Case::new("7.1.3").frame_wise([close(), whole(PING, b"")]).answered(NORMAL),
        Case::new("7.1.4").frame_wise([close(), whole(TEXT, hello)]).answered(NORMAL),
        Case::new("7.1.5")
            .frame_wise([begun(TEXT, b"fragment1"), close(), whole(0, b"fragment2")])
            .answered(NORMAL),
        // What was sent before the close comes back before it.
        Case::new("7.1.6")
            .frame_wise([whole(TEXT, &long), whole(TEXT, hello), close(), whole(PING, b"")])
            .back(Back::text(&long))
            .back(Back::text(hello))
            .answered(NORMAL),
        Case::new("7.3.1").send(whole(CLOSE, b"")).answered(NORMAL),
        Case::new("7.3.2").send(whole(CLOSE, b"a")).fails(BROKEN),
        Case::new("7.3.3").send(close()).answered(NORMAL),
        Case::new("7.3.4").send(close_frame(1000, hello)).answered(NORMAL),
        Case::new("7.3.5").send(close_frame(1000, &[b'*'; 123])).answered(NORMAL),
        Case::new("7.3.6").send(close_frame(1000, &[b'*'; 124])).fails(BROKEN),
        Case::new("7.5.1")
            .send(close_frame(
                1000,
                b"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xED\xA0\x80edited",
            ))
            .fails(&[1002, 1007]),
    ];
    for (number, code) in (1..).zip(VALID) {
        let case = Case::new(format!("7.7.{number}")).send(close_frame(code, b""));
        cases.push(case.answered(NORMAL));
    }
    for (number, code) in (1..).zip(INVALID) {
        cases.push(Case::new(format!("7.9.{number}")).send(close_frame(code, b"")).fails(BROKEN));
    }
    for (number, code) in [(1, 5000), (2, 65_535)] {
        cases.push(Case::new(format!("7.13.{number}")).send(close_frame(code, b"")).fails(BROKEN));
    }
    cases
}
