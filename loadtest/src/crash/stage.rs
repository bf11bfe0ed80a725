//! What the clients, the killer and the end of a run share: the judge, and what everybody is to do.

use std::sync::{Mutex, MutexGuard, PoisonError};

use dormouse_protocol::ObjectName;
use tokio::sync::watch;

use super::check::{ClientId, Judge, Place, Room};
use crate::bench::visit::object;
use crate::client::Notice;

/// Of one run.
pub(super) struct Stage {
    pub(super) url: String,
    pub(super) rooms: usize,
    judge: Mutex<Judge>,
    /// What everybody is to do.
    pub(super) pace: watch::Sender<Pace>,
    /// Changes when half of the clients are to lose their connections; odd ones if it is odd.
    pub(super) cuts: watch::Sender<u64>,
    /// Publishes that were sent.
    pub(super) sent: watch::Sender<u64>,
    /// Publishes that were acknowledged.
    pub(super) acknowledged: watch::Sender<u64>,
    /// How far each client is with coming to rest.
    pub(super) standings: watch::Sender<Vec<Standing>>,
}

/// What everybody is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// What they like.
    Normal,
    /// The same, as fast as they can.
    Burst,
    /// Nothing but receiving.
    Rest,
    /// Join everything, and then nothing.
    Settle,
    /// Go.
    Over,
}

/// How far a client is with coming to rest.
#[derive(Debug, Clone)]
pub(super) enum Standing {
    /// Something is left to be done.
    Busy,
    /// All is done; it is in rosters here.
    Settled(Vec<Place>),
    /// It can't go on.
    Gone,
}

impl Standing {
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Busy)
    }
}

impl Stage {
    pub(super) fn new(url: String, rooms: usize, clients: usize) -> Self {
        Self {
            url,
            rooms,
            judge: Mutex::new(Judge::new(rooms)),
            pace: watch::Sender::new(Pace::Normal),
            cuts: watch::Sender::new(0),
            sent: watch::Sender::new(0),
            acknowledged: watch::Sender::new(0),
            standings: watch::Sender::new(vec![Standing::Busy; clients]),
        }
    }

    pub(super) fn judge(&self) -> MutexGuard<'_, Judge> {
        self.judge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn name(room: Room) -> ObjectName {
        object(room.0 as u64)
    }

    /// The clients that have come to rest, and where they are in rosters.
    pub(super) fn settled(&self) -> (Vec<ClientId>, Vec<Place>) {
        let (mut clients, mut all) = (Vec::new(), Vec::new());
        for (nth, standing) in self.standings.borrow().iter().enumerate() {
            if let Standing::Settled(places) = standing {
                clients.push(ClientId(nth));
                all.extend(places.iter().cloned());
            }
        }
        (clients, all)
    }

    /// Tells the judge what has happened to a client.
    pub(super) fn tell(&self, client: ClientId, room: Room, notice: &Notice) {
        let mut judge = self.judge();
        match notice {
            Notice::Joined { asked, joined, .. } => judge.joined(client, room, *asked, joined),
            Notice::Reset { reason, position, .. } => judge.reset(client, room, *reason, *position),
            Notice::Left { .. } => judge.left(client, room),
            Notice::CaughtUp { offset, .. } => judge.caught_up(client, room, *offset),
            Notice::Events { events, .. } => judge.events(client, room, events),
            Notice::Published { key, sent, published, .. } => {
                judge.acknowledged(client, room, key, *sent, published);
            }
            Notice::Signals { signals, .. } => judge.signals(client, room, signals),
            Notice::Roster { roster, .. } => judge.roster(client, room, roster),
            Notice::Presence { changes, .. } => judge.presence(client, room, changes),
            Notice::History { after, page, .. } => judge.page(client, room, *after, page),
        }
    }
}
