//! What went wrong: how often, and the first cases in words.

use serde::Serialize;

/// Cases that are kept in words.
const DESCRIBED: usize = 20;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// An event did not come.
    Lost,
    /// An event came again, or was stored again.
    Repeated,
    /// An event came after a later one.
    Reordered,
    /// An event is not what others were told of it.
    Altered,
    /// A join, a page or a `caught_up` at another place of the log than the right one.
    Misplaced,
    /// A reset of a position that could have been continued.
    WrongReset,
    /// A roster that does not follow from the one before, or a place in it that was not kept.
    Presence,
    /// A signal that came again, or after a later one.
    Signal,
    /// A connection that ended or did not come about, a request that was refused, or an answer that is none.
    Refused,
    /// A malformed client was not treated as it should.
    MalformedClient,
}

/// How often.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Events that did not come.
    pub lost: u64,
    /// Events that came again, or were stored again.
    pub repeated: u64,
    /// Events that came after a later one.
    pub reordered: u64,
    /// Events that are not what others were told of them.
    pub altered: u64,
    /// Joins, pages and `caught_up` at another place of the log than the right one.
    pub misplaced: u64,
    /// Resets of positions that could have been continued.
    pub wrong_resets: u64,
    /// Rosters that do not follow from the ones before, and places in them that were not kept.
    pub wrong_presence: u64,
    /// Signals that came again, or after later ones.
    pub wrong_signals: u64,
    /// Connections that ended or did not come about, and requests that were refused.
    pub refused: u64,
    /// Malformed clients that were not treated as they should.
    pub wrong_malformed_clients: u64,
    /// The first of them in words.
    #[serde(rename = "described_faults")]
    pub described: Vec<String>,
}

impl Faults {
    /// Nothing went wrong.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn add(&mut self, fault: Fault, words: impl FnOnce() -> String) {
        self.add_many(fault, 1, words);
    }

    pub(super) fn add_many(&mut self, fault: Fault, count: u64, words: impl FnOnce() -> String) {
        *self.count(fault) += count;
        if self.described.len() < DESCRIBED {
            let words = format!("{fault:?}: {}", words());
            // What is wrong in the log many members see.
            if !self.described.contains(&words) {
                eprintln!("FAULT {words}");
                self.described.push(words);
            }
        }
    }

    /// What was counted turned out to be something else.
    pub(super) fn take_back(&mut self, fault: Fault, count: u64) {
        *self.count(fault) -= count;
    }

    fn count(&mut self, fault: Fault) -> &mut u64 {
        match fault {
            Fault::Lost => &mut self.lost,
            Fault::Repeated => &mut self.repeated,
            Fault::Reordered => &mut self.reordered,
            Fault::Altered => &mut self.altered,
            Fault::Misplaced => &mut self.misplaced,
            Fault::WrongReset => &mut self.wrong_resets,
            Fault::Presence => &mut self.wrong_presence,
            Fault::Signal => &mut self.wrong_signals,
            Fault::Refused => &mut self.refused,
            Fault::MalformedClient => &mut self.wrong_malformed_clients,
        }
    }
}
