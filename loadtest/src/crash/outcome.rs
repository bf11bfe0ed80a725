//! What a run tells at its end.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::check::{Breach, Violations};

/// The figures of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Always `crash`.
    pub scenario: &'static str,
    /// All that was asked was drawn from it.
    pub seed: u64,
    /// Servers that were ended with SIGKILL.
    pub kills: u64,
    /// Servers that were ended in order.
    pub stops: u64,
    /// Clients.
    pub clients: usize,
    /// Objects.
    pub objects: usize,
    /// How long it took.
    pub duration_s: f64,
    /// Acknowledgements of publishes.
    pub acknowledged: u64,
    /// Those that said that the event was stored before.
    pub duplicates: u64,
    /// Publishes that clients sent again by themselves, since a connection had broken.
    pub retries: u64,
    /// Events that clients received.
    pub delivered: u64,
    /// Signals that clients received.
    pub signals: u64,
    /// Events that the logs have at the end.
    pub stored: u64,
    /// Connections.
    pub connections: u64,
    /// Joins that continued at a position.
    pub resumed: u64,
    /// From the start of a process until it was ready: the median.
    pub ready_median_ms: f64,
    /// The same: the longest.
    pub ready_max_ms: f64,
    /// Promises that were broken, by their kinds.
    #[serde(flatten)]
    pub counts: Counts,
    /// Promises that were broken.
    pub violations: u64,
    /// The first of them in words.
    pub described_violations: Vec<String>,
    /// The directory of the server, which is kept where something is wrong.
    pub data: Option<PathBuf>,
}

/// How often each kind of promise was broken.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Counts(BTreeMap<Breach, u64>);

impl Outcome {
    /// Nothing at all is wrong.
    pub fn is_exact(&self) -> bool {
        self.violations == 0
    }
}

impl From<&Violations> for Counts {
    fn from(violations: &Violations) -> Self {
        Self(violations.counts())
    }
}

/// The median and the longest, in milliseconds.
pub(super) fn median_and_longest_ms(mut durations: Vec<Duration>) -> (f64, f64) {
    durations.sort_unstable();
    let ms = |duration: Option<&Duration>| {
        let ms = duration.copied().unwrap_or_default().as_secs_f64() * 1000.0;
        (ms * 10.0).round() / 10.0
    };
    (ms(durations.get(durations.len() / 2)), ms(durations.last()))
}

impl Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, kills, stops, clients, objects, duration_s, .. } = self;
        writeln!(
            f,
            "seed {seed}: {kills} kills, {stops} orderly stops, {clients} clients, {objects} objects, {duration_s:.1} s"
        )?;
        writeln!(
            f,
            "publishes    {} acknowledged, {} as duplicates; {} sent again after a broken connection",
            self.acknowledged, self.duplicates, self.retries
        )?;
        writeln!(
            f,
            "deliveries   {} events, {} signals; {} events stored",
            self.delivered, self.signals, self.stored
        )?;
        writeln!(f, "connections  {}, {} joins resumed", self.connections, self.resumed)?;
        writeln!(
            f,
            "ready        after {} ms (median), {} ms (longest)",
            self.ready_median_ms, self.ready_max_ms
        )?;
        write!(f, "violations   {}", self.violations)?;
        for (breach, count) in self.counts.0.iter().filter(|(_, count)| **count > 0) {
            write!(f, ", {breach:?} {count}")?;
        }
        for violation in &self.described_violations {
            write!(f, "\nVIOLATION (seed {seed}) {violation}")?;
        }
        let hidden = self.violations - self.described_violations.len() as u64;
        if hidden > 0 {
            write!(f, "\nand {hidden} more violations")?;
        }
        if let Some(data) = &self.data {
            write!(f, "\nthe server's directory is {}", data.display())?;
        }
        Ok(())
    }
}
