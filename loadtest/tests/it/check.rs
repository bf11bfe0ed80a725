//! The checker accepts a log that is right and tells what is wrong with one that is not.

use std::sync::Arc;

use dormouse_loadtest::replay::check::{Ack, Counts, Verdict, check};
use dormouse_loadtest::replay::record::{Entry, Record};
use dormouse_loadtest::replay::trace::{Patch, Trace};
use dormouse_protocol::ResetReason;

/// Two members that received everything as recorded, and the acknowledgements that go with it.
struct Run {
    trace: Trace,
    records: Vec<Record>,
    acks: Vec<Ack>,
}

impl Run {
    fn right() -> Self {
        let trace = Arc::unwrap_or_clone(crate::duet());
        let entries: Vec<_> = (0..trace.txns.len())
            .map(|index| Entry { offset: index as u64 + 1, change: trace.change(index) })
            .collect();
        let record =
            |name: &str| Record { entries: entries.clone(), ..Record::new(name.to_owned()) };
        let records = vec![record("first"), record("second")];
        let acks = (0..trace.txns.len()).map(|index| Ack { index, offset: index as u64 + 1 });
        Self { acks: acks.collect(), trace, records }
    }

    fn second(&mut self) -> &mut Vec<Entry> {
        &mut self.records[1].entries
    }

    fn check(&self) -> Verdict {
        check(&self.trace, &self.records, &self.acks)
    }
}

/// Gives the entries the offsets of an unbroken log, as a server would that stored them so.
fn renumber(entries: &mut [Entry]) {
    for (offset, entry) in (1..).zip(entries) {
        entry.offset = offset;
    }
}

fn assert_told(verdict: &Verdict, expected: &str) {
    let told = &verdict.faults.described;
    assert!(told.iter().any(|fault| fault == expected), "{expected:?} is not in {told:#?}");
}

/// Lost, repeated, reordered, altered, gaps.
fn counts(verdict: &Verdict) -> [u64; 5] {
    let Counts { lost, repeated, reordered, altered, gaps, .. } = verdict.counts;
    [lost, repeated, reordered, altered, gaps]
}

#[test]
fn a_right_log_is_accepted() {
    let verdict = Run::right().check();
    assert_eq!(counts(&verdict), [0; 5]);
    assert!(verdict.counts.content_matches);
    assert_eq!(verdict.faults.count, 0);
}

#[test]
fn a_lost_transaction_is_told() {
    let mut run = Run::right();
    run.second().remove(16);
    let verdict = run.check();
    assert_eq!(counts(&verdict), [1, 0, 0, 0, 1]);
    assert_told(&verdict, "second: transaction 16 lost");
    assert_told(&verdict, "second: offset 18 follows 16");
    assert!(!verdict.counts.content_matches);
}

#[test]
fn a_transaction_that_nobody_received_is_told() {
    let mut run = Run::right();
    for record in &mut run.records {
        record.entries.pop();
    }
    let verdict = run.check();
    assert_eq!(counts(&verdict), [2, 0, 0, 0, 0]);
    assert_told(
        &verdict,
        "transaction 1199 was acknowledged at offset 1200, where the log holds nothing",
    );
}

#[test]
fn a_transaction_that_was_delivered_twice_is_told() {
    let mut run = Run::right();
    let entry = run.second()[16].clone();
    run.second().insert(17, entry);
    let verdict = run.check();
    assert_eq!(counts(&verdict), [0, 1, 0, 0, 0]);
    assert_told(&verdict, "second: transaction 16 repeated: at offset 17 and again at 17");
}

#[test]
fn a_transaction_that_was_stored_twice_is_told() {
    let mut run = Run::right();
    for record in &mut run.records {
        let mut entry = record.entries[16].clone();
        entry.offset = record.last_offset() + 1;
        record.entries.push(entry);
    }
    let verdict = run.check();
    assert_eq!(counts(&verdict), [0, 2, 0, 0, 0]);
    assert_told(&verdict, "first: transaction 16 repeated: at offset 17 and again at 1201");
}

#[test]
fn events_that_one_member_received_in_another_order_are_told() {
    let mut run = Run::right();
    run.second().swap(16, 17);
    let verdict = run.check();
    assert!(verdict.counts.gaps > 0);
    assert_told(&verdict, "second: offset 18 follows 16");
}

#[test]
fn a_log_in_another_order_than_the_agents_is_told() {
    let mut run = Run::right();
    let same_agent = (100..1000).find(|i| run.trace.txns[*i].agent == run.trace.txns[i + 1].agent);
    let index = same_agent.unwrap();
    for record in &mut run.records {
        record.entries.swap(index, index + 1);
        renumber(&mut record.entries);
    }
    run.acks.clear();
    let verdict = run.check();
    assert_eq!(counts(&verdict), [0, 0, 2, 0, 0]);
    let expected = format!(
        "first: transaction {index} at offset {} reordered: its agent made it before {}",
        index + 2,
        index + 1
    );
    assert_told(&verdict, &expected);
}

#[test]
fn a_log_in_which_a_change_stands_before_what_it_builds_upon_is_told() {
    let mut run = Run::right();
    let txns = &run.trace.txns;
    let builds_upon_other =
        |i: &usize| txns[*i].parents.contains(&(i - 1)) && txns[*i].agent != txns[i - 1].agent;
    let index = (1..txns.len()).find(builds_upon_other).unwrap();
    for record in &mut run.records {
        record.entries.swap(index, index - 1);
        renumber(&mut record.entries);
    }
    run.acks.clear();
    let verdict = run.check();
    assert_eq!(counts(&verdict), [0, 0, 2, 0, 0]);
    assert_told(
        &verdict,
        &format!("second: transaction {index} stands before its parent {}", index - 1),
    );
}

#[test]
fn members_that_hold_different_logs_are_told() {
    let mut run = Run::right();
    let txns = &run.trace.txns;
    let concurrent =
        |i: &usize| !txns[*i].parents.contains(&(i - 1)) && txns[*i].agent != txns[i - 1].agent;
    let index = (1..txns.len()).find(concurrent).unwrap();
    // Each log for itself is a good one.
    run.second().swap(index, index - 1);
    renumber(run.second());
    let verdict = run.check();
    assert_eq!(counts(&verdict), [0, 0, 2, 0, 0]);
    let expected = format!(
        "second: offset {index} holds transaction {index}, and {} for another member",
        index - 1
    );
    assert_told(&verdict, &expected);
}

#[test]
fn altered_data_is_told() {
    let mut run = Run::right();
    run.second()[16].change.patches = vec![Patch(0, 0, "x".to_owned())];
    let verdict = run.check();
    // What should be there instead is missing.
    assert_eq!(counts(&verdict), [1, 0, 0, 1, 0]);
    assert_told(&verdict, "second: transaction 16 at offset 17 is not what was published");
    assert!(!verdict.counts.content_matches);
}

#[test]
fn a_wrong_text_is_told() {
    let mut run = Run::right();
    run.trace.end_content.pop();
    run.trace.end_content.push('!');
    let verdict = run.check();
    assert_eq!(counts(&verdict), [0; 5]);
    assert!(!verdict.counts.content_matches);
    assert_eq!(verdict.faults.count, 1);
    assert!(verdict.faults.described[0].starts_with("the text differs from character"));
}

#[test]
fn a_wrong_acknowledgement_is_told() {
    let mut run = Run::right();
    run.acks[16].offset = 18;
    assert_told(
        &run.check(),
        "transaction 16 was acknowledged at offset 18, where the log holds transaction 17",
    );
}

#[test]
fn a_reset_is_told() {
    let mut run = Run::right();
    let entries = run.second().clone();
    run.records[1].reset(ResetReason::Ahead);
    run.records[1].entries = entries;
    assert_told(&run.check(), "second: reset (Ahead) after offset 1200");
}
