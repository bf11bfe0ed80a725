//! A client: it does whatever a correct client may do, by chance. What it is told it judges in `checker.rs`.

use std::collections::BTreeMap;

use dormouse_protocol::{
    ClientMessage, Encoding, History, Key, Leave, Payload, Ping, PresenceGet, PresenceSet, Publish,
    Signal,
};

use super::bounds::{Bounds, PING_INTERVAL};
use super::chance::{below, between, one_in};
use super::link::{Arrival, Link};
use super::machine::Machine;
use super::seat::{Seat, Stage};
use super::trace::{Line, Trace};
use super::truth::{Room, Verdict, ensure};
use crate::session::{Session, Sessions};
use crate::socket::WireFormat;

/// Requests that it lets wait.
const MOST_WAITING: usize = 40;

pub(super) struct Client {
    number: usize,
    pub(super) session: Session,
    format: WireFormat,
    link: Option<Link>,
    /// When it was opened.
    since: u64,
    /// Connections that it does not use any more, and that nobody has closed.
    abandoned: Vec<Link>,
    pub(super) seats: Vec<Seat>,
    /// Requests of this connection that wait for their reply.
    pub(super) waiting: BTreeMap<u32, ClientMessage>,
    last_id: u32,
    pub(super) said: Vec<Said>,
    words: usize,
    trace: Trace,
}

/// A publish.
pub(super) struct Said {
    pub(super) room: usize,
    pub(super) data: Payload,
    pub(super) key: Option<Key>,
    pub(super) state: State,
    pub(super) sent: usize,
    /// Where it was acknowledged as new.
    pub(super) first: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Due,
    Sent(u32),
    /// At this offset.
    Stored(u64),
    /// Nobody knows, and it has no key to be sent again with.
    Lost,
}

/// What is around a client.
pub(super) struct Around<'a> {
    pub(super) machine: &'a Machine,
    pub(super) bounds: &'a Bounds,
    pub(super) rooms: &'a mut [Room],
    /// Milliseconds since the Unix epoch.
    pub(super) now: u64,
}

impl Client {
    pub(super) fn new(number: usize, rooms: usize, trace: Trace) -> Self {
        let seats = (0..rooms).filter(|room| *room == 0 || one_in(2));
        Self {
            number,
            session: Sessions::new(&[7; 32]).numbered(number as u64),
            format: WireFormat {
                encoding: if one_in(2) { Encoding::Json } else { Encoding::Msgpack },
                deflated: one_in(4),
            },
            link: None,
            since: 0,
            abandoned: Vec::new(),
            seats: seats.map(|room| Seat::new(room, one_in(2).then(|| words(number, 0)))).collect(),
            waiting: BTreeMap::new(),
            last_id: 0,
            said: Vec::new(),
            words: 0,
            trace,
        }
    }

    /// Does something.
    pub(super) fn act(&mut self, around: &mut Around<'_>) -> Verdict {
        if self.link.is_none() {
            self.connect(around);
        }
        let seat = below(self.seats.len());
        let is_free = self.waiting.len() < MOST_WAITING;
        match below(100) {
            0..20 => self.read(around, usize::MAX)?,
            20..35 => self.read(around, between(1, 500))?,
            35..55 if is_free => self.publish(around, seat),
            55..59 if is_free => self.repeat(seat),
            59..64 => self.signal(seat),
            64..70 if is_free => self.say(seat, true),
            70..72 if is_free => self.say(seat, false),
            72..75 if is_free => self.leave(seat),
            75..80 if self.seats[seat].stage == Stage::Away => {
                self.seats[seat].stage = Stage::Wanted;
            }
            80..84 if is_free => self.history(seat),
            84..87 if is_free => self.ask_who(seat),
            87..89 if is_free => self.ask(|id| ClientMessage::Ping(Ping { id })),
            89..93 => self.end(around, "cut", true),
            93..95 => {
                self.abandoned.extend(self.link.take());
                self.end(around, "abandoned", true);
            }
            95..96 => self.close(around),
            _ => {}
        }
        self.send_due(around, false);
        self.write(if one_in(10) { between(1, 30) } else { usize::MAX });
        Ok(())
    }

    /// Does only what it has to: comes back, asks again, reads.
    pub(super) fn settle(&mut self, around: &mut Around<'_>) -> Verdict {
        self.abandoned.clear();
        if self.link.is_none() {
            self.connect(around);
        }
        // Who left may have something to say yet.
        for said in self.said.iter().filter(|said| said.state == State::Due) {
            let away = |seat: &&mut Seat| seat.room == said.room && seat.stage == Stage::Away;
            if let Some(seat) = self.seats.iter_mut().find(away) {
                seat.stage = Stage::Wanted;
            }
        }
        self.read(around, usize::MAX)?;
        self.send_due(around, true);
        self.write(usize::MAX);
        Ok(())
    }

    /// Whether all that it asked for has come.
    pub(super) fn at_end(&self, rooms: &[Room]) -> Verdict {
        ensure!(self.link.is_some(), "it has no connection");
        let next = self.waiting.values().next();
        ensure!(next.is_none(), "nobody answers {next:?}");
        let due = self.said.iter().find(|said| matches!(said.state, State::Due | State::Sent(_)));
        ensure!(due.is_none(), "it can't publish {:?}", due.map(|said| &said.data));
        self.seats.iter().try_for_each(|seat| seat.at_end(&rooms[seat.room]))
    }

    fn connect(&mut self, around: &Around<'_>) {
        let (link, other) = Link::new(self.format.encoding, around.bounds.is_narrow);
        self.trace.note(Line::Opened(self.number));
        around.machine.accept(other, self.format, self.session.clone());
        (self.link, self.since) = (Some(link), around.now);
    }

    /// The connection has ended; `is_kept` says that the machine goes on.
    fn end(&mut self, around: &Around<'_>, how: &'static str, is_kept: bool) {
        self.trace.note(Line::Ended(self.number, how));
        self.link = None;
        self.waiting.clear();
        for said in &mut self.said {
            if matches!(said.state, State::Sent(_)) {
                said.state = if said.key.is_some() { State::Due } else { State::Lost };
            }
        }
        // A connection of that age was not closed for its silence.
        let is_sure = is_kept && around.now < self.since + PING_INTERVAL.as_millis() as u64 / 2;
        let until = around.now + around.bounds.grace.as_millis() as u64;
        self.seats.iter_mut().for_each(|seat| seat.lost(is_sure.then_some(until)));
    }

    /// The machine is gone.
    pub(super) fn machine_ended(&mut self, around: &Around<'_>) {
        self.abandoned.clear();
        self.end(around, "by the machine", false);
    }

    fn close(&mut self, around: &Around<'_>) {
        if let Some(mut link) = self.link.take() {
            link.close();
            link.write(usize::MAX);
            // Where the bytes do not go out, it looks like a cut to the server.
            self.abandoned.push(link);
        }
        self.end(around, "closed", false);
    }

    fn write(&mut self, most: usize) {
        if let Some(link) = &mut self.link {
            link.write(most);
        }
    }

    pub(super) fn ask(&mut self, make: impl FnOnce(u32) -> ClientMessage) {
        let Some(link) = &mut self.link else { return };
        self.last_id += 1;
        let message = make(self.last_id);
        link.send(&message);
        if !matches!(&message, ClientMessage::Signal(Signal { id: None, .. })) {
            self.waiting.insert(self.last_id, message.clone());
        }
        self.trace.note(Line::Sent(self.number, message));
    }

    /// Sends the joins and the publishes that are due.
    fn send_due(&mut self, around: &mut Around<'_>, is_honest: bool) {
        if self.link.is_none() {
            return;
        }
        for seat in 0..self.seats.len() {
            if self.seats[seat].stage == Stage::Wanted && self.waiting.len() < MOST_WAITING {
                let room = &around.rooms[self.seats[seat].room];
                let join = self.seats[seat].join(self.last_id + 1, room, is_honest);
                self.ask(|_| ClientMessage::Join(join));
            }
        }
        for index in 0..self.said.len() {
            let said = &self.said[index];
            let seat = self.seats.iter().find(|seat| seat.room == said.room);
            let Some(Stage::In(object)) = seat.map(|seat| seat.stage) else { continue };
            if said.state != State::Due || self.waiting.len() >= MOST_WAITING {
                continue;
            }
            let (data, key) = (said.data.clone(), said.key.clone());
            around.rooms[said.room].say(&data);
            let said = &mut self.said[index];
            (said.state, said.sent) = (State::Sent(self.last_id + 1), said.sent + 1);
            self.ask(|id| {
                let kind = "message".parse().expect("it is a kind");
                ClientMessage::Publish(Publish { id, object, kind, data, key, after: None })
            });
        }
    }

    fn publish(&mut self, around: &Around<'_>, seat: usize) {
        for _ in 0..if one_in(3) { between(2, 8) } else { 1 } {
            let number = self.said.len();
            let text = "x".repeat(below(around.bounds.most_bytes));
            let data = Payload::of(&(self.number, number, text)).expect("it is a value");
            let key = (!one_in(5)).then(|| format!("{number}").parse().expect("it is a key"));
            let room = self.seats[seat].room;
            self.said.push(Said { room, data, key, state: State::Due, sent: 0, first: None });
        }
    }

    /// What was stored is sent once more.
    fn repeat(&mut self, seat: usize) {
        let room = self.seats[seat].room;
        let is_fit = |said: &&mut Said| {
            said.room == room && said.key.is_some() && matches!(said.state, State::Stored(_))
        };
        if let Some(said) = self.said.iter_mut().rev().find(is_fit) {
            said.state = State::Due;
        }
    }

    fn ask_in(&mut self, seat: usize, make: impl FnOnce(u32, u64) -> ClientMessage) {
        if let Stage::In(object) = self.seats[seat].stage {
            self.ask(|id| make(id, object));
        }
    }

    fn signal(&mut self, seat: usize) {
        let data = self.next_words();
        let key = one_in(2).then(|| "k".parse().expect("it is a key"));
        let is_asked = one_in(2) && self.waiting.len() < MOST_WAITING;
        self.ask_in(seat, |id, object| {
            ClientMessage::Signal(Signal { id: is_asked.then_some(id), object, data, key })
        });
    }

    fn say(&mut self, seat: usize, something: bool) {
        let data = something.then(|| self.next_words());
        if let Stage::In(_) = self.seats[seat].stage {
            self.seats[seat].says.clone_from(&data);
            self.seats[seat].is_entered &= something;
        }
        self.ask_in(seat, |id, object| {
            ClientMessage::PresenceSet(PresenceSet { id, object, data })
        });
    }

    fn next_words(&mut self) -> Payload {
        self.words += 1;
        words(self.number, self.words)
    }

    fn leave(&mut self, seat: usize) {
        let Stage::In(object) = self.seats[seat].stage else { return };
        self.ask(|id| ClientMessage::Leave(Leave { id, object }));
        self.seats[seat].is_entered = false;
        self.seats[seat].stage = Stage::Leaving(object);
    }

    fn history(&mut self, seat: usize) {
        let bound = |times| one_in(times).then(|| below(20) as u64);
        let (after, before) = (bound(2), bound(4));
        let (limit, reverse) = (Some(between(1, 12) as u32), one_in(2));
        self.ask_in(seat, |id, object| {
            ClientMessage::History(History { id, object, after, before, limit, reverse })
        });
    }

    fn ask_who(&mut self, seat: usize) {
        self.ask_in(seat, |id, object| {
            let (since, after, limit) = (None, None, None);
            ClientMessage::PresenceGet(PresenceGet { id, object, since, after, limit })
        });
    }

    fn read(&mut self, around: &mut Around<'_>, most: usize) -> Verdict {
        let Some(link) = &mut self.link else { return Ok(()) };
        let (count, has_ended) = link.read(most);
        if count > 0 {
            self.trace.note(Line::Bytes(self.number, count));
        }
        while let Some(link) = &mut self.link {
            match link.next()? {
                Some(Arrival::Message(message)) => {
                    self.trace.note(Line::Got(self.number, message.clone()));
                    self.take(around, &message)?;
                }
                Some(Arrival::Closed(code)) => {
                    self.trace.note(Line::Closed(self.number, code));
                    // Silence, or nothing taken for too long.
                    ensure!(matches!(code, 3001 | 3004), "the server closes with {code}");
                    let is_old = around.now >= self.since + PING_INTERVAL.as_millis() as u64 / 2;
                    ensure!(is_old, "the server closes a young connection with {code}");
                    self.end(around, "by the server", false);
                }
                None => break,
            }
        }
        ensure!(!has_ended || self.link.is_none(), "the server cuts a connection");
        Ok(())
    }

    /// Its entries in the roster of a room.
    pub(super) fn entries(&self, room: usize) -> impl Iterator<Item = (u64, (Box<str>, Payload))> {
        let seats = self.seats.iter().filter(move |seat| seat.room == room);
        seats
            .filter_map(Seat::entry)
            .map(|(member, data)| (member, ((&*self.session.id).into(), data)))
    }
}

fn words(client: usize, number: usize) -> Payload {
    Payload::of(&(client, number)).expect("it is a value")
}
