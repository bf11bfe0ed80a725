//! Metrics of objects.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::lifecycle::{SleepReason, SleepRefusal, State, WakeCause};

use super::presence;

/// Counters of all objects together.
#[derive(Clone)]
pub struct Metrics {
    /// By [`State::index`].
    objects: [IntGauge; 4],
    wakes: IntCounterVec,
    pub(super) wake_seconds: Histogram,
    sleeps: IntCounterVec,
    sleeps_refused: IntCounterVec,
    pub(super) failures: IntCounter,
    pub(super) duplicates: IntCounter,
    pub(super) presence: presence::Metrics,
}

impl Metrics {
    /// Registers the metrics of objects.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let objects = IntGaugeVec::new(
            Opts::new("dormouse_objects", "Objects in use, by whether they have an instance."),
            &["state"],
        )?;
        let buckets = prometheus::exponential_buckets(20e-6, 2.0, 18)?;
        let wake = HistogramOpts::new(
            "dormouse_object_wake_seconds",
            "Time from what wakes an object until its instance takes messages, waiting in line included.",
        );
        let metrics = Self {
            objects: State::ALL.map(|state| objects.with_label_values(&[state.as_str()])),
            wakes: IntCounterVec::new(
                Opts::new("dormouse_object_wakes_total", "Instances that woke."),
                &["cause"],
            )?,
            wake_seconds: Histogram::with_opts(wake.buckets(buckets))?,
            sleeps: IntCounterVec::new(
                Opts::new("dormouse_object_sleeps_total", "Times that an object fell asleep."),
                &["reason"],
            )?,
            sleeps_refused: IntCounterVec::new(
                Opts::new(
                    "dormouse_object_sleeps_refused_total",
                    "Times that an object was to sleep and did not, or not at once.",
                ),
                &["reason"],
            )?,
            failures: IntCounter::new(
                "dormouse_object_failures_total",
                "Instances that ended by a panic of their class.",
            )?,
            duplicates: IntCounter::new(
                "dormouse_publish_duplicates_total",
                "Publishes that were stored before under the same key.",
            )?,
            presence: presence::Metrics::register(registry)?,
        };
        show(&metrics.wakes, WakeCause::ALL.map(WakeCause::as_str));
        show(&metrics.sleeps, SleepReason::ALL.map(SleepReason::as_str));
        show(&metrics.sleeps_refused, SleepRefusal::ALL.map(SleepRefusal::as_str));
        registry.register(Box::new(objects))?;
        registry.register(Box::new(metrics.wakes.clone()))?;
        registry.register(Box::new(metrics.wake_seconds.clone()))?;
        registry.register(Box::new(metrics.sleeps.clone()))?;
        registry.register(Box::new(metrics.sleeps_refused.clone()))?;
        registry.register(Box::new(metrics.failures.clone()))?;
        registry.register(Box::new(metrics.duplicates.clone()))?;
        Ok(metrics)
    }

    /// An object comes into use, in this state.
    pub(super) fn count_in(&self, state: State) {
        self.objects[state.index()].inc();
    }

    /// An object goes out of use, in this state.
    pub(super) fn count_out(&self, state: State) {
        self.objects[state.index()].dec();
    }

    /// Objects in use that are in this state.
    pub(super) fn objects_in(&self, state: State) -> u64 {
        self.objects[state.index()].get().try_into().unwrap_or(0)
    }

    pub(super) fn woke(&self, cause: WakeCause) {
        self.wakes.with_label_values(&[cause.as_str()]).inc();
    }

    pub(super) fn slept(&self, reason: SleepReason) {
        self.sleeps.with_label_values(&[reason.as_str()]).inc();
    }

    pub(super) fn refused_sleep(&self, refusal: SleepRefusal) {
        self.sleeps_refused.with_label_values(&[refusal.as_str()]).inc();
    }
}

/// Creates each counter at zero, so its first increment is visible as a rise.
fn show<const N: usize>(counters: &IntCounterVec, labels: [&str; N]) {
    for label in labels {
        counters.with_label_values(&[label]);
    }
}
