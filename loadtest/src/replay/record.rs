//! What one member received of the room's log, as it came.

use dormouse_protocol::{Event, ResetReason};

use super::trace::Change;

/// The kind of the events that carry transactions.
pub const KIND: &str = "txn";

/// A member's copy of the log. Nothing is put right here: judging is the checker's job.
#[derive(Debug, Clone)]
pub struct Record {
    /// Whose.
    pub name: String,
    /// In the order of arrival.
    pub entries: Vec<Entry>,
    /// What no replay should see: resets, and events that are not transactions.
    pub surprises: Vec<String>,
}

/// A transaction in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub offset: u64,
    /// What.
    pub change: Change,
}

impl Record {
    /// An empty one.
    pub fn new(name: String) -> Self {
        Self { name, entries: Vec::new(), surprises: Vec::new() }
    }

    /// The newest event.
    pub fn last_offset(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.offset)
    }

    /// Adds events.
    pub fn add(&mut self, events: &[Event]) {
        for event in events {
            let change = (*event.kind == *KIND).then(|| event.data.read::<Change>());
            match change {
                Some(Ok(change)) => self.entries.push(Entry { offset: event.offset, change }),
                _ => self.surprises.push(format!("not a transaction: {event:?}")),
            }
        }
    }

    /// Drops everything, as a reset demands.
    pub fn reset(&mut self, reason: ResetReason) {
        let last = self.last_offset();
        self.surprises.push(format!("reset ({reason:?}) after offset {last}"));
        self.entries.clear();
    }
}
