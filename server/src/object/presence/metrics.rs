//! Metrics of presence.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Counters of all rosters together.
#[derive(Clone)]
pub(in crate::object) struct Metrics {
    pub(super) members: IntGauge,
    pub(super) joins: IntCounter,
    pub(super) updates: IntCounter,
    pub(super) leaves: IntCounter,
    pub(super) flushes: IntCounter,
    pub(super) returns: IntCounter,
    pub(super) lost: IntCounter,
    pub(super) full: IntCounter,
    pub(super) skipped: IntCounter,
}

impl Metrics {
    pub(in crate::object) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name, help| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let members = IntGauge::new("dormouse_presence_members", "Members in rosters.")?;
        registry.register(Box::new(members.clone()))?;
        let changes = IntCounterVec::new(
            Opts::new("dormouse_presence_changes_total", "Changes of rosters that were told."),
            &["kind"],
        )?;
        registry.register(Box::new(changes.clone()))?;
        Ok(Self {
            members,
            joins: changes.with_label_values(&["join"]),
            updates: changes.with_label_values(&["update"]),
            leaves: changes.with_label_values(&["leave"]),
            flushes: counter("dormouse_presence_flushes_total", "Versions of rosters.")?,
            returns: counter(
                "dormouse_presence_returns_total",
                "Lost members that came back within the grace period.",
            )?,
            lost: counter(
                "dormouse_presence_lost_total",
                "Members whose connection was lost without leaving.",
            )?,
            full: counter(
                "dormouse_presence_full_total",
                "Members that did not fit into a roster.",
            )?,
            skipped: counter(
                "dormouse_presence_skipped_total",
                "Changes of rosters that were not stored because the log was full or had failed.",
            )?,
        })
    }
}
