//! Stories that break one promise each: the judge sees it. And one that breaks none.

use dormouse_protocol::{Arrival, Departure, Kind, Payload, Present, Update};

use super::*;

const ANNA: ClientId = ClientId(0);
const BERT: ClientId = ClientId(1);
const ROOM: Room = Room(0);
const OTHER_ROOM: Room = Room(1);
const EPOCH: u32 = 3;
const BOTH: [ClientId; 2] = [ANNA, BERT];
/// How many events the good story has in its room.
const HEAD: u64 = 3;

fn key(number: u64) -> Key {
    format!("k{number}").parse().unwrap()
}

fn kind() -> Kind {
    Kind::default()
}

fn data(text: &str) -> Payload {
    Payload::of(&text).unwrap()
}

fn post(number: u64, text: &str) -> Post {
    Post { room: ROOM, key: key(number), kind: kind(), data: data(text) }
}

/// What Anna published as her nth stands at offset n.
fn event(offset: u64) -> Event {
    Event {
        offset,
        time: 1000 + offset,
        sender: "anna".into(),
        kind: kind(),
        data: data(&format!("text {offset}")),
        key: Some(key(offset)),
        user: None,
    }
}

fn after(offset: u64) -> Start {
    Start::After(Position { epoch: EPOCH, offset })
}

fn joined(from: u64, head: u64, resumed: bool) -> Joined {
    Joined { id: 1, object: 7, epoch: EPOCH, head, from, resumed, member: 1, reset: None }
}

fn published(offset: u64, duplicate: bool) -> Published {
    Published { id: 1, offset, time: 1000 + offset, duplicate }
}

fn roster(version: u64, names: &[&str]) -> Roster {
    let present = (1..).zip(names).map(|(member, name)| Present {
        member,
        user: (*name).into(),
        data: data(name),
    });
    let members = names.len() as u32;
    Roster {
        id: None,
        object: 7,
        version,
        members,
        users: members,
        since: None,
        present: present.collect(),
        left: Vec::new(),
        more: false,
    }
}

fn changes(version: u64, members: u32) -> Presence {
    let (join, update, leave) = (Vec::new(), Vec::new(), Vec::new());
    Presence { object: 7, version, members, users: members, join, update, leave }
}

/// Carl has come, the third member.
fn carl_comes(version: u64) -> Presence {
    let carl = Arrival { member: 3, user: "carl".into(), data: data("carl"), first: true };
    Presence { join: vec![carl], ..changes(version, 3) }
}

fn place(member: u64, name: &str) -> Place {
    Place { room: ROOM, member, session: name.into(), data: data(name) }
}

fn places() -> Vec<Place> {
    vec![place(1, "anna"), place(2, "bert")]
}

fn sign(number: u64, kills: u64) -> SignalItem {
    let data = Payload::of(&Sign { number, kills }).unwrap();
    SignalItem { sender: "anna".into(), data, key: None }
}

/// Both have joined, and nothing was published.
fn begun() -> Judge {
    let mut judge = Judge::new(2);
    for (client, name) in [(ANNA, "anna"), (BERT, "bert")] {
        judge.is_session(client, name);
        for room in [ROOM, OTHER_ROOM] {
            judge.joined(client, room, Start::All, &joined(0, 0, false));
        }
    }
    judge
}

fn anna_publishes(judge: &mut Judge, number: u64) {
    judge.publish(ANNA, &post(number, &format!("text {number}")));
}

/// Anna publishes three events. The server is killed after two of them; the second is acknowledged by the next one.
fn told() -> Judge {
    let mut judge = begun();
    for number in 1..=HEAD {
        anna_publishes(&mut judge, number);
    }
    judge.acknowledged(ANNA, ROOM, &key(1), 1, &published(1, false));
    judge.events(ANNA, ROOM, &[event(1), event(2)]);
    judge.events(BERT, ROOM, &[event(1)]);
    judge.killed();
    judge.joined(ANNA, ROOM, after(2), &joined(2, 2, true));
    judge.acknowledged(ANNA, ROOM, &key(2), 2, &published(2, true));
    judge.joined(BERT, ROOM, after(1), &joined(1, 2, true));
    judge.events(BERT, ROOM, &[event(2)]);
    judge.caught_up(BERT, ROOM, 2);
    judge.acknowledged(ANNA, ROOM, &key(3), 1, &published(3, false));
    judge
}

/// The same, and both receive the last event, too.
fn whole() -> Judge {
    let mut judge = told();
    for client in BOTH {
        judge.events(client, ROOM, &[event(3)]);
    }
    judge
}

/// The judgement at the end.
fn conclude(mut judge: Judge) -> Vec<(Breach, u64)> {
    judge.conclude(&BOTH, &places(), &[HEAD, 0]);
    found(&judge)
}

fn found(judge: &Judge) -> Vec<(Breach, u64)> {
    judge.violations().counts().into_iter().filter(|(_, count)| *count > 0).collect()
}

/// Only this is wrong, once.
#[track_caller]
fn assert_one(judge: &Judge, breach: Breach) {
    let described = judge.violations().described();
    assert_eq!(found(judge), [(breach, 1)], "{described:?}");
}

#[test]
fn a_good_story_is_good() {
    let mut judge = whole();
    judge.acknowledged(ANNA, ROOM, &key(1), 2, &published(1, true));
    judge.left(BERT, ROOM);
    judge.joined(BERT, ROOM, Start::Last(2), &joined(1, 3, false));
    judge.events(BERT, ROOM, &[event(2), event(3)]);
    judge.left(BERT, ROOM);
    judge.joined(BERT, ROOM, Start::Now, &joined(3, 3, false));
    let page = HistoryPage { id: 1, epoch: EPOCH, more: true, events: vec![event(2), event(3)] };
    judge.page(BERT, ROOM, 1, &page);
    judge.signalled(ANNA, ROOM, 1);
    for client in BOTH {
        judge.signals(client, ROOM, &[sign(1, 1)]);
        judge.roster(client, ROOM, &roster(50, &["anna", "bert"]));
        judge.presence(client, ROOM, &carl_comes(51));
        let leave = Departure { member: 3, user: "carl".into(), last: true };
        judge.presence(client, ROOM, &Presence { leave: vec![leave], ..changes(52, 2) });
        judge.roster(client, ROOM, &Roster { since: Some(52), ..roster(53, &["anna", "bert"]) });
    }
    assert_eq!(judge.acknowledgements(), 4);
    assert!(judge.have_all(&BOTH, &[HEAD, 0]));
    assert!(judge.rosters_show(&BOTH, &places()));
    assert_eq!(conclude(judge), []);
}

#[test]
fn a_violation_says_where_and_when() {
    let mut judge = whole();
    judge.killed();
    judge.acknowledged(ANNA, ROOM, &key(2), 3, &published(9, true));
    let text = judge.violations().described()[0].to_string();
    for part in ["Moved", "after kill 2", "room/0", "offset 9", "client 0", "key k2"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn an_acknowledged_event_that_the_log_lacks_is_lost() {
    let mut judge = told();
    judge.conclude(&[], &[], &[2, 0]);
    assert_one(&judge, Breach::Lost);
}

#[test]
fn an_acknowledged_event_with_another_one_in_its_place_is_lost() {
    let mut judge = told();
    judge.publish(BERT, &post(1, "bert"));
    let instead =
        Event { sender: "bert".into(), key: Some(key(1)), data: data("bert"), ..event(3) };
    for client in BOTH {
        judge.events(client, ROOM, std::slice::from_ref(&instead));
    }
    assert_eq!(conclude(judge), [(Breach::Lost, 1)]);
}

#[test]
fn a_delivered_event_that_the_log_lacks_is_lost() {
    let mut judge = begun();
    anna_publishes(&mut judge, 1);
    judge.events(BERT, ROOM, &[event(1)]);
    judge.conclude(&[ANNA], &[], &[0, 0]);
    assert_one(&judge, Breach::Lost);
}

#[test]
fn a_member_that_does_not_get_to_the_end_is_found() {
    let mut judge = told();
    judge.events(ANNA, ROOM, &[event(3)]);
    assert!(!judge.have_all(&BOTH, &[HEAD, 0]));
    assert_eq!(conclude(judge), [(Breach::Lost, 1)]);
}

#[test]
fn an_event_that_is_stored_again_is_repeated() {
    let mut judge = whole();
    judge.events(BERT, ROOM, &[Event { offset: 4, time: 2000, ..event(2) }]);
    assert_one(&judge, Breach::Repeated);
}

#[test]
fn an_event_that_is_received_again_is_repeated() {
    let mut judge = whole();
    judge.events(BERT, ROOM, &[event(3)]);
    assert_one(&judge, Breach::Repeated);
}

#[test]
fn two_first_acknowledgements_are_a_repeat() {
    let mut judge = whole();
    judge.acknowledged(ANNA, ROOM, &key(1), 2, &published(1, false));
    assert_one(&judge, Breach::Repeated);
}

#[test]
fn events_that_change_places_are_reordered() {
    for offsets in [[1, 2], [2, 1]] {
        let mut judge = begun();
        anna_publishes(&mut judge, 1);
        anna_publishes(&mut judge, 2);
        // The first stands behind the second, whoever sees which one first.
        for offset in offsets {
            let moved = Event { offset, ..event(3 - offset) };
            let page = vec![Event { time: 1000, ..moved }];
            let page = HistoryPage { id: 1, epoch: EPOCH, more: false, events: page };
            judge.page(BERT, ROOM, offset - 1, &page);
        }
        assert_one(&judge, Breach::Reordered);
    }
}

#[test]
fn time_that_goes_back_is_found() {
    let mut judge = told();
    judge.publish(BERT, &post(1, "bert"));
    let early = Event { offset: 3, sender: "bert".into(), data: data("bert"), ..event(1) };
    judge.events(BERT, ROOM, &[early]);
    assert_one(&judge, Breach::Reordered);
}

#[test]
fn an_event_that_stands_elsewhere_than_it_was_acknowledged_has_moved() {
    let mut judge = begun();
    anna_publishes(&mut judge, 1);
    judge.acknowledged(ANNA, ROOM, &key(1), 1, &published(2, false));
    judge.events(BERT, ROOM, &[event(1)]);
    assert_one(&judge, Breach::Moved);

    let mut judge = begun();
    anna_publishes(&mut judge, 1);
    judge.events(BERT, ROOM, &[event(1)]);
    judge.acknowledged(ANNA, ROOM, &key(1), 1, &published(2, false));
    assert_one(&judge, Breach::Moved);
}

#[test]
fn a_retry_that_gets_another_offset_is_found_before_anybody_sees_the_event() {
    let mut judge = begun();
    anna_publishes(&mut judge, 1);
    judge.acknowledged(ANNA, ROOM, &key(1), 1, &published(1, false));
    anna_publishes(&mut judge, 1);
    judge.acknowledged(ANNA, ROOM, &key(1), 1, &published(2, true));
    assert_one(&judge, Breach::Moved);
}

#[test]
fn an_event_that_is_not_what_was_published_is_altered() {
    let other_kind = "other".parse().unwrap();
    for wrong in [
        Event { data: data("else"), ..event(3) },
        Event { kind: other_kind, ..event(3) },
        Event { time: 9999, ..event(3) },
    ] {
        let mut judge = told();
        judge.events(BERT, ROOM, &[wrong]);
        assert_one(&judge, Breach::Altered);
    }
}

#[test]
fn other_data_under_a_known_key_is_not_to_be_stored() {
    let mut judge = begun();
    anna_publishes(&mut judge, 1);
    judge.publish(ANNA, &post(1, "changed"));
    judge.events(BERT, ROOM, &[Event { data: data("changed"), ..event(1) }]);
    assert_one(&judge, Breach::Altered);
}

#[test]
fn an_event_that_is_not_the_same_for_everybody_is_altered() {
    let mut judge = told();
    judge.events(ANNA, ROOM, &[event(3)]);
    judge.events(BERT, ROOM, &[Event { time: 2000, ..event(3) }]);
    assert_one(&judge, Breach::Altered);
}

#[test]
fn what_was_sent_once_is_no_duplicate() {
    let mut judge = begun();
    anna_publishes(&mut judge, 1);
    judge.acknowledged(ANNA, ROOM, &key(1), 1, &published(1, true));
    assert_one(&judge, Breach::Altered);
}

#[test]
fn an_event_of_nobody_is_invented() {
    for wrong in [
        Event { sender: "carl".into(), ..event(3) },
        Event { sender: "bert".into(), ..event(3) },
        Event { key: Some(key(4)), ..event(3) },
        Event { key: None, ..event(3) },
    ] {
        let mut judge = told();
        judge.events(BERT, ROOM, &[wrong]);
        assert_one(&judge, Breach::Invented);
    }
    let mut judge = whole();
    judge.events(BERT, OTHER_ROOM, &[event(1)]);
    assert_one(&judge, Breach::Invented);
}

#[test]
fn an_acknowledgement_of_nothing_is_found() {
    let mut judge = whole();
    judge.acknowledged(BERT, ROOM, &key(1), 1, &published(1, false));
    assert_one(&judge, Breach::Conduct);
}

#[test]
fn a_hole_is_found() {
    let mut judge = begun();
    anna_publishes(&mut judge, 2);
    judge.events(BERT, ROOM, &[event(2)]);
    assert_one(&judge, Breach::Hole);
}

#[test]
fn a_join_that_starts_elsewhere_is_found() {
    for (asked, answer) in [
        (after(2), joined(1, 2, true)),
        (after(2), joined(2, 2, false)),
        (after(2), joined(2, 1, true)),
        (after(1), joined(1, 2, true)),
        (Start::All, joined(1, 2, false)),
        (Start::Now, joined(1, 2, false)),
        (Start::Last(2), joined(1, 2, false)),
    ] {
        let mut judge = told();
        judge.joined(BERT, ROOM, asked, &answer);
        assert_one(&judge, Breach::Hole);
    }
}

#[test]
fn who_is_said_to_have_caught_up_and_has_not_is_found() {
    let mut judge = told();
    judge.caught_up(BERT, ROOM, 3);
    assert_one(&judge, Breach::Hole);
}

#[test]
fn an_event_after_a_leave_is_found() {
    let mut judge = told();
    judge.left(BERT, ROOM);
    judge.events(BERT, ROOM, &[event(3)]);
    assert_one(&judge, Breach::Hole);
}

#[test]
fn a_page_of_history_with_a_hole_is_found() {
    let mut judge = whole();
    let page = HistoryPage { id: 1, epoch: EPOCH, more: false, events: vec![event(1), event(3)] };
    judge.page(BERT, ROOM, 0, &page);
    assert_one(&judge, Breach::Hole);
}

#[test]
fn another_epoch_is_found_and_what_was_acknowledged_in_the_old_one_is_lost() {
    let mut judge = whole();
    judge.joined(BERT, ROOM, after(3), &Joined { epoch: EPOCH + 1, ..joined(3, 3, true) });
    assert_one(&judge, Breach::Epoch);
    judge.conclude(&[], &[], &[0, 0]);
    assert_eq!(found(&judge), [(Breach::Lost, 3), (Breach::Epoch, 1)]);
}

#[test]
fn an_empty_log_has_no_epoch_to_keep() {
    let mut judge = begun();
    judge.joined(BERT, ROOM, after(0), &Joined { epoch: EPOCH + 1, ..joined(0, 0, true) });
    judge.joined(BERT, ROOM, after(0), &Joined { epoch: EPOCH + 2, ..joined(0, 1, true) });
    assert_eq!(found(&judge), []);
}

#[test]
fn a_reset_is_found() {
    for (epoch, breaches) in [
        (EPOCH, vec![(Breach::Reset, 1)]),
        (EPOCH + 1, vec![(Breach::Epoch, 1), (Breach::Reset, 1)]),
    ] {
        let mut judge = whole();
        judge.reset(BERT, ROOM, ResetReason::Ahead, Position { epoch, offset: 0 });
        assert_eq!(found(&judge), breaches);
    }
}

#[test]
fn a_ghost_in_a_roster_is_found() {
    let mut judge = whole();
    judge.roster(BERT, ROOM, &roster(50, &["anna", "bert", "carl"]));
    assert!(!judge.rosters_show(&BOTH, &places()));
    assert_eq!(conclude(judge), [(Breach::Roster, 1)]);
}

#[test]
fn a_place_that_a_roster_lacks_or_knows_wrong_is_found() {
    for (names, count) in [(&["anna"] as &[_], 1), (&["anna", "else"], 1), (&[], 2)] {
        let mut judge = whole();
        judge.roster(BERT, ROOM, &roster(50, names));
        assert_eq!(conclude(judge), [(Breach::Roster, count)], "{names:?}");
    }
}

#[test]
fn changes_that_do_not_lead_on_are_found() {
    let update = Update { member: 9, data: data("else") };
    let nobody_leaves = Departure { member: 9, user: "anna".into(), last: true };
    let another_leaves = Departure { member: 1, user: "bert".into(), last: true };
    let anna_again = Arrival { member: 1, user: "anna".into(), data: data("anna"), first: true };
    for wrong in [
        carl_comes(52),
        Presence { update: vec![update], ..changes(51, 2) },
        Presence { leave: vec![nobody_leaves], ..changes(51, 2) },
        Presence { leave: vec![another_leaves], ..changes(51, 1) },
        Presence { join: vec![anna_again], ..changes(51, 2) },
        changes(51, 3),
    ] {
        let mut judge = begun();
        judge.roster(BERT, ROOM, &roster(50, &["anna", "bert"]));
        judge.presence(BERT, ROOM, &wrong);
        assert_one(&judge, Breach::Roster);
    }
}

#[test]
fn a_roster_that_does_not_lead_on_is_found() {
    for wrong in [
        Roster { since: Some(49), ..roster(51, &["anna", "bert"]) },
        roster(49, &["anna", "bert"]),
        Roster { more: true, ..roster(51, &["anna", "bert"]) },
        Roster { members: 3, ..roster(51, &["anna", "bert"]) },
    ] {
        let mut judge = begun();
        judge.roster(BERT, ROOM, &roster(50, &["anna", "bert"]));
        judge.roster(BERT, ROOM, &wrong);
        assert_one(&judge, Breach::Roster);
    }
}

#[test]
fn a_version_that_is_not_the_same_for_everybody_is_found() {
    let mut judge = begun();
    judge.roster(ANNA, ROOM, &roster(50, &["anna", "bert"]));
    judge.roster(BERT, ROOM, &roster(50, &["anna", "carl"]));
    assert_one(&judge, Breach::Roster);
}

#[test]
fn a_signal_that_comes_again_is_found() {
    let mut judge = begun();
    judge.signalled(ANNA, ROOM, 1);
    judge.signals(BERT, ROOM, &[sign(1, 0), sign(1, 0)]);
    assert_one(&judge, Breach::Signal);
}

#[test]
fn a_signal_to_a_client_that_has_left_is_found() {
    let mut judge = begun();
    judge.signalled(ANNA, ROOM, 1);
    judge.left(BERT, ROOM);
    judge.signals(BERT, ROOM, &[sign(1, 0)]);
    assert_one(&judge, Breach::Signal);
}

#[test]
fn a_signal_that_nobody_has_sent_is_found() {
    let of_carl = SignalItem { sender: "carl".into(), ..sign(1, 0) };
    let of_no_form = SignalItem { data: data("hello"), ..sign(1, 0) };
    for (room, wrong) in
        [(ROOM, of_carl), (ROOM, of_no_form), (ROOM, sign(2, 0)), (OTHER_ROOM, sign(1, 0))]
    {
        let mut judge = begun();
        judge.signalled(ANNA, ROOM, 1);
        judge.signals(BERT, room, &[wrong]);
        assert_one(&judge, Breach::Signal);
    }
}

#[test]
fn a_signal_that_outlives_its_server_is_found() {
    let mut judge = begun();
    judge.signalled(ANNA, ROOM, 1);
    judge.killed();
    judge.signals(ANNA, ROOM, &[sign(1, 0)]);
    assert_eq!(found(&judge), [], "its receiver may not have noticed the kill");
    judge.killed();
    judge.signals(BERT, ROOM, &[sign(1, 0)]);
    assert_one(&judge, Breach::Signal);
}
