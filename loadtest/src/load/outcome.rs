//! What is told of every run, and what the scenarios add to it.

use std::fmt::{self, Display};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::plot;
use super::target::Target;
use crate::drive::ledger::Faults;
use crate::report::{Latency, per_second};

/// How connecting and joining went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connecting {
    pub(crate) connections: u32,
    pub(crate) took: Duration,
    /// The server's processor time.
    pub(crate) cpu: Option<Duration>,
}

/// What was counted in a window of time.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    pub(crate) took: Duration,
    pub(crate) publishes: u64,
    pub(crate) deliveries: u64,
    /// The server's processor time.
    pub(crate) cpu: Option<Duration>,
    /// This process's own.
    pub(crate) generator_cpu: Option<Duration>,
    /// The server's memory at its end.
    pub(crate) pss_bytes: Option<u64>,
    /// Deliveries in each tenth of a second.
    pub(crate) series: Vec<u64>,
}

/// The figures. None is what could not be known, for want of the server's process.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome<Own> {
    /// Which scenario.
    pub scenario: &'static str,
    /// Which system.
    pub system: &'static str,
    /// Connections, each a member of one room.
    pub connections: u32,
    /// Bytes of a payload.
    pub payload: usize,
    /// Publishes in the time that was measured.
    pub publishes: u64,
    /// Deliveries in the time that was measured.
    pub deliveries: u64,
    /// That many a second.
    pub deliveries_per_s: f64,
    /// The server's processor time, user and system, for each.
    pub server_cpu_us_per_delivery: Option<f64>,
    /// The server's processor time in percent of one core.
    pub server_cpu_percent: Option<f64>,
    /// This program's own, to tell whether it was the bottleneck.
    pub generator_cpu_percent: Option<f64>,
    /// By how much the server's memory (PSS) grew from nobody connected to the end of what was measured.
    pub server_pss_bytes_per_connection: Option<f64>,
    /// The server's processor time for accepting, upgrading and joining.
    pub connect_cpu_us_per_connection: Option<f64>,
    /// Connections that joined, a second.
    pub connects_per_s: f64,
    /// From when a publish was due until a member received it; half took at most this long. None where nothing was delivered.
    pub p50_us: Option<u64>,
    /// All but one of a hundred.
    pub p99_us: Option<u64>,
    /// The longest.
    pub max_us: Option<u64>,
    /// What went wrong.
    #[serde(flatten)]
    pub faults: Faults,
    /// Connections that ended before their time.
    pub closed_connections: u64,
    /// The server's version.
    pub server_version: Option<String>,
    /// What the scenario adds.
    #[serde(flatten)]
    pub own: Own,
    /// All latencies, in microseconds.
    #[serde(skip)]
    pub latency: Histogram<u64>,
    /// Deliveries in each tenth of a second.
    #[serde(skip)]
    pub series: Vec<u64>,
}

/// What an outcome is made of.
pub(crate) struct Figures<'a, Own> {
    pub(crate) scenario: &'static str,
    pub(crate) target: &'a Target,
    pub(crate) payload: usize,
    pub(crate) connecting: Connecting,
    pub(crate) end: End,
    pub(crate) own: Own,
}

/// What is known at the end of a run.
pub(crate) struct End {
    /// The last time that was measured.
    pub(crate) window: Window,
    /// Latencies in it, in microseconds.
    pub(crate) latency: Histogram<u64>,
    /// By how much the server's memory has grown since nobody was connected, in bytes.
    pub(crate) pss_growth: Option<i64>,
    /// What went wrong.
    pub(crate) faults: Faults,
    /// Connections that were lost.
    pub(crate) closed: u64,
}

impl<Own> Outcome<Own> {
    pub(crate) fn new(figures: Figures<'_, Own>) -> Self {
        let Figures { connecting, end, .. } = figures;
        let End { window, latency, pss_growth, faults, closed } = end;
        let connections = f64::from(connecting.connections);
        let percent = |cpu: Duration| round(cpu.div_duration_f64(window.took) * 100.0);
        let told = (!latency.is_empty()).then(|| Latency::from(&latency));
        Self {
            scenario: figures.scenario,
            system: figures.target.system,
            connections: connecting.connections,
            payload: figures.payload,
            publishes: window.publishes,
            deliveries: window.deliveries,
            deliveries_per_s: per_second(window.deliveries, window.took).round(),
            server_cpu_us_per_delivery: window.cpu.and_then(|cpu| us_per(cpu, window.deliveries)),
            server_cpu_percent: window.cpu.map(percent),
            generator_cpu_percent: window.generator_cpu.map(percent),
            server_pss_bytes_per_connection: pss_growth.map(|bytes| {
                #[expect(clippy::cast_precision_loss, reason = "memory stays far below 2^53 bytes")]
                let bytes = bytes as f64;
                (bytes / connections).round()
            }),
            connect_cpu_us_per_connection: connecting
                .cpu
                .and_then(|cpu| us_per(cpu, connecting.connections.into())),
            connects_per_s: per_second(connecting.connections.into(), connecting.took).round(),
            p50_us: told.map(|latency| latency.p50_us),
            p99_us: told.map(|latency| latency.p99_us),
            max_us: told.map(|latency| latency.max_us),
            faults,
            closed_connections: closed,
            server_version: figures.target.version.clone(),
            own: figures.own,
            latency,
            series: window.series,
        }
    }

    /// Draws the latencies, and the deliveries over time, as SVG.
    pub fn plot(&self, path: &Path) -> Result<()>
    where
        Own: Display,
    {
        let title = format!("{}, {}", self.scenario, self.own);
        plot::draw(path, &title, &self.latency, &self.series)
    }

    /// Everybody received everything once, in order.
    pub fn is_exact(&self) -> bool {
        self.faults.is_none() && self.closed_connections == 0
    }
}

/// Microseconds for each, to three decimals.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn us_per(time: Duration, count: u64) -> Option<f64> {
    (count > 0).then(|| round(time.as_secs_f64() * 1e6 / count as f64))
}

fn round(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// A figure for people.
fn or_unknown(figure: Option<impl Display>, unit: &str) -> String {
    figure.map_or_else(|| "not known".to_owned(), |figure| format!("{figure} {unit}"))
}

impl<Own: Display> Display for Outcome<Own> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.server_version.as_deref().unwrap_or_default();
        writeln!(f, "{}: {}, {} {version}", self.scenario, self.own, self.system)?;
        if self.publishes > 0 {
            writeln!(
                f,
                "deliveries       {} of {} publishes of {} bytes, {} a second",
                self.deliveries, self.publishes, self.payload, self.deliveries_per_s
            )?;
            writeln!(
                f,
                "server CPU       {} a delivery, {} of a core (generator {})",
                or_unknown(self.server_cpu_us_per_delivery, "µs"),
                or_unknown(self.server_cpu_percent, "%"),
                or_unknown(self.generator_cpu_percent, "%"),
            )?;
            writeln!(
                f,
                "latency          p50 {}, p99 {}, max {}",
                or_unknown(self.p50_us, "µs"),
                or_unknown(self.p99_us, "µs"),
                or_unknown(self.max_us, "µs")
            )?;
        }
        writeln!(
            f,
            "server memory    {} a connection",
            or_unknown(self.server_pss_bytes_per_connection, "bytes")
        )?;
        writeln!(
            f,
            "connect + join   {} of CPU each, {} a second",
            or_unknown(self.connect_cpu_us_per_connection, "µs"),
            self.connects_per_s
        )?;
        let Faults { lost, repeated, reordered, unknown, misplaced } = self.faults;
        write!(
            f,
            "faults           {lost} lost, {repeated} repeated, {reordered} reordered, {unknown} unknown, \
             {misplaced} misplaced, {} connections closed",
            self.closed_connections
        )
    }
}
