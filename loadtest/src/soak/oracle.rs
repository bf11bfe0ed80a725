//! The oracle: what every log holds as far as anybody was told, and whether what a member receives agrees with it. No I/O.
//!
//! The server is asked nothing: an event that one member received, or whose publisher was told its offset, has to be the same for
//! everybody else.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use dormouse_protocol::{Event, Joined, Start};

use super::faults::{Fault, Faults};
use crate::drive::gaps::Gaps;
use crate::drive::stamp::{Stamp, Stamper};

/// Events of one object that are remembered, beyond those that the server has to keep.
const REMEMBERED: u64 = 1_000;
/// So many events may be on disk that nobody was told of yet, when the server trims.
const UNTOLD: u64 = 200;

/// How much of a log the server keeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    /// Events.
    pub(super) events: u64,
    /// Their age.
    pub(super) age: Duration,
}

/// What is known of all logs.
pub(super) struct Oracle {
    kept: Kept,
    stampers: Vec<Stamper>,
    logs: Vec<Log>,
    pub(super) counts: Counts,
    pub(super) faults: Faults,
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    /// Events that members received.
    pub(super) deliveries: u64,
    /// Publishes that were acknowledged.
    pub(super) publishes: u64,
    /// Connections that were established.
    pub(super) connects: u64,
    /// Positions that were continued.
    pub(super) resumes: u64,
    /// Positions that were not continued, for a good reason.
    pub(super) resets: u64,
    /// Signals that members received.
    pub(super) signals: u64,
    /// Changes of rosters that members received.
    pub(super) presence: u64,
    /// Members that came back to their place in a roster.
    pub(super) returns: u64,
    /// Pages of history, of rosters, and answers over HTTP.
    pub(super) reads: u64,
    /// Malformed clients.
    pub(super) malformed_clients: u64,
}

#[derive(Default)]
struct Log {
    /// The offset of the first one that is remembered.
    first: u64,
    entries: VecDeque<Option<Entry>>,
    /// The newest offset that anybody was told.
    head: u64,
}

/// Which event it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    publisher: u32,
    sequence: u32,
    time: u64,
}

/// What one member has received of one object.
pub(super) struct Reader {
    object: usize,
    /// The last event that it has, from the moment that it has joined.
    last: Option<u64>,
    gaps: Gaps,
    /// The last that it had of each publisher, and its offset.
    sequences: HashMap<u32, (u32, u64)>,
    /// The head of which it was told when it joined.
    told: u64,
}

impl Oracle {
    /// Of so many empty logs, with payloads of these sizes.
    pub(super) fn new(objects: usize, kept: Kept, payloads: &[usize]) -> Self {
        let log = || Log { first: 1, ..Log::default() };
        Self {
            kept,
            stampers: payloads.iter().map(|bytes| Stamper::new(*bytes)).collect(),
            logs: (0..objects).map(|_| log()).collect(),
            counts: Counts::default(),
            faults: Faults::default(),
        }
    }

    /// A payload, and of which size.
    pub(super) fn payload(&mut self, size: usize, publisher: u32, sequence: u32) -> String {
        let payload = self.stampers[size].write(Stamp { publisher, sequence, due: Duration::ZERO });
        String::from_utf8(payload.to_vec()).expect("a stamp is text")
    }

    /// The newest offset of an object that anybody was told.
    pub(super) fn head(&self, object: usize) -> u64 {
        self.logs[object].head
    }

    /// A publish was acknowledged.
    pub(super) fn published(
        &mut self,
        object: usize,
        offset: u64,
        time: Option<u64>,
        (publisher, sequence): (u32, u32),
    ) {
        self.counts.publishes += 1;
        let known = self.entry(object, offset);
        let time = time.or(known.map(|known| known.time)).unwrap_or_default();
        self.enter(object, offset, Entry { publisher, sequence, time });
    }

    /// An event of a page of history.
    pub(super) fn read(&mut self, object: usize, event: &Event) {
        if let Some(entry) = self.recognize(object, event) {
            self.enter(object, event.offset, entry);
        }
    }

    fn recognize(&mut self, object: usize, event: &Event) -> Option<Entry> {
        let text = event.data.read::<&str>().ok();
        let stamp = text.and_then(|text| {
            self.stampers.iter().find_map(|stamper| stamper.read(text.as_bytes()))
        });
        let Some(Stamp { publisher, sequence, .. }) = stamp else {
            self.faults.add(Fault::Altered, || {
                format!("object {object}, offset {}: nobody has published that", event.offset)
            });
            return None;
        };
        Some(Entry { publisher, sequence, time: event.time })
    }

    /// Everybody has to be told the same of an offset.
    fn enter(&mut self, object: usize, offset: u64, entry: Entry) {
        let remembered = self.kept.events + REMEMBERED;
        let log = &mut self.logs[object];
        log.head = log.head.max(offset);
        let Some(place) = offset.checked_sub(log.first) else { return };
        if place >= log.entries.len() as u64 {
            log.entries.resize(place as usize + 1, None);
        }
        let known = &mut log.entries[place as usize];
        match known {
            // The one who was told first may not have been told the time.
            Some(Entry { time, .. }) if *time == 0 => *time = entry.time,
            Some(_) => {}
            None => *known = Some(entry),
        }
        let (known, is_told) = (known.unwrap_or(entry), entry.time != 0);
        while log.entries.len() as u64 > remembered {
            log.entries.pop_front();
            log.first += 1;
        }
        let same = known.publisher == entry.publisher
            && known.sequence == entry.sequence
            && (known.time == entry.time || !is_told);
        if !same {
            self.faults.add(Fault::Altered, || {
                format!("object {object}, offset {offset}: {entry:?}, and before {known:?}")
            });
        }
    }

    fn entry(&self, object: usize, offset: u64) -> Option<Entry> {
        let log = &self.logs[object];
        let place = offset.checked_sub(log.first)?;
        log.entries.get(place as usize).copied().flatten()
    }

    /// Whether the server had the right to trim the events up to an offset. What nobody remembers is taken for old.
    fn may_be_trimmed(&self, object: usize, offset: u64, now_ms: u64) -> bool {
        if offset == 0 || self.head(object) + UNTOLD >= offset + self.kept.events {
            return true;
        }
        let age = self.kept.age.as_millis() as u64;
        match self.entry(object, offset) {
            Some(Entry { time, .. }) if time > 0 => time + age <= now_ms,
            _ => true,
        }
    }
}

impl Reader {
    /// Of a member that has not joined yet.
    pub(super) fn new(object: usize) -> Self {
        Self { object, last: None, gaps: Gaps::default(), sequences: HashMap::new(), told: 0 }
    }

    /// Which object.
    pub(super) fn object(&self) -> usize {
        self.object
    }

    /// The last event that it has.
    pub(super) fn last(&self) -> Option<u64> {
        self.last
    }

    /// It has everything that anybody was told of.
    pub(super) fn is_complete(&self, oracle: &Oracle) -> bool {
        self.last.is_some_and(|last| last >= oracle.head(self.object))
    }

    /// It has joined, and asked for this.
    pub(super) fn joined(
        &mut self,
        oracle: &mut Oracle,
        joined: &Joined,
        start: Start,
        now_ms: u64,
    ) {
        let log = &mut oracle.logs[self.object];
        log.head = log.head.max(joined.head);
        self.told = joined.head;
        let Joined { head, from, .. } = *joined;
        if joined.reset.is_some() {
            return self.reset(oracle, from, now_ms);
        }
        let is_right = match start {
            Start::Now => from == head,
            Start::All => from <= head && oracle.may_be_trimmed(self.object, from, now_ms),
            Start::Last(count) => {
                from == head.saturating_sub(count.into())
                    || from <= head && oracle.may_be_trimmed(self.object, from, now_ms)
            }
            Start::After(position) => joined.resumed && from == position.offset,
        };
        oracle.counts.resumes += u64::from(joined.resumed);
        if !is_right {
            oracle.faults.add(Fault::Misplaced, || format!("{start:?} was answered {joined:?}"));
        }
        self.continue_at(oracle, from);
    }

    /// It goes on after an offset: where it stood, if it has stood anywhere.
    pub(super) fn continue_at(&mut self, oracle: &mut Oracle, from: u64) {
        if let Some(last) = self.last.filter(|last| *last != from) {
            oracle.faults.add(Fault::Misplaced, || {
                format!("object {}: had {last} and goes on after {from}", self.object)
            });
        }
        self.last = Some(from);
    }

    /// What it had is to be dropped, as there is something missing up to `from`.
    pub(super) fn reset(&mut self, oracle: &mut Oracle, from: u64, now_ms: u64) {
        let last = self.last.unwrap_or_default();
        if from > last && oracle.may_be_trimmed(self.object, from, now_ms) {
            oracle.counts.resets += 1;
        } else {
            let head = oracle.head(self.object);
            oracle.faults.add(Fault::WrongReset, || {
                format!("object {}: a reset from {last} to {from}, with {head}", self.object)
            });
        }
        self.gaps.clear();
        self.last = Some(from);
    }

    /// Events arrived.
    pub(super) fn events(&mut self, oracle: &mut Oracle, events: &[Event]) {
        for event in events {
            oracle.counts.deliveries += 1;
            if let Some(entry) = oracle.recognize(self.object, event) {
                oracle.enter(self.object, event.offset, entry);
                self.take(oracle, event.offset, entry);
            }
        }
    }

    fn take(&mut self, oracle: &mut Oracle, offset: u64, entry: Entry) {
        let Some(last) = self.last else {
            oracle.faults.add(Fault::Misplaced, || format!("object {}: not joined", self.object));
            return;
        };
        if offset <= last {
            let fault = if self.gaps.fill(offset) {
                oracle.faults.take_back(Fault::Lost, 1);
                Fault::Reordered
            } else {
                Fault::Repeated
            };
            oracle.faults.add(fault, || format!("object {}: {offset} after {last}", self.object));
            return;
        }
        if offset > last + 1 {
            let missing = last + 1..offset;
            oracle.faults.add_many(Fault::Lost, offset - last - 1, || {
                format!("object {}: {offset} after {last}", self.object)
            });
            self.gaps.open(missing);
        }
        self.last = Some(offset);
        let before = self.sequences.insert(entry.publisher, (entry.sequence, offset));
        let Some((sequence, at)) = before.filter(|(sequence, _)| *sequence >= entry.sequence)
        else {
            return;
        };
        let fault = if sequence == entry.sequence { Fault::Repeated } else { Fault::Reordered };
        oracle.faults.add(fault, || {
            format!("object {}, offset {offset}: {entry:?} after {sequence} at {at}", self.object)
        });
    }

    /// It was told that it has everything up to here.
    pub(super) fn caught_up(&mut self, oracle: &mut Oracle, offset: u64) {
        if self.last != Some(offset) || offset < self.told {
            let (last, told) = (self.last, self.told);
            oracle.faults.add(Fault::Misplaced, || {
                format!("object {}: caught up with {offset} at {last:?} of {told}", self.object)
            });
        }
    }

    /// Nothing more comes.
    pub(super) fn close(&self, oracle: &mut Oracle) {
        let head = oracle.head(self.object);
        let missing = head.saturating_sub(self.last.unwrap_or(head));
        if missing > 0 {
            oracle.faults.add_many(Fault::Lost, missing, || {
                format!("object {}: {missing} events before {head} never came", self.object)
            });
        }
    }
}

#[cfg(test)]
mod tests;
