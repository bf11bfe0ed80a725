//! What objects count.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry};

use super::presence;

/// Counters of all objects together.
#[derive(Clone)]
pub struct Metrics {
    pub(super) awake: IntGauge,
    pub(super) wakes: IntCounter,
    pub(super) wake_seconds: Histogram,
    pub(super) failures: IntCounter,
    pub(super) evictions: IntCounter,
    pub(super) duplicates: IntCounter,
    pub(super) presence: presence::Metrics,
}

impl Metrics {
    /// Registers the metrics of objects.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let buckets = prometheus::exponential_buckets(50e-6, 2.0, 16)?;
        let wake = HistogramOpts::new(
            "dormouse_object_wake_seconds",
            "Time from an instance's start until it takes messages.",
        );
        let metrics = Self {
            awake: IntGauge::new("dormouse_objects_awake", "Objects that have an instance.")?,
            wakes: IntCounter::new("dormouse_object_wakes_total", "Instances started.")?,
            wake_seconds: Histogram::with_opts(wake.buckets(buckets))?,
            failures: IntCounter::new(
                "dormouse_object_failures_total",
                "Instances that ended by a panic of their class.",
            )?,
            evictions: IntCounter::new(
                "dormouse_object_evictions_total",
                "Instances that slept because other objects needed their place.",
            )?,
            duplicates: IntCounter::new(
                "dormouse_publish_duplicates_total",
                "Publishes that were stored before under the same key.",
            )?,
            presence: presence::Metrics::register(registry)?,
        };
        registry.register(Box::new(metrics.awake.clone()))?;
        registry.register(Box::new(metrics.wakes.clone()))?;
        registry.register(Box::new(metrics.wake_seconds.clone()))?;
        registry.register(Box::new(metrics.failures.clone()))?;
        registry.register(Box::new(metrics.evictions.clone()))?;
        registry.register(Box::new(metrics.duplicates.clone()))?;
        Ok(metrics)
    }

    /// Counts an instance until the guard is dropped, and whether a panic dropped it.
    pub(super) fn count_awake(&self) -> impl Drop + Send + use<> {
        struct Awake(Metrics);
        impl Drop for Awake {
            fn drop(&mut self) {
                self.0.awake.dec();
                if std::thread::panicking() {
                    self.0.failures.inc();
                }
            }
        }
        self.awake.inc();
        Awake(self.clone())
    }
}
