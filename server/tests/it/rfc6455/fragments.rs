//! Section 5: fragmentation.

use super::case::{Back, Case, PING, PONG, TEXT, begun, whole};

const BROKEN: &[u16] = &[1002];
const ONE: &[u8] = b"fragment1";
const TWO: &[u8] = b"fragment2";
const THREE: &[u8] = b"fragment3";
const FOUR: &[u8] = b"fragment4";
const BOTH: &[u8] = b"fragment1fragment2";

/// How frames are cut into writes.
type Cut = fn(Case, Vec<Vec<u8>>) -> Case;

const CUTS: [Cut; 3] = [
    |case, frames| case.at_once(frames),
    |case, frames| case.frame_wise(frames),
    |case, frames| case.chopped(1, frames),
];

pub(super) fn cases() -> Vec<Case> {
    let two = || vec![begun(TEXT, ONE), whole(0, TWO)];
    let with_ping = || vec![begun(TEXT, ONE), whole(PING, b"ping payload"), whole(0, TWO)];
    let of_nothing = |fin: bool| {
        let frame = if fin { whole } else { begun };
        vec![frame(0, b"non-continuation payload"), whole(TEXT, b"Hello, world!")]
    };
    let id = |number: usize| Case::new(format!("5.{number}"));
    let in_pieces = |control| [begun(control, ONE), whole(0, TWO)].concat();
    let mut cases =
        vec![id(1).send(in_pieces(PING)).fails(BROKEN), id(2).send(in_pieces(PONG)).fails(BROKEN)];
    for (number, cut) in (3..).zip(CUTS) {
        cases.push(cut(id(number), two()).back(Back::text(BOTH)));
    }
    for (number, cut) in (6..).zip(CUTS) {
        let case = cut(id(number), with_ping()).back(Back::pong(b"ping payload"));
        cases.push(case.back(Back::text(BOTH)));
    }
    for (first, fin) in [(9, true), (12, false)] {
        for (number, cut) in (first..).zip(CUTS) {
            cases.push(cut(id(number), of_nothing(fin)).fails(BROKEN));
        }
    }
    let more = [two(), vec![begun(0, THREE), whole(TEXT, FOUR)]].concat();
    cases.push(id(15).at_once(more).back(Back::text(BOTH)).fails(BROKEN));
    for (number, frame) in [(16, begun as fn(u8, &[u8]) -> Vec<u8>), (17, whole)] {
        let once = || [vec![frame(0, ONE)], vec![begun(TEXT, TWO), whole(0, THREE)]].concat();
        cases.push(id(number).at_once([once(), once()].concat()).fails(BROKEN));
    }
    cases.push(id(18).at_once([begun(TEXT, ONE), whole(TEXT, TWO)]).fails(BROKEN));
    // A ping is answered while its surroundings are still on their way.
    cases.extend([19, 20].map(|number| {
        id(number)
            .frame_wise([begun(TEXT, ONE), begun(0, TWO), whole(PING, b"pongme 1!")])
            .wait(Back::pong(b"pongme 1!"))
            .frame_wise([begun(0, THREE), begun(0, FOUR), whole(PING, b"pongme 2!")])
            .wait(Back::pong(b"pongme 2!"))
            .send(whole(0, b"fragment5"))
            .back(Back::text(b"fragment1fragment2fragment3fragment4fragment5"))
    }));
    cases
}
