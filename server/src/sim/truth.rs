//! What is true of each room: what is on disk, and what anybody was told. Clients are judged against it.

use std::collections::{HashMap, HashSet};

use dormouse_protocol::{Event, Join, Joined, ObjectName, Payload, ResetReason, Start};

use super::view::View;
use crate::log::stepped::Committed;

/// What is wrong, as a sentence.
pub(super) type Verdict<T = ()> = Result<T, String>;

/// Fails with a sentence unless it is so.
macro_rules! ensure {
    ($is_so:expr, $($why:tt)+) => {
        if !$is_so {
            return Err(format!($($why)+));
        }
    };
}
pub(super) use ensure;

pub(super) struct Room {
    pub(super) name: ObjectName,
    epoch: Option<u32>,
    /// What was ever committed.
    pub(super) log: Vec<Event>,
    /// Events up to this offset are no longer kept.
    trimmed: u64,
    /// The newest event that anybody knows of.
    told: u64,
    /// By their data, which no two publishes share.
    stored: HashMap<Vec<u8>, u64>,
    said: HashSet<Vec<u8>>,
    versions: HashMap<u64, View>,
    /// An instance of it was made to panic.
    pub(super) has_crashed: bool,
}

impl Room {
    pub(super) fn new(name: ObjectName) -> Self {
        Self {
            name,
            epoch: None,
            log: Vec::new(),
            trimmed: 0,
            told: 0,
            stored: HashMap::new(),
            said: HashSet::new(),
            versions: HashMap::new(),
            has_crashed: false,
        }
    }

    pub(super) fn head(&self) -> u64 {
        self.log.len() as u64
    }

    /// The newest event that anybody knows of by now.
    pub(super) fn told(&self) -> u64 {
        self.told
    }

    /// Whether an event was not trimmed.
    pub(super) fn keeps(&self, offset: u64) -> bool {
        offset > self.trimmed
    }

    /// Somebody begins to publish this.
    pub(super) fn say(&mut self, data: &Payload) {
        self.said.insert(data.as_msgpack().into());
    }

    /// An event is on disk (promises 2, 4, 10).
    fn store(&mut self, epoch: u32, event: Event) -> Verdict {
        let name = &self.name;
        ensure!(*self.epoch.get_or_insert(epoch) == epoch, "{name} has a second epoch");
        ensure!(event.offset == self.head() + 1, "{name} stores {event:?} after {}", self.head());
        let before = self.log.last().map_or(0, |last| last.time);
        ensure!(before <= event.time, "{name} stores {event:?} after one of {before}");
        ensure!(
            self.said.contains(event.data.as_msgpack()),
            "{name} stores {event:?}, which nobody said"
        );
        if let Some(first) = self.stored.insert(event.data.as_msgpack().into(), event.offset) {
            // A key is forgotten with its event.
            ensure!(!self.keeps(first), "{name} stores {event:?} a second time, after {first}");
        }
        self.log.push(event);
        Ok(())
    }

    fn trim(&mut self, offset: u64) {
        self.trimmed = self.trimmed.max(offset);
    }

    /// Somebody has got an event (promises 2, 3).
    pub(super) fn got(&mut self, event: &Event) -> Verdict {
        let stored = event.offset.checked_sub(1).and_then(|at| self.log.get(at as usize));
        ensure!(stored.is_some(), "{event:?} is not on disk");
        ensure!(stored == Some(event), "{event:?} is stored as {stored:?}");
        self.told = self.told.max(event.offset);
        Ok(())
    }

    /// Somebody is told that this was stored (promises 3, 4).
    pub(super) fn acknowledged(&mut self, data: &Payload, offset: u64, time: u64) -> Verdict {
        let stored = offset.checked_sub(1).and_then(|at| self.log.get(at as usize));
        ensure!(stored.is_some(), "{data:?} is acknowledged at {offset} and not on disk");
        let is_it = stored.is_some_and(|event| event.data == *data && event.time == time);
        ensure!(is_it, "{data:?} is acknowledged at {offset}, where there is {stored:?}");
        self.told = self.told.max(offset);
        Ok(())
    }

    /// A join is answered; `told` is what was known of the room when it was asked (promise 5).
    pub(super) fn joined(&self, join: &Join, joined: &Joined, told: u64) -> Verdict {
        let Joined { epoch, head, from, resumed, reset, .. } = *joined;
        ensure!(head <= self.head(), "{joined:?} has a head that is not on disk");
        ensure!(head >= told, "{joined:?}, and {told} was known before");
        // An object without events has no log whose epoch could be kept.
        let is_epoch = head == 0 || self.epoch == Some(epoch);
        ensure!(is_epoch, "{joined:?}, and the epoch is {:?}", self.epoch);
        let is_all = from <= self.trimmed;
        let (is_right, is_resume) = match join.from {
            Start::Now => (from == head && reset.is_none(), false),
            Start::All => (is_all && reset.is_none(), false),
            Start::Last(count) => {
                let start = head.saturating_sub(count.into());
                ((from == start || from > start && is_all) && reset.is_none(), false)
            }
            Start::After(position) => {
                let is_right = match reset {
                    None => from == position.offset,
                    Some(ResetReason::OtherEpoch) => {
                        is_all && position.epoch != epoch && position.offset > 0
                    }
                    // By the time of the reply the log may have come up with it.
                    Some(ResetReason::Ahead) => is_all && position.offset > told,
                    Some(ResetReason::Trimmed) => is_all && position.offset < from,
                };
                let is_other = position.epoch != epoch && position.offset > 0;
                (is_right && is_other == (reset == Some(ResetReason::OtherEpoch)), true)
            }
        };
        let is_right = is_right && from <= head && resumed == (is_resume && reset.is_none());
        ensure!(is_right, "{join:?} is answered with {joined:?}; trimmed is {}", self.trimmed);
        Ok(())
    }

    /// A member is told that its events are no longer kept.
    pub(super) fn reset(&self, position: u64, from: u64, reason: ResetReason) -> Verdict {
        let is_true = reason == ResetReason::Trimmed && position < from && from <= self.trimmed;
        ensure!(is_true, "a reset from {position} to {from}: {reason:?}, {} is", self.trimmed);
        Ok(())
    }

    /// Somebody knows a version of the roster (promise 8).
    pub(super) fn seen(&mut self, view: &View) -> Verdict {
        let known = self.versions.entry(view.version).or_insert_with(|| view.clone());
        ensure!(known.agrees(view), "two rosters of one version: {known:?} and {view:?}");
        Ok(())
    }
}

/// Notes what a commit has brought.
pub(super) fn note(rooms: &mut [Room], committed: Committed) -> Verdict {
    for (identity, event) in committed.events {
        let room = rooms.iter_mut().find(|room| room.name == identity.name);
        room.ok_or("it stores events of a strange object")?.store(identity.epoch, event)?;
    }
    for (identity, offset) in committed.trimmed {
        let room = rooms.iter_mut().find(|room| room.name == identity.name);
        room.ok_or("it trims a strange object")?.trim(offset);
    }
    Ok(())
}
