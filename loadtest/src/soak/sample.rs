//! What is sampled of the server while it runs: by the system of its process and its directory, by its metrics of what it holds.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::trend::Tolerance;
use crate::bench::metrics::Metrics;
use crate::bench::proc::{self, Descriptors};

/// The server's file that is open while it runs, in its directory.
const LOCK: &str = "log.lock";
const MIB: f64 = 1_048_576.0;

/// A figure that is sampled.
pub(super) struct Figure {
    /// As it is named in the report.
    pub(super) name: &'static str,
    /// By how much it may grow.
    pub(super) tolerance: Tolerance,
    /// When all clients have gone it has to be what it was before they came.
    pub(super) returns: bool,
}

const fn figure(name: &'static str, growth: f64, share_per_hour: f64) -> Figure {
    Figure { name, tolerance: Tolerance { growth, share_per_hour }, returns: false }
}

const fn returning(name: &'static str, growth: f64) -> Figure {
    Figure { returns: true, ..figure(name, growth, 0.1) }
}

/// All figures, in the order of [`Sample::values`]. By how much one may grow was set to more than it moves by itself from floor to floor
/// in runs without a leak.
pub(super) const FIGURES: [Figure; 17] = [
    figure("pss_bytes", 4.0 * MIB, 0.1),
    figure("rss_bytes", 4.0 * MIB, 0.1),
    figure("cpu_percent", 10.0, 0.2),
    figure("threads", 4.0, 0.1),
    figure("open_files", 8.0, 0.1),
    returning("open_others", 8.0),
    returning("tasks", 16.0),
    returning("objects", 16.0),
    returning("instances", 16.0),
    returning("connections", 8.0),
    returning("members", 16.0),
    returning("presence_members", 16.0),
    returning("audiences", 16.0),
    returning("queued_bytes", MIB),
    returning("recent_bytes", MIB),
    figure("data_files", 8.0, 0.1),
    figure("data_bytes", 32.0 * MIB, 0.1),
];

/// The figures at one moment.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    /// Since the start.
    pub(super) at: Duration,
    /// One for each of [`FIGURES`].
    pub(super) values: [f64; FIGURES.len()],
    /// Deliveries so far.
    pub(super) deliveries: u64,
}

/// What the server tells that it has done since it was started: that what a soak is to mix was really there.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Done {
    /// Instances that woke.
    pub wakes: u64,
    /// Events that retention removed.
    pub trimmed_events: u64,
    /// Members that were too slow and went over to reading the log.
    pub fell_behind: u64,
    /// Those of them that retention overtook.
    pub overtaken: u64,
    /// Publishes that were sent again and had been stored.
    pub duplicates: u64,
}

/// Looks at a server.
pub(super) struct Lookout {
    address: SocketAddr,
    pid: u32,
    directory: PathBuf,
    last_cpu: Duration,
    last_at: Duration,
}

impl Lookout {
    pub(super) fn new(address: SocketAddr, pid: u32) -> Result<Self> {
        let directory = proc::directory_of(pid, LOCK)?;
        let last_cpu = proc::cpu_time(pid)?;
        Ok(Self { address, pid, directory, last_cpu, last_at: Duration::ZERO })
    }

    /// Blocking.
    pub(super) fn sample(&mut self, at: Duration, deliveries: u64) -> Result<Sample> {
        let cpu = proc::cpu_time(self.pid)?;
        let passed = at.saturating_sub(self.last_at).max(Duration::from_millis(1));
        let cpu_percent = cpu.saturating_sub(self.last_cpu).div_duration_f64(passed) * 100.0;
        (self.last_cpu, self.last_at) = (cpu, at);
        // First, as the request for the metrics is a connection of its own, whose task they tell too.
        let Descriptors { files, others } = proc::descriptors(self.pid)?;
        let metrics = Metrics::fetch(self.address)?;
        let used = Usage::of(&self.directory);
        let instances = &["waking", "awake", "falling_asleep"];
        let counts = [
            proc::threads(self.pid)?,
            files,
            others,
            metrics.sum("dormouse_tasks")?,
            metrics.sum("dormouse_objects")?,
            metrics.sum_of("dormouse_objects", "state", instances)?,
            metrics.sum("dormouse_connections")?,
            metrics.sum("dormouse_members")?,
            metrics.sum("dormouse_presence_members")?,
            metrics.sum("dormouse_audiences")?,
            metrics.sum("dormouse_queued_bytes")?,
            metrics.sum("dormouse_recent_bytes")?,
            used.files,
            used.bytes,
        ];
        let mut values = [0.0; FIGURES.len()];
        values[0] = proc::pss_bytes(self.pid)? as f64;
        values[1] = proc::rss_bytes(self.pid)? as f64;
        values[2] = cpu_percent;
        for (value, count) in values[3..].iter_mut().zip(counts) {
            *value = count as f64;
        }
        Ok(Sample { at, values, deliveries })
    }
}

impl Done {
    /// Blocking.
    pub(super) fn by(address: SocketAddr) -> Result<Self> {
        let metrics = Metrics::fetch(address)?;
        Ok(Self {
            wakes: metrics.sum("dormouse_object_wakes_total")?,
            trimmed_events: metrics.sum("dormouse_log_trimmed_events_total")?,
            fell_behind: metrics.sum("dormouse_members_fell_behind_total")?,
            overtaken: metrics.sum("dormouse_member_resets_total")?,
            duplicates: metrics.sum("dormouse_publish_duplicates_total")?,
        })
    }
}

impl Sample {
    /// A figure by its name.
    pub(super) fn value(&self, name: &str) -> f64 {
        let place = FIGURES.iter().position(|figure| figure.name == name);
        self.values[place.expect("only figures are asked for")]
    }

    /// The figures that are not what they were before anybody came: their names, and what they were and are.
    pub(super) fn left_over<'a>(
        &'a self,
        before: &'a Self,
    ) -> impl Iterator<Item = (&'static str, f64, f64)> + 'a {
        let pairs = FIGURES.iter().zip(before.values.iter().zip(&self.values));
        pairs
            .filter(|(figure, (before, now))| figure.returns && before.total_cmp(now).is_ne())
            .map(|(figure, (before, now))| (figure.name, *before, *now))
    }
}

/// What a directory holds.
#[derive(Default)]
struct Usage {
    files: u64,
    bytes: u64,
}

impl Usage {
    /// Files may go away meanwhile: what is gone counts nothing.
    fn of(directory: &Path) -> Self {
        let mut usage = Self::default();
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                let inner = Self::of(&entry.path());
                usage.files += inner.files;
                usage.bytes += inner.bytes;
            } else {
                usage.files += 1;
                // What it takes, and not how long it is: journals are made long in advance.
                usage.bytes += std::os::unix::fs::MetadataExt::blocks(&metadata) * 512;
            }
        }
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_to_return_is_left_over() {
        let before = Sample { at: Duration::ZERO, values: [5.0; FIGURES.len()], deliveries: 0 };
        assert_eq!(before.left_over(&before).count(), 0);
        let mut after = before.clone();
        for (value, figure) in after.values.iter_mut().zip(&FIGURES) {
            let change = match figure.name {
                "pss_bytes" | "data_files" | "tasks" => 1.0,
                "connections" => -1.0,
                _ => 0.0,
            };
            *value += change;
        }
        let left = after.left_over(&before).collect::<Vec<_>>();
        assert_eq!(left, [("tasks", 5.0, 6.0), ("connections", 5.0, 4.0)]);
        assert!((after.value("tasks") - 6.0).abs() < 1e-9);
    }
}
