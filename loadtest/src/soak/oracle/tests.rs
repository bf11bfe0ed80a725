use dormouse_protocol::{Kind, Payload, Position, ResetReason};

use super::*;

const KEPT: Kept = Kept { events: 300, age: Duration::from_secs(20) };
/// What the clock says in all tests.
const NOW: u64 = 1_000_000;

fn oracle() -> Oracle {
    Oracle::new(1, KEPT, &[40, 60])
}

/// The event that publisher 1 has published as its nth, at the offset n.
fn event(offset: u64) -> Event {
    with(offset, &oracle().payload(0, 1, offset as u32))
}

fn with(offset: u64, text: &str) -> Event {
    Event {
        offset,
        time: NOW - 1,
        sender: "someone".into(),
        kind: Kind::default(),
        data: Payload::of(&text).unwrap(),
        key: None,
        user: None,
    }
}

fn joined(head: u64, from: u64) -> Joined {
    Joined { id: 1, object: 7, epoch: 3, head, from, resumed: false, member: 1, reset: None }
}

/// What is told of a member that has joined an empty log and received these.
fn faults(offsets: &[u64]) -> Faults {
    let (mut oracle, mut reader) = (oracle(), Reader::new(0));
    reader.joined(&mut oracle, &joined(0, 0), Start::Now, NOW);
    oracle.published(0, 6, Some(NOW - 1), (1, 6));
    for offset in offsets {
        reader.events(&mut oracle, &[event(*offset)]);
    }
    reader.close(&mut oracle);
    oracle.faults.described.clear();
    oracle.faults
}

#[test]
fn all_in_order_is_no_fault() {
    assert!(faults(&[1, 2, 3, 4, 5, 6]).is_none());
}

#[test]
fn what_is_lost_repeated_or_reordered_is_told() {
    let none = Faults::default;
    assert_eq!(faults(&[1, 2, 4, 5, 6]), Faults { lost: 1, ..none() });
    assert_eq!(faults(&[1, 2, 3, 4]), Faults { lost: 2, ..none() });
    assert_eq!(faults(&[]), Faults { lost: 6, ..none() });
    assert_eq!(faults(&[1, 2, 3, 3, 4, 1, 5, 6]), Faults { repeated: 2, ..none() });
    assert_eq!(faults(&[1, 4, 3, 2, 5, 6]), Faults { reordered: 2, ..none() });
    let mixed = Faults { lost: 1, repeated: 1, reordered: 1, ..none() };
    assert_eq!(faults(&[1, 5, 3, 3, 2, 6]), Faults { reordered: 2, ..mixed });
}

#[test]
fn everybody_has_to_be_told_the_same() {
    let mut oracle = oracle();
    let mut readers = [Reader::new(0), Reader::new(0)];
    for reader in &mut readers {
        reader.joined(&mut oracle, &joined(0, 0), Start::Now, NOW);
    }
    let [first, second] = &mut readers;
    first.events(&mut oracle, &[event(1)]);
    assert!(oracle.faults.is_none());
    let other = with(1, &oracle.payload(1, 2, 1));
    second.events(&mut oracle, &[other]);
    assert_eq!(oracle.faults.altered, 1, "another event");
    oracle.published(0, 1, Some(NOW - 1), (1, 1));
    oracle.published(0, 1, None, (1, 1));
    assert_eq!(oracle.faults.altered, 1, "the acknowledgement agrees");
    oracle.published(0, 1, Some(NOW), (1, 1));
    assert_eq!(oracle.faults.altered, 2, "another time");
    first.events(&mut oracle, &[with(2, "nobody's")]);
    assert_eq!(oracle.faults.altered, 3);
}

#[test]
fn a_publish_that_is_stored_twice_is_a_repeat() {
    let (mut oracle, mut reader) = (oracle(), Reader::new(0));
    reader.joined(&mut oracle, &joined(0, 0), Start::Now, NOW);
    let again = with(2, &oracle.payload(0, 1, 1));
    reader.events(&mut oracle, &[event(1), again]);
    assert_eq!(oracle.faults.repeated, 1);
    let earlier = with(4, &oracle.payload(0, 1, 2));
    reader.events(&mut oracle, &[event(3), earlier]);
    assert_eq!(oracle.faults.reordered, 1, "stored in another order than it was published in");
}

#[test]
fn a_join_begins_where_it_was_asked_for() {
    let at = |position| Start::After(Position { epoch: 3, offset: position });
    let resumed = |from| Joined { resumed: true, ..joined(30, from) };
    for (start, answer, is_right) in [
        (Start::Now, joined(30, 30), true),
        (Start::Now, joined(30, 29), false),
        (Start::Last(5), joined(30, 25), true),
        (Start::Last(5), joined(30, 24), false),
        (Start::All, joined(30, 0), true),
        (Start::All, joined(30, 31), false),
        (at(12), resumed(12), true),
        (at(12), resumed(13), false),
        (at(12), joined(30, 12), false),
    ] {
        let (mut oracle, mut reader) = (oracle(), Reader::new(0));
        for offset in 1..=30 {
            oracle.published(0, offset, Some(NOW - 1), (1, offset as u32));
        }
        reader.joined(&mut oracle, &answer, start, NOW);
        assert_eq!(oracle.faults.misplaced == 0, is_right, "{start:?} {answer:?}");
    }
}

#[test]
fn a_position_is_reset_only_where_something_after_it_was_trimmed() {
    const HEAD: u64 = 400;
    // What the server may have trimmed, with what it has stored since anybody was told anything.
    const TRIMMED: u64 = HEAD + UNTOLD - KEPT.events;
    for (position, from, time, is_right) in [
        (5, TRIMMED, NOW - 1, true),
        (TRIMMED, TRIMMED, NOW - 1, false),
        (5, TRIMMED + 1, NOW - 1, false),
        (5, TRIMMED + 1, NOW - 19_999, false),
        (5, TRIMMED + 1, NOW - 20_000, true),
    ] {
        let (mut oracle, mut reader) = (oracle(), Reader::new(0));
        for offset in 1..=HEAD {
            oracle.published(0, offset, Some(time), (1, offset as u32));
        }
        reader.continue_at(&mut oracle, position);
        let reset = Some(ResetReason::Trimmed);
        let start = Start::After(Position { epoch: 3, offset: position });
        reader.joined(&mut oracle, &Joined { reset, ..joined(HEAD, from) }, start, NOW);
        let resets = u64::from(is_right);
        let counted = (oracle.counts.resets, oracle.faults.wrong_resets);
        assert_eq!(counted, (resets, 1 - resets), "{position} {from} {time}");
    }
}

#[test]
fn caught_up_is_at_the_head_or_beyond() {
    for (received, offset, is_right) in
        [(&[1, 2, 3][..], 3, true), (&[1, 2, 3], 2, false), (&[1, 2], 2, false)]
    {
        let (mut oracle, mut reader) = (oracle(), Reader::new(0));
        reader.joined(&mut oracle, &joined(3, 0), Start::All, NOW);
        for offset in received {
            reader.events(&mut oracle, &[event(*offset)]);
        }
        reader.caught_up(&mut oracle, offset);
        assert_eq!(oracle.faults.misplaced == 0, is_right, "{received:?} {offset}");
    }
}

#[test]
fn old_events_are_forgotten() {
    let mut oracle = oracle();
    for offset in 1..=3_000 {
        oracle.published(0, offset, Some(NOW), (1, offset as u32));
    }
    assert_eq!(oracle.logs[0].entries.len() as u64, KEPT.events + REMEMBERED);
    assert_eq!(oracle.head(0), 3_000);
    // What nobody remembers can't be compared.
    oracle.published(0, 1, Some(NOW), (9, 9));
    assert!(oracle.faults.is_none());
}
