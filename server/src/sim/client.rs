//! A client: it does whatever a correct client may do, by chance, and judges what it is told.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use dormouse_protocol::{
    ClientMessage, Encoding, ErrorCode, ErrorReply, Event, History, Key, Leave, Payload, Ping,
    PresenceGet, PresenceSet, Publish, Published, ServerMessage, Signal,
};

use super::bounds::{Bounds, PING_INTERVAL};
use super::chance::{below, between, one_in};
use super::link::{Arrival, Link};
use super::machine::Machine;
use super::seat::{Seat, Stage};
use super::trace::{Line, Trace};
use super::truth::{Room, Verdict, ensure};
use super::view::View;
use crate::session::Session;

/// Requests that it lets wait.
const MOST_WAITING: usize = 40;

pub(super) struct Client {
    number: usize,
    pub(super) session: Session,
    encoding: Encoding,
    link: Option<Link>,
    /// When it was opened.
    since: u64,
    /// Connections that it does not use any more, and that nobody has closed.
    abandoned: Vec<Link>,
    pub(super) seats: Vec<Seat>,
    /// Requests of this connection that wait for their reply.
    waiting: BTreeMap<u32, ClientMessage>,
    last_id: u32,
    said: Vec<Said>,
    words: usize,
    trace: Trace,
}

/// A publish.
struct Said {
    room: usize,
    data: Payload,
    key: Option<Key>,
    state: State,
    sent: usize,
    /// Where it was acknowledged as new.
    first: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
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
        let token = BASE64_URL_SAFE_NO_PAD.encode([number as u8; 16]);
        let seats = (0..rooms).filter(|room| *room == 0 || one_in(2));
        Self {
            number,
            session: Session::from_token(&token).expect("16 bytes are a token"),
            encoding: if one_in(2) { Encoding::Json } else { Encoding::Msgpack },
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
        let (link, other) = Link::new(self.encoding, around.bounds.is_narrow);
        self.trace.note(Line::Opened(self.number));
        around.machine.accept(other, self.encoding, self.session.clone());
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

    fn ask(&mut self, make: impl FnOnce(u32) -> ClientMessage) {
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
                ClientMessage::Publish(Publish { id, object, kind, data, key })
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
            let (state, sent, first) = (State::Due, 0, None);
            self.said.push(Said { room, data, key, state, sent, first });
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
                    let line = Line::Got(self.number, message.clone());
                    self.trace.note(line);
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

    fn take(&mut self, around: &mut Around<'_>, message: &ServerMessage) -> Verdict {
        match message {
            ServerMessage::Welcome(welcome) => {
                ensure!(*welcome.session == *self.session.id, "{welcome:?} to {:?}", self.session);
                Ok(())
            }
            ServerMessage::Joined(joined) => {
                let Some(ClientMessage::Join(join)) = self.waiting.remove(&joined.id) else {
                    return Err(format!("{joined:?} answers nothing"));
                };
                let seat =
                    self.seats.iter_mut().find(|seat| around.rooms[seat.room].name == join.object);
                let seat = seat.ok_or("a room that it did not ask for")?;
                ensure!(seat.stage == Stage::Joining, "{joined:?}, and it is {:?}", seat.stage);
                seat.joined(&around.rooms[seat.room], &join, joined, around.now)
            }
            ServerMessage::Events(events) => {
                for event in &events.events {
                    self.reply_comes_first(event)?;
                }
                let seat = self.seat(events.object)?;
                seat.events(&mut around.rooms[seat.room], events)
            }
            ServerMessage::CaughtUp(caught_up) => self.seat(caught_up.object)?.caught_up(caught_up),
            ServerMessage::Reset(reset) => {
                let seat = self.seat(reset.object)?;
                seat.reset(&around.rooms[seat.room], reset)
            }
            ServerMessage::Published(published) => self.published(around, published),
            ServerMessage::Signals(signals) => self.seat(signals.object)?.signals(signals),
            ServerMessage::History(page) => {
                let Some(ClientMessage::History(asked)) = self.waiting.remove(&page.id) else {
                    return Err(format!("{page:?} answers nothing"));
                };
                let room = self.seat(asked.object)?.room;
                let mut events: Vec<&Event> = page.events.iter().collect();
                if asked.reverse {
                    events.reverse();
                }
                let follows = |pair: &[&Event]| pair[0].offset + 1 == pair[1].offset;
                ensure!(events.windows(2).all(follows), "a page with a hole: {page:?}");
                events.into_iter().try_for_each(|event| around.rooms[room].got(event))
            }
            ServerMessage::Roster(roster) => {
                if let Some(id) = roster.id {
                    let asked = self.waiting.remove(&id);
                    let is_answer = matches!(asked, Some(ClientMessage::PresenceGet(_)));
                    ensure!(is_answer, "{roster:?} answers {asked:?}");
                    let seat = self.seat(roster.object)?;
                    return around.rooms[seat.room].seen(&View::of(roster)?);
                }
                let seat = self.seat(roster.object)?;
                seat.roster(&mut around.rooms[seat.room], roster)
            }
            ServerMessage::Presence(changes) => {
                let seat = self.seat(changes.object)?;
                seat.presence(&mut around.rooms[seat.room], changes)
            }
            ServerMessage::Done(done) => match self.waiting.remove(&done.id) {
                Some(ClientMessage::Leave(leave)) => {
                    self.seat(leave.object)?.left();
                    Ok(())
                }
                Some(ClientMessage::PresenceSet(set)) => {
                    let is_later = |request: &ClientMessage| matches!(request, ClientMessage::PresenceSet(other) if other.object == set.object);
                    let is_last = !self.waiting.values().any(is_later);
                    let seat = self.seat(set.object)?;
                    let is_in = matches!(seat.stage, Stage::In(_)) && set.data.is_some();
                    seat.is_entered |= is_last && is_in;
                    Ok(())
                }
                Some(ClientMessage::Ping(_) | ClientMessage::Signal(_)) => Ok(()),
                other => Err(format!("{done:?} answers {other:?}")),
            },
            ServerMessage::Error(error) => self.refused(around, error),
        }
    }

    /// The seat in an object, as a member.
    fn seat(&mut self, object: u64) -> Verdict<&mut Seat> {
        let is_meant = |seat: &&mut Seat| matches!(seat.stage, Stage::In(own) | Stage::Leaving(own) if own == object);
        let seat = self.seats.iter_mut().find(is_meant);
        seat.ok_or_else(|| format!("it is told of {object}, where it is no member"))
    }

    fn published(&mut self, around: &mut Around<'_>, published: &Published) -> Verdict {
        let Published { id, offset, time, duplicate } = *published;
        let Some(ClientMessage::Publish(_)) = self.waiting.remove(&id) else {
            return Err(format!("{published:?} answers nothing"));
        };
        let at = self.said.iter().position(|said| said.state == State::Sent(id));
        let at = at.ok_or("it did not say that")?;
        let said = &mut self.said[at];
        around.rooms[said.room].acknowledged(&said.data, offset, time)?;
        // A key is forgotten with its event.
        let is_known = said.first.is_some_and(|first| around.rooms[said.room].keeps(first));
        ensure!(duplicate || !is_known, "{published:?} is new for the second time");
        ensure!(!duplicate || said.sent > 1, "{published:?} was sent once");
        said.first = said.first.or((!duplicate).then_some(offset));
        said.state = State::Stored(offset);
        if said.sent > 1 {
            return Ok(());
        }
        // What one connection publishes is stored in its order. Who sends again may come later.
        let room = said.room;
        let before = self.said[..at].iter().filter(|said| said.room == room && said.sent == 1);
        let disorder = before.filter_map(|said| match said.state {
            State::Stored(before) => Some(before),
            _ => None,
        });
        let disorder = disorder.max().filter(|before| *before >= offset);
        ensure!(disorder.is_none(), "{published:?} was said after what is at {disorder:?}");
        Ok(())
    }

    /// Who publishes is answered before it gets the event, if it asked only once.
    fn reply_comes_first(&self, event: &Event) -> Verdict {
        let own = self.said.iter().find(|said| said.data == event.data);
        let is_early =
            own.is_some_and(|said| said.sent == 1 && matches!(said.state, State::Sent(_)));
        ensure!(!is_early, "{event:?} comes before its reply");
        Ok(())
    }

    fn refused(&mut self, around: &mut Around<'_>, error: &ErrorReply) -> Verdict {
        let asked = error.id.and_then(|id| self.waiting.remove(&id));
        let has_failed = around.machine.has_failed();
        match asked {
            Some(ClientMessage::Publish(publish)) => {
                let said = self.said.iter_mut().find(|said| said.state == State::Sent(publish.id));
                let said = said.ok_or("it did not say that")?;
                let is_true = match error.code {
                    ErrorCode::Overloaded => true,
                    ErrorCode::Unavailable => has_failed,
                    ErrorCode::Internal => around.rooms[said.room].has_crashed,
                    _ => false,
                };
                ensure!(is_true, "{error:?} to {publish:?}");
                said.state = if said.key.is_some() { State::Due } else { State::Lost };
                Ok(())
            }
            other => Err(format!("{error:?} to {other:?}")),
        }
    }

    /// Takes back the client's seats; for its entries in rosters.
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
