//! Judges what the members received: the same log for each, every transaction in it once, in an order that
//! respects who knew what, and the recorded text at the end.

use std::collections::HashMap;

use serde::Serialize;

use super::merge::merge;
use super::record::{Entry, Record};
use super::trace::Trace;

/// So many faults are described; all are counted.
const DESCRIBED_MAX: usize = 20;

/// The judgement.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What is wrong, in numbers.
    pub counts: Counts,
    /// What is wrong, in words.
    pub faults: Faults,
}

/// What is wrong, in numbers, over all members together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Transactions that a member never received.
    pub lost: u64,
    /// Transactions that a member received again.
    pub repeated: u64,
    /// Transactions at another place than where their agent, their parents or the other members' logs put them.
    pub reordered: u64,
    /// Transactions that are not what was published.
    pub altered: u64,
    /// Offsets that do not follow the one before.
    pub gaps: u64,
    /// The log gives the recorded text.
    pub content_matches: bool,
}

/// What is wrong, in words.
#[derive(Debug, Default)]
pub struct Faults {
    /// The first ones.
    pub described: Vec<String>,
    /// How many there are.
    pub count: u64,
}

impl Faults {
    /// Adds one.
    pub fn add(&mut self, text: String) {
        self.count += 1;
        if self.described.len() < DESCRIBED_MAX {
            self.described.push(text);
        }
    }
}

/// An acknowledged publish.
#[derive(Debug, Clone, Copy)]
pub struct Ack {
    /// Which transaction.
    pub index: usize,
    /// Where the server said that it stands.
    pub offset: u64,
}

/// Judges the members' records and the agents' acknowledgements.
pub fn check(trace: &Trace, records: &[Record], acks: &[Ack]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut log = HashMap::new();
    for record in records {
        Check::new(trace, record, &mut verdict).run(&mut log);
    }
    for Ack { index, offset } in acks {
        if log.get(offset) != Some(index) {
            let found =
                log.get(offset).map_or("nothing".to_owned(), |i| format!("transaction {i}"));
            verdict.faults.add(format!(
                "transaction {index} was acknowledged at offset {offset}, where the log holds {found}"
            ));
        }
    }
    check_content(trace, records, &mut verdict);
    verdict
}

fn check_content(trace: &Trace, records: &[Record], verdict: &mut Verdict) {
    let Counts { lost, repeated, reordered, altered, .. } = verdict.counts;
    let broken = lost + repeated + reordered + altered > 0;
    let Some(record) = records.first().filter(|_| !broken) else {
        verdict.faults.add("the text can't be compared: the log is not whole".to_owned());
        return;
    };
    // Every member holds this log, or there would be a fault.
    let text = merge(trace.txns.len(), record.entries.iter().map(|entry| &entry.change));
    verdict.counts.content_matches = text == trace.end_content;
    if !verdict.counts.content_matches {
        let same = text.chars().zip(trace.end_content.chars()).take_while(|(a, b)| a == b).count();
        verdict.faults.add(format!(
            "the text differs from character {same} on: {:?} where {:?} was recorded",
            excerpt(&text, same),
            excerpt(&trace.end_content, same)
        ));
    }
}

fn excerpt(text: &str, from: usize) -> String {
    text.chars().skip(from).take(20).collect()
}

/// The check of one member's record.
struct Check<'a> {
    trace: &'a Trace,
    record: &'a Record,
    verdict: &'a mut Verdict,
    /// As which of the record's entries each transaction stands there, and under which offset.
    places: Vec<Option<(usize, u64)>>,
    newest_of_agent: Vec<Option<usize>>,
    last_offset: u64,
}

impl<'a> Check<'a> {
    fn new(trace: &'a Trace, record: &'a Record, verdict: &'a mut Verdict) -> Self {
        Self {
            trace,
            record,
            verdict,
            places: vec![None; trace.txns.len()],
            newest_of_agent: vec![None; trace.num_agents],
            last_offset: 0,
        }
    }

    /// `log` maps offsets to transactions, as the members before this one had it.
    fn run(mut self, log: &mut HashMap<u64, usize>) {
        for surprise in &self.record.surprises {
            self.fault(surprise);
        }
        for (position, entry) in self.record.entries.iter().enumerate() {
            if self.is_repeated(entry) {
                self.last_offset = self.last_offset.max(entry.offset);
                continue;
            }
            self.check_offset(entry.offset);
            if self.is_as_published(entry) {
                self.places[entry.change.i] = Some((position, entry.offset));
                self.check_order(entry, log);
            }
        }
        self.check_parents();
        self.check_whole();
    }

    fn is_repeated(&mut self, entry: &Entry) -> bool {
        let Entry { offset, change } = entry;
        let Some((_, first)) = self.places.get(change.i).copied().flatten() else { return false };
        self.verdict.counts.repeated += 1;
        self.fault(&format!(
            "transaction {} repeated: at offset {first} and again at {offset}",
            change.i
        ));
        true
    }

    fn check_offset(&mut self, offset: u64) {
        let last = std::mem::replace(&mut self.last_offset, offset);
        if offset != last + 1 {
            self.verdict.counts.gaps += 1;
            self.fault(&format!("offset {offset} follows {last}"));
        }
    }

    fn is_as_published(&mut self, Entry { offset, change }: &Entry) -> bool {
        let known = self.trace.txns.get(change.i).is_some();
        if known && *change == self.trace.change(change.i) {
            return true;
        }
        self.verdict.counts.altered += 1;
        self.fault(&format!(
            "transaction {} at offset {offset} is not what was published",
            change.i
        ));
        false
    }

    /// Its place against its agent's other transactions and against the other members' logs.
    fn check_order(&mut self, Entry { offset, change }: &Entry, log: &mut HashMap<u64, usize>) {
        let index = change.i;
        let newest = self.newest_of_agent[change.agent].replace(index);
        let elsewhere = *log.entry(*offset).or_insert(index);
        let fault = match newest {
            Some(newest) if newest > index => format!(
                "transaction {index} at offset {offset} reordered: its agent made it before {newest}"
            ),
            _ if elsewhere != index => format!(
                "offset {offset} holds transaction {index}, and {elsewhere} for another member"
            ),
            _ => return,
        };
        self.verdict.counts.reordered += 1;
        self.fault(&fault);
    }

    fn check_parents(&mut self) {
        for (index, txn) in self.trace.txns.iter().enumerate() {
            for parent in &txn.parents {
                // What an agent did before is checked as its own order.
                let foreign = self.trace.txns[*parent].agent != txn.agent;
                let (place, parents_place) = (self.places[index], self.places[*parent]);
                if foreign && place.is_some() && parents_place > place {
                    self.verdict.counts.reordered += 1;
                    self.fault(&format!("transaction {index} stands before its parent {parent}"));
                }
            }
        }
    }

    fn check_whole(&mut self) {
        for index in 0..self.places.len() {
            if self.places[index].is_none() {
                self.verdict.counts.lost += 1;
                self.fault(&format!("transaction {index} lost"));
            }
        }
    }

    fn fault(&mut self, text: &str) {
        self.verdict.faults.add(format!("{}: {text}", self.record.name));
    }
}
