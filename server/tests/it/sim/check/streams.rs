//! Promises 2, 3, 5, 6 and 7 for those who read: from where it joined, every member gets every event of the log once, in order
//! and over all its connections, and nothing else.

use std::collections::HashMap;

use dormouse_protocol::{ClientMessage, Event, HistoryPage, Joined, ServerMessage, Start};

use super::Talk;
use crate::sim::history::{Diary, End, History, Line, Room};

pub(super) fn check(history: &History, wrong: &mut Vec<String>) {
    for (name, room) in &history.rooms {
        check_log(name, room, wrong);
    }
    for diary in &history.clients {
        let mut reader = Reader { history, diary, wrong, positions: HashMap::new() };
        for (number, connection) in diary.connections.iter().enumerate() {
            reader.read(number, &Talk::of(connection), &connection.lines, connection.end);
        }
    }
}

fn check_log(name: &str, room: &Room, wrong: &mut Vec<String>) {
    for (event, offset) in room.log.iter().zip(1..) {
        if event.offset != offset {
            wrong.push(format!("the log of {name} has {event:?} at {offset}"));
        }
    }
    if !room.log.is_sorted_by_key(|event| event.time) {
        wrong.push(format!("time goes back in the log of {name}"));
    }
    if (room.log.len() as u64) < room.head {
        wrong.push(format!("{name} has lost events: it had {} of them", room.head));
    }
}

/// One client.
struct Reader<'a> {
    history: &'a History,
    diary: &'a Diary,
    wrong: &'a mut Vec<String>,
    /// What it has of each room.
    positions: HashMap<&'a str, u64>,
}

/// A membership of one connection.
struct Member<'a> {
    name: &'a str,
    room: &'a Room,
    is_caught_up: bool,
}

impl<'a> Reader<'a> {
    fn read(&mut self, number: usize, talk: &Talk<'a>, lines: &'a [Line], end: End) {
        let mut members: HashMap<u64, Member<'a>> = HashMap::new();
        for line in lines {
            let Line::Got(message) = line else { continue };
            match message {
                ServerMessage::Joined(joined) => {
                    let Some(ClientMessage::Join(join)) = talk.requests.get(&joined.id) else {
                        continue;
                    };
                    let name = join.object.as_str();
                    let room = &self.history.rooms[name];
                    self.join(name, room, &join.from, joined);
                    let member = Member { name, room, is_caught_up: false };
                    if members.insert(joined.object, member).is_some() {
                        self.note(number, name, "it is a member twice");
                    }
                }
                ServerMessage::Done(done) => {
                    if let Some(ClientMessage::Leave(leave)) = talk.requests.get(&done.id) {
                        members.remove(&leave.object);
                    }
                }
                ServerMessage::Events(events) => match members.get(&events.object) {
                    Some(member) => self.take(number, member, &events.events),
                    None => self.note(number, "", &format!("{events:?} of no membership")),
                },
                ServerMessage::CaughtUp(caught_up) => match members.get_mut(&caught_up.object) {
                    Some(member) => {
                        member.is_caught_up = true;
                        if self.positions.get(member.name) != Some(&caught_up.offset) {
                            self.note(number, member.name, &format!("{caught_up:?} elsewhere"));
                        }
                    }
                    None => self.note(number, "", &format!("{caught_up:?} of no membership")),
                },
                // Nothing is ever trimmed here, and no log is lost.
                ServerMessage::Reset(reset) => self.note(number, "", &format!("{reset:?}")),
                ServerMessage::Signals(signals) if !members.contains_key(&signals.object) => {
                    self.note(number, "", &format!("{signals:?} of no membership"));
                }
                ServerMessage::History(page) => {
                    let Some(ClientMessage::History(asked)) = talk.requests.get(&page.id) else {
                        continue;
                    };
                    let Some(member) = members.get(&asked.object) else { continue };
                    self.page(number, member, page, asked.reverse);
                }
                _ => {}
            }
        }
        if end == End::Lived {
            for member in members.values() {
                if !member.is_caught_up || self.positions[member.name] < member.room.head {
                    let what = format!("it does not get to the end, {}", member.room.head);
                    self.note(number, member.name, &what);
                }
            }
        }
    }

    fn join(&mut self, name: &'a str, room: &Room, from: &Start, joined: &Joined) {
        let before = self.positions.insert(name, joined.from).unwrap_or(0);
        let is_right = match from {
            Start::Now => joined.from == joined.head,
            Start::All => joined.from == 0,
            Start::Last(count) => joined.from == joined.head.saturating_sub((*count).into()),
            Start::After(position) => joined.from == position.offset && before == position.offset,
        };
        let is_resume = matches!(from, Start::After(_));
        if !is_right || joined.resumed != is_resume || joined.reset.is_some() {
            self.note(0, name, &format!("{from:?} at {before} is answered with {joined:?}"));
        }
        // An object of which nothing is stored yet has no log that a restart could continue.
        if joined.head > 0 && joined.epoch != room.epoch {
            self.note(0, name, &format!("{joined:?} of a log of epoch {}", room.epoch));
        }
    }

    fn take(&mut self, number: usize, member: &Member<'a>, events: &[Event]) {
        for event in events {
            let position = self.positions.insert(member.name, event.offset).unwrap_or(0);
            if event.offset != position + 1 {
                self.note(number, member.name, &format!("{} follows {position}", event.offset));
            }
            self.compare(number, member, event);
        }
    }

    fn page(&mut self, number: usize, member: &Member<'a>, page: &HistoryPage, reverse: bool) {
        let mut offsets: Vec<u64> = page.events.iter().map(|event| event.offset).collect();
        if reverse {
            offsets.reverse();
        }
        if offsets.windows(2).any(|pair| pair[0] + 1 != pair[1]) {
            self.note(number, member.name, &format!("a page has the offsets {offsets:?}"));
        }
        for event in &page.events {
            self.compare(number, member, event);
        }
    }

    /// What anybody sees is what the log has at the end: so all saw the same.
    fn compare(&mut self, number: usize, member: &Member<'a>, event: &Event) {
        let stored = event.offset.checked_sub(1).and_then(|at| member.room.log.get(at as usize));
        if stored != Some(event) {
            self.note(number, member.name, &format!("{event:?} is stored as {stored:?}"));
        }
    }

    fn note(&mut self, connection: usize, room: &str, what: &str) {
        let session = &self.diary.session;
        self.wrong.push(format!("{session}, connection {connection}, {room}: {what}"));
    }
}
