//! What a client remembers between its connections, as a good client does: its position, number and last words in every
//! room, and which of its publishes were not acknowledged.

use dormouse_protocol::{
    ClientMessage, Join, Payload, Position, Publish, ServerMessage, Start, Watch,
};

use super::actor::Goals;
use super::history::Place;
use super::plan::{Entry, From, Sight};
use crate::checked_client::says;

pub(super) struct ClientState {
    number: usize,
    pub(super) rooms: Vec<Room>,
    publishes: Vec<Said>,
    words: u32,
}

/// A room and where the client stands in it.
#[derive(Debug)]
pub(super) struct Room {
    name: String,
    pub(super) stage: Stage,
    from: From,
    watch: Sight,
    /// Epoch and offset of what was received.
    position: Option<Position>,
    version: Option<u64>,
    member: Option<u64>,
    /// What it wants to say of itself.
    pub(super) says: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It was left and is not missed.
    Away,
    /// To be joined.
    Wanted,
    Joining,
    /// A member of the object of this number.
    In(u64),
}

/// A publish.
#[derive(Debug)]
struct Said {
    room: usize,
    data: Payload,
    key: Option<String>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Due,
    Sent(u32),
    Stored,
    /// It was not acknowledged, and can't be sent again, having no key.
    Lost,
}

impl ClientState {
    pub(super) fn new(number: usize, entries: Vec<Entry>, names: &[String]) -> Self {
        let rooms = entries.into_iter().map(|entry| Room {
            name: names[entry.room].clone(),
            stage: Stage::Wanted,
            from: entry.from,
            watch: entry.watch,
            position: None,
            version: None,
            member: None,
            says: entry.is_present.then(|| format!("{number} is new")),
        });
        Self { number, rooms: rooms.collect(), publishes: Vec::new(), words: 0 }
    }

    pub(super) fn publish(&mut self, room: usize, count: usize, bytes: usize, is_keyed: bool) {
        for _ in 0..count {
            let number = self.publishes.len();
            let data = Payload::of(&(self.number, number, "x".repeat(bytes)));
            let data = data.expect("it is a value");
            let key = is_keyed.then(|| format!("{}-{number}", self.number));
            self.publishes.push(Said { room, data, key, state: State::Due });
        }
    }

    /// The newest publish that was stored is to be sent once more.
    pub(super) fn repeat(&mut self, room: usize) {
        let mut stored = self.publishes.iter_mut().rev();
        let is_fit = |said: &&mut Said| {
            said.room == room && said.state == State::Stored && said.key.is_some()
        };
        if let Some(said) = stored.find(is_fit) {
            said.state = State::Due;
        }
    }

    /// What to say now and in which object; nothing is said where the client is no member.
    pub(super) fn say(&mut self, room: usize, something: bool) -> Option<(u64, Option<String>)> {
        self.words += 1;
        let (words, number) = (self.words, self.number);
        let room = &mut self.rooms[room];
        let Stage::In(object) = room.stage else { return None };
        room.says = something.then(|| format!("{number} says {words}"));
        Some((object, room.says.clone()))
    }

    pub(super) fn leave(&mut self, room: usize) -> Option<u64> {
        let room = &mut self.rooms[room];
        let Stage::In(object) = room.stage else { return None };
        (room.stage, room.member) = (Stage::Away, None);
        Some(object)
    }

    pub(super) fn come_back(&mut self, room: usize, from: From) {
        let room = &mut self.rooms[room];
        if room.stage == Stage::Away {
            (room.stage, room.from, room.position, room.version) =
                (Stage::Wanted, from, None, None);
        }
    }

    /// The next request that is due.
    pub(super) fn due(&mut self, id: u32) -> Option<ClientMessage> {
        let wanted = self.rooms.iter_mut().find(|room| room.stage == Stage::Wanted);
        if let Some(room) = wanted {
            room.stage = Stage::Joining;
            return Some(ClientMessage::Join(room.join(id)));
        }
        let rooms = &self.rooms;
        let is_due = |said: &&mut Said| {
            said.state == State::Due && matches!(rooms[said.room].stage, Stage::In(_))
        };
        let said = self.publishes.iter_mut().find(is_due)?;
        said.state = State::Sent(id);
        let Stage::In(object) = rooms[said.room].stage else { return None };
        let (data, kind) = (said.data.clone(), "message".parse().expect("it is a kind"));
        let key = said.key.as_ref().map(|key| key.parse().expect("it is a key"));
        Some(ClientMessage::Publish(Publish { id, object, kind, data, key, after: None }))
    }

    /// The connection is gone.
    pub(super) fn lost(&mut self) {
        for room in &mut self.rooms {
            if room.stage != Stage::Away {
                room.stage = Stage::Wanted;
            }
        }
        for said in &mut self.publishes {
            if let State::Sent(_) = said.state {
                said.not_stored();
            }
        }
    }

    /// The connection was closed in order: the client has left every roster.
    pub(super) fn closed(&mut self) {
        for room in &mut self.rooms {
            room.member = None;
        }
    }

    pub(super) fn take(&mut self, message: &ServerMessage, request: Option<&ClientMessage>) {
        match message {
            ServerMessage::Joined(joined) => {
                let Some(ClientMessage::Join(join)) = request else { return };
                let name = join.object.as_str();
                let Some(room) = self.rooms.iter_mut().find(|room| room.name == name) else {
                    return;
                };
                room.stage = Stage::In(joined.object);
                room.member = Some(joined.member);
                room.position = Some(Position { epoch: joined.epoch, offset: joined.from });
            }
            ServerMessage::Events(events) => {
                if let (Some(position), Some(last)) =
                    (self.position(events.object), events.events.last())
                {
                    position.offset = last.offset;
                }
            }
            ServerMessage::Reset(reset) => {
                if let Some(position) = self.position(reset.object) {
                    *position = Position { epoch: reset.epoch, offset: reset.from };
                }
            }
            ServerMessage::Roster(roster) if roster.id.is_none() => {
                self.saw(roster.object, roster.version);
            }
            ServerMessage::Presence(changes) => self.saw(changes.object, changes.version),
            ServerMessage::Published(published) => {
                if let Some(said) = self.sent(published.id) {
                    said.state = State::Stored;
                }
            }
            ServerMessage::Error(error) => {
                let Some(id) = error.id else { return };
                if let Some(said) = self.sent(id) {
                    said.not_stored();
                }
                if let Some(ClientMessage::Join(join)) = request {
                    let name = join.object.as_str();
                    if let Some(room) = self.rooms.iter_mut().find(|room| room.name == name) {
                        room.stage = Stage::Wanted;
                    }
                }
            }
            _ => {}
        }
    }

    /// Whether it is a member wherever it wants to be.
    pub(super) fn is_everywhere(&self) -> bool {
        self.rooms.iter().all(|room| matches!(room.stage, Stage::Away | Stage::In(_)))
    }

    /// Whether nothing waits for an acknowledgement, but what was said in rooms that were left.
    pub(super) fn is_stored(&self) -> bool {
        self.is_everywhere()
            && self.publishes.iter().all(|said| {
                matches!(said.state, State::Stored | State::Lost)
                    || self.rooms[said.room].stage == Stage::Away
            })
    }

    /// Whether everything was received wherever it is a member.
    pub(super) fn is_at(&self, goals: &Goals) -> bool {
        self.rooms.iter().filter(|room| room.stage != Stage::Away).all(|room| {
            let (head, version) = goals[&room.name];
            let has_events = room.position.is_some_and(|position| position.offset >= head);
            let has_roster = room.watch == Sight::None || room.version >= Some(version);
            matches!(room.stage, Stage::In(_)) && has_events && has_roster
        })
    }

    pub(super) fn places(&self, user: &str) -> Vec<Place> {
        let places =
            self.rooms.iter().filter(|room| room.stage != Stage::Away).filter_map(|room| {
                Some(Place {
                    room: room.name.clone(),
                    member: room.member?,
                    user: user.to_owned(),
                    data: says(room.says.as_ref()?),
                })
            });
        places.collect()
    }

    fn sent(&mut self, id: u32) -> Option<&mut Said> {
        self.publishes.iter_mut().find(|said| said.state == State::Sent(id))
    }

    fn room(&mut self, object: u64) -> Option<&mut Room> {
        self.rooms.iter_mut().find(|room| room.stage == Stage::In(object))
    }

    fn position(&mut self, object: u64) -> Option<&mut Position> {
        self.room(object)?.position.as_mut()
    }

    fn saw(&mut self, object: u64, version: u64) {
        if let Some(room) = self.room(object) {
            room.version = Some(version);
        }
    }
}

impl Room {
    fn join(&self, id: u32) -> Join {
        let from = match (self.position, self.from) {
            (Some(position), _) => Start::After(position),
            (None, From::Now) => Start::Now,
            (None, From::All) => Start::All,
            (None, From::Last(count)) => Start::Last(count),
        };
        let watch = match (self.watch, self.version) {
            (Sight::None, _) => Watch::None,
            (Sight::Count, _) => Watch::Count,
            (Sight::Roster, Some(version)) => Watch::Since(version),
            (Sight::Roster, None) => Watch::Roster,
        };
        let presence = self.says.as_deref().map(says);
        let member = self.member.filter(|_| presence.is_some());
        let object = self.name.parse().expect("it is a name");
        Join { presence, watch, member, ..Join::new(id, object, from) }
    }
}

impl Said {
    fn not_stored(&mut self) {
        self.state = if self.key.is_some() { State::Due } else { State::Lost };
    }
}
