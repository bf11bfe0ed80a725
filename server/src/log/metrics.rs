//! What the log counts.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntGauge, Registry, core::Collector, exponential_buckets,
};

/// The log's metrics. Cloning gives the same metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) commits: IntCounter,
    pub(super) events: IntCounter,
    pub(super) bytes: IntCounter,
    pub(super) commit_seconds: Histogram,
    pub(super) events_per_commit: Histogram,
    pub(super) queue_events: IntGauge,
    pub(super) trimmed_events: IntCounter,
    pub(super) failed: IntGauge,
    pub(super) read_errors: IntCounter,
    pub(super) free_bytes: IntGauge,
    pub(super) full: IntGauge,
    pub(super) slow_commits: IntCounter,
}

impl Metrics {
    /// Makes the metrics and registers them; fails where the registry has them already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        fn add<T: Collector + Clone + 'static>(
            registry: &Registry,
            metric: T,
        ) -> prometheus::Result<T> {
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        }
        let counter = |name, help| add(registry, IntCounter::new(name, help)?);
        let gauge = |name, help| add(registry, IntGauge::new(name, help)?);
        let histogram = |name: &str, help: &str, buckets| {
            add(registry, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?)
        };
        Ok(Self {
            commits: counter("dormouse_log_commits_total", "Commits with events, one fsync each")?,
            events: counter("dormouse_log_events_total", "Events stored")?,
            bytes: counter("dormouse_log_bytes_total", "Bytes of events stored, in wire form")?,
            commit_seconds: histogram(
                "dormouse_log_commit_seconds",
                "Time of a commit with events, fsync and stalls of the store included",
                vec![
                    5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0,
                    2.0, 5.0, 10.0,
                ],
            )?,
            events_per_commit: histogram(
                "dormouse_log_events_per_commit",
                "Events of a commit",
                exponential_buckets(1.0, 4.0, 7)?,
            )?,
            queue_events: gauge("dormouse_log_queue_events", "Events that wait for a commit")?,
            trimmed_events: counter(
                "dormouse_log_trimmed_events_total",
                "Events removed by retention",
            )?,
            failed: gauge(
                "dormouse_log_failed",
                "1 once the log has failed and takes no more events",
            )?,
            read_errors: counter(
                "dormouse_log_read_errors_total",
                "Reads of the log that failed, because the disk or what is on it is damaged",
            )?,
            free_bytes: gauge("dormouse_log_free_bytes", "Space left on the disk of the log")?,
            full: gauge(
                "dormouse_log_full",
                "1 while publishes are refused because less than log.min_free is left",
            )?,
            slow_commits: counter(
                "dormouse_log_slow_commits_total",
                "Commits that took longer than 3 s",
            )?,
        })
    }
}
