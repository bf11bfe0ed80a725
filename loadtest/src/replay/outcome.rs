//! What a replay tells at its end.

use std::fmt::{self, Display};

use serde::Serialize;

use super::check::Counts;
use crate::report::Latency;

/// The figures of a replay, over all members together.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Always `replay`.
    pub scenario: &'static str,
    /// Transactions in the recording.
    pub transactions: u64,
    /// Members: the recording's authors and the observers.
    pub members: u64,
    /// How long it took from the first publish until every member had everything.
    pub duration_s: f64,
    /// Events that were received.
    pub deliveries: u64,
    /// The same per second.
    pub deliveries_per_s: f64,
    /// From an agent's publish to its acknowledgement; with the time away where the connection broke.
    pub publish_to_ack: Latency,
    /// From an agent's publish to the event's arrival at the same agent; likewise.
    pub publish_to_own_event: Latency,
    /// Connections after each client's first.
    pub reconnects: u64,
    /// Joins that continued at a position.
    pub resumed: u64,
    /// Positions that were not continued.
    pub resets: u64,
    /// Publishes that were sent again.
    pub retries: u64,
    /// Those of which the server said that it had stored them before.
    pub duplicates: u64,
    /// What is wrong with the logs.
    #[serde(flatten)]
    pub counts: Counts,
    /// How many things are wrong.
    pub faults: u64,
    /// The first of them in words.
    pub described_faults: Vec<String>,
}

impl Outcome {
    /// Nothing at all is wrong.
    pub fn is_exact(&self) -> bool {
        self.faults == 0
    }
}

impl Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { transactions, members, duration_s, deliveries, .. } = self;
        writeln!(f, "{transactions} transactions, {members} members, {duration_s:.2} s")?;
        writeln!(f, "deliveries            {deliveries} ({:.0}/s)", self.deliveries_per_s)?;
        writeln!(f, "publish to ack        {}", self.publish_to_ack)?;
        writeln!(f, "publish to own event  {}", self.publish_to_own_event)?;
        writeln!(
            f,
            "connections           {} reconnects, {} resumed, {} resets",
            self.reconnects, self.resumed, self.resets
        )?;
        writeln!(
            f,
            "publishes sent again  {}, of which {} were stored before",
            self.retries, self.duplicates
        )?;
        let Counts { lost, repeated, reordered, altered, gaps, content_matches } = self.counts;
        writeln!(
            f,
            "log                   {lost} lost, {repeated} repeated, {reordered} reordered, {altered} altered, {gaps} gaps"
        )?;
        let text = if content_matches { "as recorded" } else { "NOT as recorded" };
        write!(f, "text                  {text}")?;
        for fault in &self.described_faults {
            write!(f, "\nFAULT {fault}")?;
        }
        let hidden = self.faults - self.described_faults.len() as u64;
        if hidden > 0 {
            write!(f, "\nand {hidden} more faults")?;
        }
        Ok(())
    }
}
