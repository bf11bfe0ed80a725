//! Promises 2, 3 and 4 for those who write: what was acknowledged is stored where it was said to be, what is stored was published,
//! once for each key, and each publisher's events stand in the order in which they were sent.

use std::collections::{BTreeMap, HashMap};

use dormouse_protocol::{Event, Key, Kind, Payload, Published};

use super::{Breach, ClientId, Fault, Room, Violations};

/// The publishes of all clients, and what the logs are known to hold.
pub(super) struct Publishes {
    sessions: HashMap<Box<str>, ClientId>,
    said: HashMap<(Room, ClientId, Key), Said>,
    logs: Vec<Log>,
    /// Publishes so far; so each has a number, and they are in order.
    count: u64,
    acknowledgements: u64,
}

/// What a client publishes.
#[derive(Debug, Clone)]
pub(in crate::crash) struct Post {
    pub(in crate::crash) room: Room,
    pub(in crate::crash) key: Key,
    pub(in crate::crash) kind: Kind,
    pub(in crate::crash) data: Payload,
}

/// A publish, over all the times that it was asked for.
struct Said {
    number: u64,
    kind: Kind,
    data: Payload,
    /// How often the client asked for it.
    asked: u32,
    acknowledged: Option<Acknowledged>,
    /// Where the log was seen to hold it.
    found: Option<u64>,
}

/// The first acknowledgement.
#[derive(Clone, Copy)]
struct Acknowledged {
    offset: u64,
    time: u64,
    /// One said that the event was not stored before.
    is_first: bool,
}

/// What anybody has seen of an object's log.
#[derive(Default)]
struct Log {
    epoch: Option<u32>,
    events: BTreeMap<u64, Event>,
    /// Where each publisher's events stand, by their numbers.
    places: HashMap<ClientId, BTreeMap<u64, u64>>,
}

impl Publishes {
    pub(super) fn new(rooms: usize) -> Self {
        Self {
            sessions: HashMap::new(),
            said: HashMap::new(),
            logs: (0..rooms).map(|_| Log::default()).collect(),
            count: 0,
            acknowledgements: 0,
        }
    }

    pub(super) fn is_session(&mut self, client: ClientId, session: &str) {
        self.sessions.insert(session.into(), client);
    }

    pub(super) fn client(&self, session: &str) -> Option<ClientId> {
        self.sessions.get(session).copied()
    }

    pub(super) fn acknowledgements(&self) -> u64 {
        self.acknowledgements
    }

    pub(super) fn publish(&mut self, client: ClientId, post: &Post) {
        self.count += 1;
        let number = self.count;
        let said = self.said.entry((post.room, client, post.key.clone())).or_insert_with(|| Said {
            number,
            kind: post.kind.clone(),
            data: post.data.clone(),
            asked: 0,
            acknowledged: None,
            found: None,
        });
        said.asked += 1;
    }

    pub(super) fn acknowledged(
        &mut self,
        client: ClientId,
        room: Room,
        key: &Key,
        sent: u32,
        published: &Published,
        out: &mut Violations,
    ) {
        let Published { offset, time, duplicate, .. } = *published;
        let mut note = |breach, what: String| {
            out.add(Fault::new(breach, what).room(room).offset(offset).client(client).key(key));
        };
        let Some(said) = self.said.get_mut(&(room, client, key.clone())) else {
            return note(Breach::Conduct, "an acknowledgement of what was not published".into());
        };
        self.acknowledgements += 1;
        if duplicate && said.asked == 1 && sent == 1 {
            note(Breach::Altered, "it was sent once and is said to be a duplicate".into());
        }
        match &mut said.acknowledged {
            None => {
                let is_first = !duplicate;
                said.acknowledged = Some(Acknowledged { offset, time, is_first });
            }
            Some(first) => {
                if (first.offset, first.time) != (offset, time) {
                    let what = format!(
                        "a retry is acknowledged with time {time}, the first time it was offset {}, time {}",
                        first.offset, first.time
                    );
                    note(Breach::Moved, what);
                }
                if first.is_first && !duplicate {
                    note(
                        Breach::Repeated,
                        "it is said to be stored for the first time, twice".into(),
                    );
                }
                first.is_first |= !duplicate;
            }
        }
        match said.found {
            Some(found) if found != offset => {
                note(Breach::Moved, format!("it is acknowledged here, and stands at {found}"));
            }
            Some(_) if self.logs[room.0].events[&offset].time != time => {
                note(Breach::Altered, format!("it is acknowledged with another time, {time}"));
            }
            _ => {}
        }
    }

    /// Whether a log that has events is another one than before.
    pub(super) fn is_other_epoch(&mut self, room: Room, epoch: u32) -> bool {
        *self.logs[room.0].epoch.get_or_insert(epoch) != epoch
    }

    /// Another log has taken the place of an object's: what was seen of the old one says nothing any more. Tells the epoch before.
    pub(super) fn forget(&mut self, room: Room, epoch: u32) -> u32 {
        for ((at, ..), said) in &mut self.said {
            if *at == room {
                said.found = None;
            }
        }
        let before = std::mem::take(&mut self.logs[room.0]).epoch;
        self.logs[room.0].epoch = Some(epoch);
        before.unwrap_or(0)
    }

    /// Somebody has received this event.
    pub(super) fn seen(&mut self, by: ClientId, room: Room, event: &Event, out: &mut Violations) {
        let log = &mut self.logs[room.0];
        let fault = |breach, what: String| {
            Fault::new(breach, what).room(room).offset(event.offset).client(by)
        };
        if let Some(known) = log.events.get(&event.offset) {
            if known != event {
                let what = format!("it receives {event:?}, and others have received {known:?}");
                out.add(fault(Breach::Altered, what));
            }
            return;
        }
        let before = log.events.range(..event.offset).next_back();
        let after = log.events.range(event.offset..).next();
        if before.is_some_and(|(_, other)| other.time > event.time)
            || after.is_some_and(|(_, other)| other.time < event.time)
        {
            out.add(fault(Breach::Reordered, format!("time goes back around {event:?}")));
        }
        log.events.insert(event.offset, event.clone());
        let sender = self.sessions.get(&event.sender).copied();
        let said = sender.zip(event.key.clone()).and_then(|(sender, key)| {
            self.said.get_mut(&(room, sender, key)).map(|said| (sender, said))
        });
        let Some((sender, said)) = said else {
            return out.add(fault(Breach::Invented, format!("nobody has published {event:?}")));
        };
        let fault = |breach, what| {
            let fault = fault(breach, what).client(sender);
            if let Some(key) = &event.key { fault.key(key) } else { fault }
        };
        if said.kind != event.kind || said.data != event.data {
            let what = format!("{event:?} was published as {} {:?}", &*said.kind, said.data);
            out.add(fault(Breach::Altered, what));
        }
        if let Some(found) = said.found {
            let what = format!("it is stored a second time, the first is at {found}");
            return out.add(fault(Breach::Repeated, what));
        }
        said.found = Some(event.offset);
        match said.acknowledged {
            Some(first) if first.offset != event.offset => {
                let what = format!("it stands here, and was acknowledged at {}", first.offset);
                out.add(fault(Breach::Moved, what));
            }
            Some(first) if first.time != event.time => {
                let what = format!("{event:?} was acknowledged with time {}", first.time);
                out.add(fault(Breach::Altered, what));
            }
            _ => {}
        }
        let places = log.places.entry(sender).or_default();
        let earlier = places.range(..said.number).next_back().map(|(_, offset)| *offset);
        let later = places.range(said.number..).next().map(|(_, offset)| *offset);
        if let Some(other) = earlier.filter(|other| *other > event.offset) {
            let what = format!("it was sent after the one at {other}, and stands before it");
            out.add(fault(Breach::Reordered, what));
        }
        if let Some(other) = later.filter(|other| *other < event.offset) {
            let what = format!("it was sent before the one at {other}, and stands behind it");
            out.add(fault(Breach::Reordered, what));
        }
        places.insert(said.number, event.offset);
    }

    /// The logs end here, and somebody has read all of them.
    pub(super) fn conclude(&self, heads: &[u64], out: &mut Violations) {
        for ((room, client, key), said) in &self.said {
            if let (Some(first), None) = (said.acknowledged, said.found) {
                let instead = self.logs[room.0].events.get(&first.offset);
                let what = format!("it was acknowledged, and the log holds {instead:?} there");
                let fault = Fault::new(Breach::Lost, what).room(*room).offset(first.offset);
                out.add(fault.client(*client).key(key));
            }
        }
        for (room, (log, head)) in self.logs.iter().zip(heads).enumerate() {
            for (offset, event) in log.events.range(head + 1..) {
                let what = format!("{event:?} was delivered, and the log ends at {head}");
                out.add(Fault::new(Breach::Lost, what).room(Room(room)).offset(*offset));
            }
        }
    }
}
