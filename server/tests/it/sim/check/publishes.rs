//! Promises 3 and 4 for those who write: what was acknowledged is stored where it was said to be, what is stored was published,
//! and each publish is stored once, however often it was sent.

use std::collections::{HashMap, HashSet};

use dormouse_protocol::{
    ClientMessage, ErrorCode, Event, Payload, Publish, Published, ServerMessage,
};

use super::Talk;
use crate::sim::history::{Connection, History, Line};

/// A publish, over all the times that it was sent. Every publish of a history has other data.
struct Said<'a> {
    room: &'a str,
    session: &'a str,
    publish: &'a Publish,
    sent: usize,
    /// Times that it was refused in a way that changes nothing.
    refused: usize,
    acknowledged: Vec<&'a Published>,
}

type AllSaid<'a> = HashMap<&'a [u8], Said<'a>>;

pub(super) fn check(history: &History, wrong: &mut Vec<String>) {
    let mut all = AllSaid::new();
    for diary in &history.clients {
        for connection in &diary.connections {
            let talk = Talk::of(connection);
            let before: HashSet<&[u8]> = all.keys().copied().collect();
            collect(&diary.session, connection, &talk, &mut all, wrong);
            check_order(&diary.session, connection, &talk, wrong);
            check_reply_first(&diary.session, connection, &talk, &before, wrong);
        }
    }
    for (name, room) in &history.rooms {
        check_stored(name, &room.log, &all, wrong);
    }
    for said in all.values() {
        check_acknowledged(said, &history.rooms[said.room].log, wrong);
    }
}

fn collect<'a>(
    session: &'a str,
    connection: &'a Connection,
    talk: &Talk<'a>,
    all: &mut AllSaid<'a>,
    wrong: &mut Vec<String>,
) {
    for publish in publishes(connection) {
        let Some(room) = talk.names.get(&publish.object) else {
            wrong.push(format!("{session} publishes where it is no member: {publish:?}"));
            continue;
        };
        let said = all.entry(publish.data.as_msgpack()).or_insert_with(|| {
            let (sent, refused, acknowledged) = Default::default();
            Said { room, session, publish, sent, refused, acknowledged }
        });
        said.sent += 1;
        match talk.replies.get(&publish.id) {
            Some(ServerMessage::Published(published)) => said.acknowledged.push(published),
            Some(ServerMessage::Error(error)) => {
                let is_in_doubt =
                    matches!(error.code, ErrorCode::Internal | ErrorCode::Unavailable);
                said.refused += usize::from(!is_in_doubt);
            }
            _ => {}
        }
    }
}

/// What one connection published in one object stands in the order in which it was sent.
fn check_order(session: &str, connection: &Connection, talk: &Talk<'_>, wrong: &mut Vec<String>) {
    let mut last: HashMap<u64, u64> = HashMap::new();
    for publish in publishes(connection) {
        let Some(ServerMessage::Published(published)) = talk.replies.get(&publish.id) else {
            continue;
        };
        if published.duplicate {
            continue;
        }
        let before = last.insert(publish.object, published.offset).unwrap_or(0);
        if published.offset <= before {
            wrong.push(format!("{session}: {published:?} was sent after the one at {before}"));
        }
    }
}

/// Who publishes is answered before it receives the event, where the event was not on its way already.
fn check_reply_first(
    session: &str,
    connection: &Connection,
    talk: &Talk<'_>,
    before: &HashSet<&[u8]>,
    wrong: &mut Vec<String>,
) {
    let (mut sent, mut waiting) = (before.clone(), HashMap::<&[u8], u32>::new());
    for line in &connection.lines {
        match line {
            Line::Sent(ClientMessage::Publish(publish)) => {
                let data = publish.data.as_msgpack();
                if sent.insert(data) {
                    waiting.insert(data, publish.id);
                }
            }
            Line::Got(ServerMessage::Events(events)) => {
                for event in &events.events {
                    let data = event.data.as_msgpack();
                    if let Some(id) = waiting.get(data) {
                        let reply = talk.replies.get(id);
                        wrong.push(format!("{session}: {event:?} comes before {reply:?}"));
                    }
                }
            }
            Line::Got(ServerMessage::Published(published)) => {
                waiting.retain(|_, id| *id != published.id);
            }
            Line::Got(ServerMessage::Error(error)) => waiting.retain(|_, id| Some(*id) != error.id),
            _ => {}
        }
    }
}

fn check_stored(name: &str, log: &[Event], all: &AllSaid<'_>, wrong: &mut Vec<String>) {
    let mut stored: HashMap<&[u8], u64> = HashMap::new();
    for event in log {
        let data = event.data.as_msgpack();
        if let Some(first) = stored.insert(data, event.offset) {
            wrong.push(format!("{name} has stored {event:?} at {first} already"));
        }
        let is_said = all.get(data).is_some_and(|said| {
            let Publish { kind, key, .. } = said.publish;
            said.room == name
                && *said.session == *event.sender
                && *kind == event.kind
                && *key == event.key
                // What was refused each time was not to be stored.
                && said.refused < said.sent
        });
        if !is_said {
            wrong.push(format!("{name} has stored what nobody has published: {event:?}"));
        }
    }
}

fn check_acknowledged(said: &Said<'_>, log: &[Event], wrong: &mut Vec<String>) {
    let mut note = |what: String| wrong.push(format!("{} in {}: {what}", said.session, said.room));
    let data: &Payload = &said.publish.data;
    for published in &said.acknowledged {
        let at = published.offset.checked_sub(1).and_then(|at| log.get(at as usize));
        if !at.is_some_and(|event| event.data == *data && event.time == published.time) {
            note(format!("{published:?} of {data:?}, and there is {at:?}"));
        }
    }
    let firsts = said.acknowledged.iter().filter(|published| !published.duplicate).count();
    if firsts > 1 {
        note(format!("{data:?} was stored anew {firsts} times: {:?}", said.acknowledged));
    }
    if said.acknowledged.len() == said.sent && firsts != 1 {
        note(format!("{data:?} is called a repeat, and was not: {:?}", said.acknowledged));
    }
}

fn publishes(connection: &Connection) -> impl Iterator<Item = &Publish> {
    connection.lines.iter().filter_map(|line| match line {
        Line::Sent(ClientMessage::Publish(publish)) => Some(publish),
        _ => None,
    })
}
