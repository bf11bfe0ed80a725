//! What a client knows of one room, and what it may be told of it as a member.

use std::collections::HashSet;

use dormouse_protocol::{
    CaughtUp, Events, Join, Joined, Payload, Position, Presence, Reset, Roster, Signals, Start,
    Watch,
};

use super::chance::{below, one_in, pick};
use super::truth::{Room, Verdict, ensure};
use super::view::{View, hear, look};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It was left.
    Away,
    /// To be joined.
    Wanted,
    Joining,
    /// A member of the object of this number.
    In(u64),
    /// The same, and about to leave.
    Leaving(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    Nothing,
    Count,
    Roster,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Seat {
    pub(super) room: usize,
    pub(super) stage: Stage,
    sight: Sight,
    /// What it wants to say of itself.
    pub(super) says: Option<Payload>,
    position: Option<Position>,
    /// It was told that it has everything, and nothing has come since.
    is_caught_up: bool,
    /// It was told so at least once since it joined.
    was_caught_up: bool,
    member: Option<u64>,
    /// The server knows that this member is to be in the roster.
    pub(super) is_entered: bool,
    /// Until when its place is kept for sure while its connection is lost.
    kept_until: Option<u64>,
    view: Option<View>,
    /// It has got the roster since it joined.
    is_watching: bool,
    /// What was known of the room when the join was asked.
    told: u64,
    signals: HashSet<Vec<u8>>,
}

impl Seat {
    pub(super) fn new(room: usize, says: Option<Payload>) -> Self {
        Self {
            room,
            stage: Stage::Wanted,
            sight: pick(&[Sight::Nothing, Sight::Count, Sight::Roster, Sight::Roster]),
            says,
            position: None,
            is_caught_up: false,
            was_caught_up: false,
            member: None,
            is_entered: false,
            kept_until: None,
            view: None,
            is_watching: false,
            told: 0,
            signals: HashSet::new(),
        }
    }

    /// Asks to become a member: mostly from where it is, now and then from anywhere.
    pub(super) fn join(&mut self, id: u32, room: &Room, honest: bool) -> Join {
        self.stage = Stage::Joining;
        self.told = room.told();
        let somewhere = |position: Position| match below(4) {
            0 => Position { epoch: position.epoch ^ 1, ..position },
            1 => Position { offset: position.offset + 1 + below(3) as u64, ..position },
            _ => Position { offset: below(position.offset as usize + 1) as u64, ..position },
        };
        let from = match self.position {
            Some(position) if honest || !one_in(4) => Start::After(position),
            Some(position) if one_in(2) => Start::After(somewhere(position)),
            _ => match below(3) {
                0 => Start::Now,
                1 => Start::All,
                _ => Start::Last(below(8) as u32),
            },
        };
        let version = self.view.as_ref().map(|view| view.version);
        let watch = match (self.sight, version) {
            (Sight::Nothing, _) => Watch::None,
            (Sight::Count, _) => Watch::Count,
            (Sight::Roster, Some(version)) => Watch::Since(version),
            (Sight::Roster, None) => Watch::Roster,
        };
        let presence = self.says.clone();
        let member = self.member.filter(|_| presence.is_some());
        Join { presence, watch, member, ..Join::new(id, room.name.clone(), from) }
    }

    pub(super) fn joined(
        &mut self,
        room: &Room,
        join: &Join,
        joined: &Joined,
        now: u64,
    ) -> Verdict {
        room.joined(join, joined, self.told)?;
        let is_kept = self.kept_until.take().is_none_or(|until| until <= now);
        let is_same = is_kept || join.member.is_none_or(|member| member == joined.member);
        ensure!(is_same, "{join:?} comes back in time, as {joined:?}");
        self.stage = Stage::In(joined.object);
        self.member = Some(joined.member);
        self.is_entered = join.presence.is_some();
        self.position = Some(Position { epoch: joined.epoch, offset: joined.from });
        (self.is_caught_up, self.was_caught_up, self.is_watching) = (false, false, false);
        self.signals.clear();
        Ok(())
    }

    pub(super) fn left(&mut self) {
        self.stage = Stage::Away;
    }

    /// The connection is lost. `is_kept_until` is until when its place in the roster is kept, if that is sure.
    pub(super) fn lost(&mut self, is_kept_until: Option<u64>) {
        match self.stage {
            Stage::In(_) | Stage::Leaving(_) => {
                self.kept_until = is_kept_until.filter(|_| self.is_entered);
            }
            Stage::Away | Stage::Wanted => self.kept_until = None,
            Stage::Joining => {}
        }
        if is_kept_until.is_none() {
            self.kept_until = None;
        }
        if self.stage != Stage::Away {
            self.stage = Stage::Wanted;
        }
    }

    pub(super) fn events(&mut self, room: &mut Room, events: &Events) -> Verdict {
        ensure!(!events.events.is_empty(), "a message without events");
        for event in &events.events {
            let position = self.position.as_mut().expect("it has joined");
            let next = position.offset + 1;
            ensure!(event.offset == next, "{next} should follow in {}, not {event:?}", room.name);
            room.got(event)?;
            position.offset = next;
        }
        self.is_caught_up = false;
        Ok(())
    }

    pub(super) fn caught_up(&mut self, caught_up: &CaughtUp) -> Verdict {
        let at = self.offset();
        ensure!(caught_up.offset == at, "{caught_up:?} at {at}");
        ensure!(!self.is_caught_up, "{caught_up:?} for the second time");
        (self.is_caught_up, self.was_caught_up) = (true, true);
        Ok(())
    }

    pub(super) fn reset(&mut self, room: &Room, reset: &Reset) -> Verdict {
        room.reset(self.offset(), reset.from, reset.reason)?;
        self.position = Some(Position { epoch: reset.epoch, offset: reset.from });
        self.is_caught_up = false;
        Ok(())
    }

    pub(super) fn signals(&mut self, signals: &Signals) -> Verdict {
        for signal in &signals.signals {
            let is_new = self.signals.insert(signal.data.as_msgpack().into());
            ensure!(is_new, "{signal:?} for the second time");
        }
        Ok(())
    }

    pub(super) fn roster(&mut self, room: &mut Room, roster: &Roster) -> Verdict {
        self.is_watching = true;
        self.see(room, |view, counts| look(view, roster, counts))
    }

    pub(super) fn presence(&mut self, room: &mut Room, changes: &Presence) -> Verdict {
        ensure!(self.is_watching, "{changes:?} before the roster");
        self.see(room, |view, counts| hear(view, changes, counts))
    }

    fn see(
        &mut self,
        room: &mut Room,
        change: impl FnOnce(Option<View>, bool) -> Verdict<View>,
    ) -> Verdict {
        ensure!(self.sight != Sight::Nothing, "it does not watch and is told who is here");
        let view = change(self.view.take(), self.sight == Sight::Count)?;
        room.seen(&view)?;
        self.view = Some(view);
        Ok(())
    }

    /// Whether it is a member that has got everything there is (promises 5, 6, 7).
    pub(super) fn at_end(&self, room: &Room) -> Verdict {
        let Stage::In(_) = self.stage else {
            ensure!(self.stage == Stage::Away, "it is never let into {}", room.name);
            return Ok(());
        };
        let (at, head) = (self.offset(), room.head());
        ensure!(at == head, "it has the events of {} up to {at} of {head}", room.name);
        ensure!(self.was_caught_up, "it is not told that it has all of {}", room.name);
        ensure!(self.is_watching || self.sight == Sight::Nothing, "it does not see the roster");
        Ok(())
    }

    /// Whether it sees exactly those of a roster who are here (promise 8).
    pub(super) fn sees(&self, room: &Room, here: &super::view::Here) -> Verdict {
        if let (Stage::In(_), Some(view)) = (self.stage, &self.view) {
            let is_same = view.here.as_ref().is_none_or(|seen| seen == here);
            let is_right = is_same && view.members as usize == here.len();
            ensure!(is_right, "it sees in {} {view:?}, and here are {here:?}", room.name);
        }
        Ok(())
    }

    /// Its entry in the roster.
    pub(super) fn entry(&self) -> Option<(u64, Payload)> {
        let Stage::In(_) = self.stage else { return None };
        Some((self.member?, self.says.clone()?))
    }

    fn offset(&self) -> u64 {
        self.position.map_or(0, |position| position.offset)
    }
}
