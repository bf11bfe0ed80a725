//! What is told of waking.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::growth;
use super::pairs::Times;
use crate::bench::metrics::Buckets;
use crate::cli::WakeOptions;
use crate::report::{difference, per};

/// The figures. Times are from a publish to its acknowledgement, with the fsync.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Always `wake`.
    pub scenario: &'static str,
    /// Objects that are stored.
    pub objects: u64,
    /// Objects that were woken.
    pub samples: u64,
    /// What waking adds: the median of publishes to sleeping objects, less that of publishes to the same objects awake.
    pub wake_added_p50_us: f64,
    /// Likewise, for the slowest of a hundred.
    pub wake_added_p99_us: f64,
    /// The object was asleep: half took at most this long.
    pub asleep_p50_us: f64,
    /// All but one of a hundred.
    pub asleep_p99_us: f64,
    /// The object was awake: half took at most this long.
    pub awake_p50_us: f64,
    /// All but one of a hundred.
    pub awake_p99_us: f64,
    /// The server's own time for a wake, from its histogram: the median, interpolated.
    pub server_wake_p50_us: f64,
    /// Likewise.
    pub server_wake_p99_us: f64,
    /// Memory (PSS) of the server that stored the objects, by how many there were, all asleep and nobody connected.
    pub server_pss_bytes_at: BTreeMap<u64, u64>,
    /// How much each object added to it in the later half.
    pub server_pss_growth_bytes_per_object: f64,
    /// The server's version.
    pub server_version: String,
}

impl Outcome {
    pub(super) fn new(
        options: &WakeOptions,
        times: &Times,
        wake_seconds: &Buckets,
        memory: BTreeMap<u64, u64>,
        server_version: &str,
    ) -> Self {
        let added = |share| {
            let [asleep, awake] = [&times.asleep, &times.awake].map(|t| t.value_at_quantile(share));
            per(difference(asleep, awake), 1_000)
        };
        let server = |share| (wake_seconds.quantile(share) * 1e7).round() / 10.0;
        Self {
            scenario: "wake",
            objects: options.objects,
            samples: options.samples,
            wake_added_p50_us: added(0.5),
            wake_added_p99_us: added(0.99),
            asleep_p50_us: quantile_us(&times.asleep, 0.5),
            asleep_p99_us: quantile_us(&times.asleep, 0.99),
            awake_p50_us: quantile_us(&times.awake, 0.5),
            awake_p99_us: quantile_us(&times.awake, 0.99),
            server_wake_p50_us: server(0.5),
            server_wake_p99_us: server(0.99),
            server_pss_growth_bytes_per_object: growth(&memory),
            server_pss_bytes_at: memory,
            server_version: server_version.to_owned(),
        }
    }
}

fn quantile_us(nanoseconds: &Histogram<u64>, share: f64) -> f64 {
    per(difference(nanoseconds.value_at_quantile(share), 0), 1_000)
}

impl Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { objects, samples, server_version, .. } = self;
        let mut line =
            |what: &str, p50: f64, p99: f64| writeln!(f, "{what:20} p50 {p50} µs, p99 {p99} µs");
        line("publish, asleep", self.asleep_p50_us, self.asleep_p99_us)?;
        line("publish, awake", self.awake_p50_us, self.awake_p99_us)?;
        line("waking adds", self.wake_added_p50_us, self.wake_added_p99_us)?;
        line("the server's wake", self.server_wake_p50_us, self.server_wake_p99_us)?;
        for (count, bytes) in &self.server_pss_bytes_at {
            writeln!(f, "{:20} {bytes} bytes", format!("{count} objects"))?;
        }
        let growth = self.server_pss_growth_bytes_per_object;
        writeln!(f, "{:20} {growth} bytes", "each object adds")?;
        write!(f, "{samples} of {objects} objects woken, dormouse {server_version}")
    }
}
