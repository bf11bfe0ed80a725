//! What a soak tells at its end.

use std::fmt::{self, Display};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::faults::Faults;
use super::oracle::{Counts, Oracle};
use super::plot;
use super::sample::{Done, FIGURES, Sample};
use super::trend::{SHORTEST, Trend, trend};
use crate::report::{per_second, thousands};

const MIB: f64 = 1_048_576.0;

/// The figures of a soak.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Always `soak`.
    pub scenario: &'static str,
    /// How long everybody was at work.
    pub minutes: f64,
    /// Events that members received.
    pub deliveries: u64,
    /// The same per second.
    pub deliveries_per_s: f64,
    /// Publishes that were acknowledged.
    pub publishes: u64,
    /// Connections that were established.
    pub connects: u64,
    /// Positions that were continued.
    pub resumes: u64,
    /// Positions that were not, since events after them were trimmed.
    pub resets: u64,
    /// Signals that members received.
    pub signals: u64,
    /// Rosters and changes of them that members received.
    pub presence_changes: u64,
    /// Members that were cut off and got back their place in a roster.
    pub presence_returns: u64,
    /// Pages of history and of rosters, and answers over HTTP.
    pub reads: u64,
    /// Malformed clients.
    pub malformed_clients: u64,
    /// What the server tells that it has done.
    #[serde(flatten)]
    pub done: Done,
    /// What went wrong.
    #[serde(flatten)]
    pub faults: Faults,
    /// What was sampled.
    pub series: Vec<Series>,
    /// What is not as it was before anybody came.
    pub left_over: Vec<LeftOver>,
    /// The server's version.
    pub server_version: Option<String>,
    #[serde(skip)]
    samples: Vec<Sample>,
}

/// A figure that was sampled.
#[derive(Debug, Clone, Serialize)]
pub struct Series {
    /// Which.
    pub name: &'static str,
    /// Before anybody came.
    pub before: f64,
    /// Its least value at the beginning of what is watched: after a quarter of the run. None where the samples are too few.
    pub start: Option<f64>,
    /// Its least value at the end.
    pub end: Option<f64>,
    /// The Theil–Sen slope of its least values.
    pub per_hour: Option<f64>,
    /// `steady` or `grows`; or why that can't be told: `too short to tell`, `too few samples`.
    pub verdict: &'static str,
}

/// A figure that is not as it was before anybody came, when everybody has gone.
#[derive(Debug, Clone, Serialize)]
pub struct LeftOver {
    /// Which.
    pub name: &'static str,
    /// What it was.
    pub before: f64,
    /// What it is.
    pub after: f64,
}

/// What an outcome is made of.
pub(super) struct Ended {
    pub(super) length: Duration,
    pub(super) before: Sample,
    pub(super) samples: Vec<Sample>,
    pub(super) after: Sample,
    pub(super) done: Done,
    pub(super) version: Option<String>,
}

impl Outcome {
    pub(super) fn new(ended: Ended, counts: Counts, faults: Faults) -> Self {
        let Ended { length, before, samples, after, done, version } = ended;
        let left_over = after.left_over(&before);
        Self {
            scenario: "soak",
            minutes: length.as_secs_f64() / 60.0,
            deliveries: counts.deliveries,
            deliveries_per_s: per_second(counts.deliveries, length).round(),
            publishes: counts.publishes,
            connects: counts.connects,
            resumes: counts.resumes,
            resets: counts.resets,
            signals: counts.signals,
            presence_changes: counts.presence,
            presence_returns: counts.returns,
            reads: counts.reads,
            malformed_clients: counts.malformed_clients,
            done,
            faults,
            series: (0..FIGURES.len()).map(|nth| series(nth, &before, &samples, length)).collect(),
            left_over: left_over
                .map(|(name, before, after)| LeftOver { name, before, after })
                .collect(),
            server_version: version,
            samples,
        }
    }

    /// Nothing went wrong, nothing grows and nothing is left.
    pub fn is_sound(&self) -> bool {
        let grows = self.series.iter().any(|series| series.verdict == "grows");
        self.faults.is_none() && !grows && self.left_over.is_empty()
    }

    /// Draws the most telling figures over time, as SVG.
    pub fn plot(&self, path: &Path) -> Result<()> {
        let title = format!(
            "Dormouse soak: {} minutes, {} deliveries, {} connections, {} lost, {} repeated, {} reordered",
            (self.minutes * 10.0).round() / 10.0,
            thousands(self.deliveries as f64),
            thousands(self.connects as f64),
            self.faults.lost,
            self.faults.repeated,
            self.faults.reordered
        );
        plot::draw(path, &title, &self.samples)
    }
}

fn series(nth: usize, before: &Sample, samples: &[Sample], length: Duration) -> Series {
    let figure = &FIGURES[nth];
    let values = samples.iter().map(|sample| sample.values[nth]).collect::<Vec<_>>();
    let trend = trend(&values, length.as_secs_f64() / 3600.0, figure.tolerance);
    Series {
        name: figure.name,
        before: tenths(before.values[nth]),
        start: trend.map(|trend| tenths(trend.start)),
        end: trend.map(|trend| tenths(trend.end)),
        per_hour: trend.map(|trend| tenths(trend.per_hour)),
        verdict: match trend {
            Some(_) if length < SHORTEST => "too short to tell",
            Some(Trend { grows: true, .. }) => "grows",
            Some(_) => "steady",
            None => "too few samples",
        },
    }
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// A line for people who wait.
pub(super) fn progress(sample: &Sample, rate: f64, oracle: &Oracle) -> String {
    let Counts { publishes, connects, resumes, resets, .. } = oracle.counts;
    let value = |name| thousands(sample.value(name));
    format!(
        "{:5.1} min: {} deliveries/s, {publishes} publishes, {connects} connects, {resumes} resumes, {resets} resets; \
         PSS {:.1} MiB, CPU {} %, {} descriptors, {} tasks, {} objects ({} awake), {} files, {:.1} MiB",
        sample.at.as_secs_f64() / 60.0,
        thousands(rate),
        sample.value("pss_bytes") / MIB,
        value("cpu_percent"),
        thousands(sample.value("open_files") + sample.value("open_others")),
        value("tasks"),
        value("objects"),
        value("instances"),
        value("data_files"),
        sample.value("data_bytes") / MIB,
    )
}

impl Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            publishes, connects, resumes, resets, signals, reads, malformed_clients, ..
        } = self;
        writeln!(
            f,
            "soak: {:.1} minutes, {} deliveries ({} a second)",
            self.minutes, self.deliveries, self.deliveries_per_s
        )?;
        writeln!(
            f,
            "{publishes} publishes, {connects} connects, {resumes} resumes, {resets} resets, {signals} signals, {} roster changes, \
             {} returns, {reads} reads, {malformed_clients} malformed clients",
            self.presence_changes, self.presence_returns
        )?;
        let Done { wakes, trimmed_events, fell_behind, overtaken, duplicates } = self.done;
        writeln!(
            f,
            "the server: {wakes} wakes, {trimmed_events} events trimmed, {fell_behind} times a member too slow, {overtaken} of them \
             overtaken by retention, {duplicates} publishes again"
        )?;
        let Faults { lost, repeated, reordered, .. } = self.faults;
        writeln!(f, "{lost} lost, {repeated} repeated, {reordered} reordered")?;
        writeln!(
            f,
            "{:18}{:>15}{:>15}{:>15}{:>15}  verdict",
            "", "before", "start", "end", "per hour"
        )?;
        for Series { name, before, start, end, per_hour, verdict } in &self.series {
            let told = |value: &Option<f64>| value.map_or_else(|| "?".to_owned(), thousands);
            writeln!(
                f,
                "{name:18}{:>15}{:>15}{:>15}{:>15}  {verdict}",
                thousands(*before),
                told(start),
                told(end),
                told(per_hour)
            )?;
        }
        for LeftOver { name, before, after } in &self.left_over {
            writeln!(f, "LEFT OVER {name}: {after} instead of {before}")?;
        }
        for fault in &self.faults.described {
            writeln!(f, "FAULT {fault}")?;
        }
        f.write_str(if self.is_sound() { "sound" } else { "NOT SOUND" })
    }
}
