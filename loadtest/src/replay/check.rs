//! Judges what the members received: the same log for each, every transaction in it once, in an order that
//! respects who knew what, and the recorded text at the end.

use std::collections::HashMap;

use super::merge::merge;
use super::record::{Entry, Record};
use super::trace::Trace;

/// So many faults are described; all are counted.
const DESCRIBED_MAX: usize = 20;

/// The judgement, over all members together.
#[derive(Debug, Default)]
pub struct Verdict {
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
    /// Everything that is wrong.
    pub faults: Faults,
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
        Check { trace, record, verdict: &mut verdict }.run(&mut log);
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
    let broken = verdict.lost + verdict.repeated + verdict.reordered + verdict.altered > 0;
    let Some(record) = records.first().filter(|_| !broken) else {
        verdict.faults.add("the text can't be compared: the log is not whole".to_owned());
        return;
    };
    // Every member holds this log, or there would be a fault.
    let text = merge(trace.txns.len(), record.entries.iter().map(|entry| &entry.change));
    verdict.content_matches = text == trace.end_content;
    if !verdict.content_matches {
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
}

impl Check<'_> {
    /// `log` maps offsets to transactions, as the members before this one had it.
    fn run(mut self, log: &mut HashMap<u64, usize>) {
        for surprise in &self.record.surprises {
            self.fault(surprise);
        }
        // Where in this record each transaction stands, counted from 1.
        let mut place: Vec<Option<usize>> = vec![None; self.trace.txns.len()];
        let mut newest_of_agent = vec![None; self.trace.num_agents];
        let mut last_offset = 0;
        let record = self.record;
        for (position, Entry { offset, change }) in record.entries.iter().enumerate() {
            let (offset, index) = (*offset, change.i);
            if self.trace.txns.get(index).is_none() || *change != self.trace.change(index) {
                self.verdict.altered += 1;
                self.fault(&format!(
                    "transaction {index} at offset {offset} is not what was published"
                ));
                continue;
            }
            if let Some(first) = place[index] {
                let first = record.entries[first].offset;
                self.verdict.repeated += 1;
                self.fault(&format!(
                    "transaction {index} repeated: at offset {first} and again at {offset}"
                ));
                last_offset = last_offset.max(offset);
                continue;
            }
            place[index] = Some(position);
            if offset != last_offset + 1 {
                self.verdict.gaps += 1;
                self.fault(&format!("offset {offset} follows {last_offset}"));
            }
            last_offset = offset;
            let newest = newest_of_agent[change.agent].replace(index);
            let elsewhere = *log.entry(offset).or_insert(index);
            if newest.is_some_and(|newest| newest > index) {
                self.verdict.reordered += 1;
                self.fault(&format!(
                    "transaction {index} at offset {offset} reordered: its agent made it before {}",
                    newest.unwrap_or_default()
                ));
            } else if elsewhere != index {
                self.verdict.reordered += 1;
                self.fault(&format!(
                    "offset {offset} holds transaction {index}, and {elsewhere} for another member"
                ));
            }
        }
        self.check_parents(&place);
        self.check_whole(&place);
    }

    fn check_parents(&mut self, place: &[Option<usize>]) {
        for (index, txn) in self.trace.txns.iter().enumerate() {
            for parent in &txn.parents {
                // What an agent did before is checked as its own order.
                let foreign = self.trace.txns[*parent].agent != txn.agent;
                if foreign && place[index].is_some() && place[*parent] > place[index] {
                    self.verdict.reordered += 1;
                    self.fault(&format!("transaction {index} stands before its parent {parent}"));
                }
            }
        }
    }

    fn check_whole(&mut self, place: &[Option<usize>]) {
        for (index, _) in place.iter().enumerate().filter(|(_, place)| place.is_none()) {
            self.verdict.lost += 1;
            self.fault(&format!("transaction {index} lost"));
        }
    }

    fn fault(&mut self, text: &str) {
        self.verdict.faults.add(format!("{}: {text}", self.record.name));
    }
}
