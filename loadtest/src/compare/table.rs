//! The figures of all runs, put together: medians, ratios to a baseline, and a table in Markdown.

use std::fmt::{self, Display};

use serde::Serialize;

use crate::drive::ledger::Faults;
use crate::load::outcome::Outcome;
use crate::report::{self, thousands};

/// What one run told. None where it tells nothing of that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Run {
    /// The server's processor time for each delivery, or connection.
    pub(super) cpu_us: Option<f64>,
    /// Half of the deliveries took at most this long.
    pub(super) p50_us: Option<f64>,
    /// All but one of a hundred took at most this long.
    pub(super) p99_us: Option<f64>,
    /// Deliveries a second, or connections.
    pub(super) per_s: Option<f64>,
    /// The share of the deliveries that never came.
    pub(super) lost: f64,
    /// Deliveries that came again, out of order or out of nowhere.
    pub(super) misdelivered: u64,
    /// Connections that ended before their time.
    pub(super) closed: u64,
}

/// One system at one work, over all rounds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Line {
    /// The work.
    pub(super) work: String,
    /// Who did it.
    pub(super) system: &'static str,
    /// In medians over the runs; what was lost, over all of them.
    pub(super) median: Run,
    /// The processor time, by that of the baseline at the same work: the median of the rounds' ratios.
    pub(super) ratio: Option<f64>,
    /// Each round for itself; without figures where it failed.
    pub(super) runs: Vec<Run>,
    /// Why a run told nothing.
    pub(super) failure: Option<String>,
}

/// All lines, those of the same work one after the other.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Table(Vec<Line>);

impl Table {
    /// Adds what a run told, or why it told nothing.
    pub(super) fn add(&mut self, work: &str, system: &'static str, run: Result<Run, String>) {
        let found = self.0.iter().position(|l| l.work == work && l.system == system);
        let index = found.unwrap_or_else(|| {
            let behind =
                self.0.iter().rposition(|l| l.work == work).map_or(self.0.len(), |at| at + 1);
            self.0.insert(behind, Line::new(work, system));
            behind
        });
        let line = &mut self.0[index];
        line.runs.push(run.unwrap_or_else(|failure| {
            line.failure = Some(failure);
            Run::default()
        }));
        line.median = median(&line.runs);
    }

    /// Relates everything to a system, each round for itself: machines drift, and what is run within a minute is alike.
    pub(super) fn relate(&mut self, baseline: &str) {
        let ratio = |line: &Line| {
            let other = self.0.iter().find(|l| l.work == line.work && l.system == baseline)?;
            let rounds = line.runs.iter().zip(&other.runs);
            let ratios = rounds.filter_map(|(run, other)| {
                Some(run.cpu_us? / other.cpu_us.filter(|cpu| *cpu > 0.0)?)
            });
            report::median(ratios)
        };
        let ratios: Vec<_> = self.0.iter().map(ratio).collect();
        for (line, ratio) in self.0.iter_mut().zip(ratios) {
            line.ratio = ratio;
        }
    }

    /// The lines.
    pub(super) fn lines(&self) -> &[Line] {
        &self.0
    }
}

impl<Own> From<&Outcome<Own>> for Run {
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    fn from(outcome: &Outcome<Own>) -> Self {
        let Faults { lost, repeated, reordered, unknown, misplaced } = outcome.faults;
        Self {
            cpu_us: outcome.server_cpu_us_per_delivery,
            p50_us: outcome.p50_us.map(|us| us as f64),
            p99_us: outcome.p99_us.map(|us| us as f64),
            per_s: Some(outcome.deliveries_per_s),
            lost: lost as f64 / (lost + outcome.deliveries).max(1) as f64,
            misdelivered: repeated + reordered + unknown + misplaced,
            closed: outcome.closed_connections,
        }
    }
}

impl Line {
    fn new(work: &str, system: &'static str) -> Self {
        Self {
            work: work.to_owned(),
            system,
            median: Run::default(),
            ratio: None,
            runs: Vec::new(),
            failure: None,
        }
    }

    /// All deliveries came once and in order.
    pub(super) fn is_exact(&self) -> bool {
        self.faults().is_empty()
    }

    fn faults(&self) -> String {
        if let Some(failure) = &self.failure {
            return failure.replace('|', "\\|").replace('\n', " ");
        }
        let mut faults = Vec::new();
        if self.median.lost > 0.0 {
            faults.push(format!("lost {} %", significant(self.median.lost * 100.0)));
        }
        if self.median.misdelivered > 0 {
            faults.push(format!("{} misdelivered", self.median.misdelivered));
        }
        if self.median.closed > 0 {
            faults.push(format!("{} connections closed", self.median.closed));
        }
        faults.join(", ")
    }
}

/// Medians of what is known; of losses the worst, and of repeats the sum, since each is one too many.
fn median(runs: &[Run]) -> Run {
    let of = |figure: fn(&Run) -> Option<f64>| report::median(runs.iter().filter_map(figure));
    Run {
        cpu_us: of(|run| run.cpu_us),
        p50_us: of(|run| run.p50_us),
        p99_us: of(|run| run.p99_us),
        per_s: of(|run| run.per_s),
        lost: runs.iter().map(|run| run.lost).fold(0.0, f64::max),
        misdelivered: runs.iter().map(|run| run.misdelivered).sum(),
        closed: runs.iter().map(|run| run.closed).sum(),
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| work | system | CPU µs each | ratio | p50 | p99 | each/s | faults |")?;
        write!(f, "|---|---|--:|--:|--:|--:|--:|---|")?;
        let mut last = "";
        for line in &self.0 {
            let work = if line.work == last { "" } else { &line.work };
            last = &line.work;
            let Run { cpu_us, p50_us, p99_us, per_s, .. } = line.median;
            let cells = [
                work.to_owned(),
                line.system.to_owned(),
                cpu_us.map_or_else(none, significant),
                line.ratio.map_or_else(none, |ratio| format!("{ratio:.2}")),
                p50_us.map_or_else(none, duration),
                p99_us.map_or_else(none, duration),
                per_s.map_or_else(none, thousands),
                line.faults(),
            ];
            write!(f, "\n| {} |", cells.join(" | "))?;
        }
        Ok(())
    }
}

fn none() -> String {
    "–".to_owned()
}

/// Three digits, or all before the point.
fn significant(value: f64) -> String {
    let decimals = match value.abs() {
        v if v < 1.0 => 3,
        v if v < 10.0 => 2,
        v if v < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

fn duration(us: f64) -> String {
    if us < 1_000.0 { format!("{us:.0} µs") } else { format!("{} ms", significant(us / 1_000.0)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(cpu_us: f64) -> Run {
        Run {
            cpu_us: Some(cpu_us),
            p50_us: Some(123.4),
            p99_us: Some(4_567.0),
            per_s: Some(1_234_567.0),
            ..Run::default()
        }
    }

    #[test]
    fn ratios_are_those_of_a_round_at_the_same_work() {
        let mut table = Table::default();
        for (ours, theirs) in [(1.0, 2.0), (9.0, 4.0), (8.0, 10.0)] {
            table.add("fan-out", "dormouse", Ok(run(ours)));
            table.add("echo", "dormouse", Ok(run(7.0)));
            table.add("fan-out", "bun", Ok(run(theirs)));
        }
        table.relate("bun");
        let told: Vec<_> = table.lines().iter().map(|l| (&*l.work, l.system, l.ratio)).collect();
        let ratio = Some(0.8);
        let expected = [
            ("fan-out", "dormouse", ratio),
            ("fan-out", "bun", Some(1.0)),
            ("echo", "dormouse", None),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn the_table_is_markdown() {
        let mut table = Table::default();
        table.add("fan-out", "dormouse", Ok(run(0.25)));
        table.add("fan-out", "bun", Ok(run(0.5)));
        table.add("connect", "dormouse", Ok(Run { cpu_us: Some(20.0), ..Run::default() }));
        table.relate("bun");
        let expected = "\
| work | system | CPU µs each | ratio | p50 | p99 | each/s | faults |
|---|---|--:|--:|--:|--:|--:|---|
| fan-out | dormouse | 0.250 | 0.50 | 123 µs | 4.57 ms | 1,234,567 |  |
|  | bun | 0.500 | 1.00 | 123 µs | 4.57 ms | 1,234,567 |  |
| connect | dormouse | 20.0 | – | – | – | – |  |";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn what_was_lost_in_one_run_is_told() {
        let mut table = Table::default();
        let bad = Run { lost: 0.12, misdelivered: 3, ..run(1.0) };
        for run in [run(1.0), bad, run(1.0)] {
            table.add("fan-out", "nchan", Ok(run));
        }
        assert!(!table.lines()[0].is_exact());
        let text = table.to_string();
        assert!(text.ends_with("| lost 12.0 %, 3 misdelivered |"), "{text}");
    }

    #[test]
    fn a_run_that_failed_is_told_and_not_counted() {
        let mut table = Table::default();
        for (theirs, ours) in [(Err("closed | all".to_owned()), 5.0), (Ok(run(1.0)), 2.0)] {
            table.add("fan-out", "nchan", theirs);
            table.add("fan-out", "bun", Ok(run(ours)));
        }
        table.relate("bun");
        assert_eq!(table.lines()[0].ratio, Some(0.5), "of the round in which both ran");
        assert!(!table.lines()[0].is_exact());
        table.0.pop();
        let text = table.to_string();
        assert!(
            text.contains("| nchan | 1.00 |") && text.ends_with("| closed \\| all |"),
            "{text}"
        );
    }
}
