//! Histories that break one promise each: the checker sees it.

use std::collections::{BTreeMap, BTreeSet};

use dormouse_protocol::{
    CaughtUp, Departure, Event, Events, Join, Joined, Limits, Position, Presence, PresenceGet,
    PresenceSet, Present, Published, Roster, Start, Update, Watch, Welcome,
};

use super::*;
use crate::checked_client::says;
use crate::client::publish;
use crate::sim::history::{Connection, Diary, End, Place, Room};

const NAME: &str = "room/a";
const OBJECT: u64 = 7;
const EPOCH: u32 = 3;
/// The versions of the roster: the first that is seen, and the last.
const FIRST: u64 = 50;
const LAST: u64 = 51;

fn event(offset: u64) -> Event {
    let key = format!("key-{offset}");
    Event {
        offset,
        time: 1000 + offset,
        sender: "anna".into(),
        kind: "message".parse().unwrap(),
        data: says(&key),
        key: Some(key.parse().unwrap()),
        user: None,
    }
}

fn events(offsets: &[u64]) -> Line {
    let events = offsets.iter().map(|offset| event(*offset)).collect();
    Line::Got(ServerMessage::Events(Events { object: OBJECT, events }))
}

fn published(id: u32, offset: u64, duplicate: bool) -> Line {
    let time = 1000 + offset;
    Line::Got(ServerMessage::Published(Published { id, offset, time, duplicate }))
}

fn publishes(id: u32, offset: u64) -> Line {
    let key = format!("key-{offset}");
    Line::Sent(publish(id, OBJECT, &key, Some(&key)))
}

fn caught_up(offset: u64) -> Line {
    Line::Got(ServerMessage::CaughtUp(CaughtUp { object: OBJECT, offset }))
}

fn welcome(session: &str) -> Line {
    let limits = Limits {
        message_bytes: 1,
        joins: 1,
        in_flight: 1,
        history_events: 1,
        presence_bytes: 1,
        roster_members: 1,
    };
    let (session, token, server) = (session.into(), "".into(), "".into());
    let ping_interval_ms = 1;
    Line::Got(ServerMessage::Welcome(Welcome { session, token, server, ping_interval_ms, limits }))
}

fn present(member: u64, user: &str, says_what: &str) -> Present {
    Present { member, user: user.into(), data: says(says_what) }
}

/// The roster at a version: Anna is here, and Bert, who says something else at last.
fn roster(id: Option<u32>, version: u64) -> Roster {
    let bert = if version == FIRST { "bert" } else { "bert says" };
    let present = vec![present(1, "anna", "anna"), present(2, "bert", bert)];
    let (since, left, more) = (None, Vec::new(), false);
    Roster { id, object: OBJECT, version, members: 2, users: 2, since, present, left, more }
}

fn told(roster: Roster) -> Line {
    Line::Got(ServerMessage::Roster(roster))
}

fn changes(version: u64) -> Presence {
    let update = vec![Update { member: 2, data: says("bert says") }];
    let (join, leave) = (Vec::new(), Vec::new());
    Presence { object: OBJECT, version, members: 2, users: 2, join, update, leave }
}

fn changed(changes: Presence) -> Line {
    Line::Got(ServerMessage::Presence(changes))
}

/// A join under the id 1, and its reply.
fn joins(member: u64, data: &str, from: Start, head: u64, watch: Watch) -> [Line; 2] {
    let (first, resumed) = match from {
        Start::After(position) => (position.offset, true),
        _ => (head, false),
    };
    let again = resumed.then_some(member);
    let presence = Some(says(data));
    let join = Join { presence, watch, member: again, ..Join::new(1, NAME.parse().unwrap(), from) };
    let joined = Joined {
        id: 1,
        object: OBJECT,
        epoch: EPOCH,
        head,
        from: first,
        resumed,
        member,
        reset: None,
    };
    [Line::Sent(ClientMessage::Join(join)), Line::Got(ServerMessage::Joined(joined))]
}

/// Anna publishes three times, the last over a broken connection; Bert sees it all, and says something.
fn good() -> History {
    let [join, joined] = joins(1, "anna", Start::Now, 0, Watch::Roster);
    let anna = [
        welcome("anna"),
        join,
        joined,
        caught_up(0),
        told(roster(None, FIRST)),
        publishes(2, 1),
        publishes(3, 2),
        published(2, 1, false),
        published(3, 2, false),
        events(&[1, 2]),
        publishes(4, 3),
    ];
    let position = Start::After(Position { epoch: EPOCH, offset: 2 });
    let [join, joined] = joins(1, "anna", position, 3, Watch::Since(FIRST));
    let since = Roster {
        since: Some(FIRST),
        present: vec![present(2, "bert", "bert says")],
        ..roster(None, LAST)
    };
    let anna_again = [
        welcome("anna"),
        join,
        joined,
        events(&[3]),
        caught_up(3),
        told(since),
        publishes(2, 3),
        published(2, 3, true),
    ];
    let [join, joined] = joins(2, "bert", Start::Now, 0, Watch::Roster);
    let get = PresenceGet { id: 3, object: OBJECT, since: None, after: None, limit: None };
    let set = PresenceSet { id: 2, object: OBJECT, data: Some(says("bert says")) };
    let bert = [
        welcome("bert"),
        join,
        joined,
        caught_up(0),
        told(roster(None, FIRST)),
        events(&[1, 2]),
        Line::Sent(ClientMessage::PresenceSet(set)),
        Line::Got(ServerMessage::Done(dormouse_protocol::Done { id: 2 })),
        changed(changes(LAST)),
        events(&[3]),
        Line::Sent(ClientMessage::PresenceGet(get)),
        told(roster(Some(3), LAST)),
    ];
    let connection = |lines: Vec<Line>, end| Connection { lines, end };
    let diary = |session: &str, connections, member, data| Diary {
        session: session.to_owned(),
        connections,
        places: vec![Place {
            room: NAME.to_owned(),
            member,
            user: session.to_owned(),
            data: says(data),
        }],
    };
    let annas = vec![connection(anna.into(), End::Cut), connection(anna_again.into(), End::Lived)];
    let berts = vec![connection(bert.into(), End::Lived)];
    let room = Room {
        epoch: EPOCH,
        head: 3,
        version: LAST,
        log: vec![event(1), event(2), event(3)],
        roster: roster(Some(1), LAST),
    };
    History {
        clients: vec![diary("anna", annas, 1, "anna"), diary("bert", berts, 2, "bert says")],
        rooms: BTreeMap::from([(NAME.to_owned(), room)]),
        restarts: 0,
        crashed: BTreeSet::new(),
    }
}

/// The lines of Bert.
fn bert(history: &mut History) -> &mut Vec<Line> {
    &mut history.clients[1].connections[0].lines
}

/// The lines of Anna, before and after the cut.
fn anna(history: &mut History, connection: usize) -> &mut Vec<Line> {
    &mut history.clients[0].connections[connection].lines
}

fn room(history: &mut History) -> &mut Room {
    history.rooms.get_mut(NAME).unwrap()
}

/// The history with one change is refused, for this reason among others.
fn is_wrong(what: &str, change: impl FnOnce(&mut History)) {
    let mut history = good();
    change(&mut history);
    let wrong = check(&history);
    assert!(wrong.iter().any(|wrong| wrong.contains(what)), "{what} is not in {wrong:#?}");
}

#[test]
fn a_good_history_is_good() {
    assert_eq!(check(&good()), Vec::<String>::new());
}

#[test]
fn events_come_once_and_in_order() {
    is_wrong("2 follows 0", |history| bert(history)[5] = events(&[2]));
    is_wrong("2 follows 2", |history| bert(history)[5] = events(&[1, 2, 2]));
    is_wrong("1 follows 2", |history| bert(history)[5] = events(&[2, 1]));
    is_wrong("does not get to the end", |history| _ = bert(history).remove(9));
    is_wrong("does not get to the end", |history| _ = bert(history).remove(3));
    is_wrong("of no membership", |history| _ = bert(history).drain(1..3));
    // Over the seam.
    is_wrong("3 follows 3", |history| {
        let [_, joined] =
            joins(1, "", Start::After(Position { epoch: EPOCH, offset: 3 }), 3, Watch::Roster);
        anna(history, 1)[2] = joined;
    });
    is_wrong("is answered with", |history| {
        let [_, joined] = joins(1, "anna", Start::Now, 3, Watch::Roster);
        anna(history, 1)[2] = joined;
    });
}

#[test]
fn everybody_sees_what_is_stored() {
    is_wrong("is stored as", |history| {
        let other = Event { data: says("other"), ..event(3) };
        let other = Events { object: OBJECT, events: vec![other] };
        bert(history)[9] = Line::Got(ServerMessage::Events(other));
    });
    is_wrong("is stored as None", |history| _ = room(history).log.pop());
    is_wrong("has lost events", |history| _ = room(history).log.pop());
    is_wrong("time goes back", |history| room(history).log[0].time = 5000);
}

#[test]
fn what_is_acknowledged_is_stored_once() {
    is_wrong("and there is", |history| anna(history, 0)[7] = published(2, 2, false));
    is_wrong("and there is None", |history| anna(history, 0)[7] = published(2, 9, false));
    is_wrong("stored anew 2 times", |history| {
        anna(history, 0).push(published(4, 3, false));
        anna(history, 1)[7] = published(2, 3, false);
    });
    is_wrong("is called a repeat", |history| anna(history, 0)[7] = published(2, 1, true));
    is_wrong("already", |history| {
        room(history).log.push(Event { offset: 4, time: 2000, ..event(3) });
    });
    is_wrong("nobody has published", |history| room(history).log.push(event(4)));
    is_wrong("nobody has published", |history| room(history).log[0].sender = "bert".into());
    is_wrong("was sent after", |history| {
        let lines = anna(history, 0);
        (lines[7], lines[8]) = (published(2, 2, false), published(3, 1, false));
    });
    is_wrong("comes before", |history| anna(history, 0).swap(7, 9));
}

#[test]
fn what_is_asked_is_answered_once() {
    is_wrong("no answer", |history| _ = anna(history, 1).remove(7));
    is_wrong("a second answer", |history| anna(history, 1).push(published(2, 3, true)));
    is_wrong("answers nothing", |history| anna(history, 1).push(published(9, 3, true)));
    is_wrong("is no answer", |history| bert(history)[7] = published(2, 3, true));
    is_wrong("has not crashed", |history| {
        let code = dormouse_protocol::ErrorCode::Internal;
        let error = dormouse_protocol::ErrorReply {
            id: Some(2),
            code,
            message: "no".into(),
            retry_after_ms: None,
        };
        anna(history, 1)[7] = Line::Got(ServerMessage::Error(error));
    });
    is_wrong("instead of the welcome", |history| _ = bert(history).remove(0));
    is_wrong("has closed with Some(3004)", |history| {
        history.clients[0].connections[0].end = End::ByServer(Some(3004));
    });
    is_wrong("has closed with Some(3000)", |history| {
        history.clients[0].connections[0].end = End::ByServer(Some(3000));
    });
}

#[test]
fn all_who_watch_see_the_same() {
    is_wrong("two rosters of one version", |history| {
        let mut other = roster(Some(3), LAST);
        other.present[0].data = says("other");
        bert(history)[11] = told(other);
    });
    is_wrong("two rosters of one version", |history| {
        let update = vec![Update { member: 2, data: says("other") }];
        bert(history)[8] = changed(Presence { update, ..changes(LAST) });
    });
    is_wrong("does not follow", |history| bert(history)[8] = changed(changes(LAST + 1)));
    is_wrong("does not see version", |history| _ = bert(history).remove(8));
    is_wrong("before a roster", |history| _ = bert(history).remove(4));
    is_wrong("does not lead on", |history| {
        let since = Roster { since: Some(FIRST - 1), ..roster(None, LAST) };
        anna(history, 1)[5] = told(since);
    });
    is_wrong("wrong numbers", |history| {
        bert(history)[8] = changed(Presence { members: 3, ..changes(LAST) });
    });
    is_wrong("wrong about the last one", |history| {
        let leave = vec![Departure { member: 1, user: "anna".into(), last: false }];
        bert(history)[8] = changed(Presence { leave, members: 1, users: 1, ..changes(LAST) });
    });
}

#[test]
fn who_comes_back_was_never_away() {
    is_wrong("1 goes, whose client did not", |history| {
        let leave = vec![Departure { member: 1, user: "anna".into(), last: true }];
        bert(history)[8] = changed(Presence { leave, members: 1, users: 1, ..changes(LAST) });
    });
    is_wrong("comes back as", |history| {
        let position = Start::After(Position { epoch: EPOCH, offset: 2 });
        let [_, joined] = joins(9, "anna", position, 3, Watch::Roster);
        anna(history, 1)[2] = joined;
    });
}

#[test]
fn at_the_end_those_are_here_who_should_be() {
    is_wrong("is not in the roster", |history| room(history).roster.present[0].member = 9);
    is_wrong("who is not here", |history| _ = history.clients[1].places.pop());
    is_wrong("is not in the roster", |history| {
        history.clients[1].places[0].data = says("bert");
    });
}
