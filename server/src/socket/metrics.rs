//! What reactors count.

use dormouse_protocol::{CloseCode, ErrorCode, ResetReason};
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Counters of all reactors together.
#[derive(Clone)]
pub struct Metrics {
    pub(super) connections: IntGauge,
    pub(super) members: IntGauge,
    pub(super) surveyed: Surveyed,
    pub(super) messages_in: IntCounter,
    pub(super) control_frames: IntCounter,
    pub(super) bytes_in: IntCounter,
    pub(super) bytes_out: IntCounter,
    pub(super) delivered_events: IntCounter,
    pub(super) caught_up_events: IntCounter,
    pub(super) pages: IntCounter,
    pub(super) fell_behind: IntCounter,
    pub(super) lagged: IntCounter,
    pub(super) resets: IntCounter,
    pub(super) delivered_signals: IntCounter,
    pub(super) signals_dropped: IntCounter,
    pub(super) signals_conflated: IntCounter,
    pub(super) delivered_presence: IntCounter,
    pub(super) missed_presence: IntCounter,
    pub(super) pings: IntCounter,
    pub(super) stalls: IntCounter,
    pub(super) starved: IntCounter,
    joins: IntCounterVec,
    errors: IntCounterVec,
    closes: IntCounterVec,
}

/// What the reactors hold, counted only when the metrics are read.
#[derive(Clone)]
pub(super) struct Surveyed {
    pub(super) at_rest: IntGauge,
    pub(super) busy: IntGauge,
    pub(super) rest_bytes: IntGauge,
    pub(super) queued_bytes: IntGauge,
    pub(super) subscribers: IntGauge,
    pub(super) recent_bytes: IntGauge,
}

const JOIN_OUTCOMES: [&str; 5] = ["fresh", "resumed", "trimmed", "other_epoch", "ahead"];

impl Metrics {
    /// Registers the metrics of sockets.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| gauge(registry, name, help);
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let vec = |name: &str, help: &str, label: &str| {
            let vec = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(vec.clone()))?;
            prometheus::Result::Ok(vec)
        };
        let metrics = Self {
            connections: gauge("dormouse_connections", "Open WebSockets.")?,
            surveyed: Surveyed::register(registry)?,
            members: gauge("dormouse_members", "Memberships: connections joined to objects.")?,
            messages_in: counter("dormouse_messages_received_total", "Messages of clients.")?,
            control_frames: counter(
                "dormouse_control_frames_received_total",
                "Pings, pongs and closes of clients.",
            )?,
            bytes_in: counter("dormouse_received_bytes_total", "Bytes read from WebSockets.")?,
            bytes_out: counter("dormouse_sent_bytes_total", "Bytes written to WebSockets.")?,
            delivered_events: counter(
                "dormouse_events_delivered_total",
                "Events queued for live members, one for each member.",
            )?,
            caught_up_events: counter(
                "dormouse_events_caught_up_total",
                "Events sent to members from the log, one for each member.",
            )?,
            pages: counter("dormouse_catch_up_pages_total", "Pages of the log read for members.")?,
            fell_behind: counter(
                "dormouse_members_fell_behind_total",
                "Live members that went over to reading the log, being too slow.",
            )?,
            lagged: counter(
                "dormouse_reactor_lagged_total",
                "Times that events of an object did not fit into a reactor's inbox.",
            )?,
            resets: counter(
                "dormouse_member_resets_total",
                "Members that retention overtook while they were reading the log.",
            )?,
            delivered_signals: counter(
                "dormouse_signals_delivered_total",
                "Signals queued for members, one for each member.",
            )?,
            signals_dropped: counter(
                "dormouse_signals_dropped_total",
                "Signals that slow members did not get.",
            )?,
            signals_conflated: counter(
                "dormouse_signals_conflated_total",
                "Signals that a newer one with the same key replaced for a slow member.",
            )?,
            delivered_presence: counter(
                "dormouse_presence_delivered_total",
                "Changes of rosters queued for members, one for each member that watches.",
            )?,
            missed_presence: counter(
                "dormouse_presence_missed_total",
                "Times that a slow member missed a change of a roster; it gets the whole roster instead.",
            )?,
            pings: counter("dormouse_pings_total", "Pings sent to silent connections.")?,
            stalls: counter(
                "dormouse_publish_stalls_total",
                "Publishes that waited for room in their object's mailbox.",
            )?,
            starved: counter(
                "dormouse_memory_waits_total",
                "Times that a connection waited for room in the memory budget.",
            )?,
            joins: vec(
                "dormouse_joins_total",
                "Joins by outcome: fresh, resumed, or why a position was not continued.",
                "outcome",
            )?,
            errors: vec("dormouse_request_errors_total", "Refused requests by code.", "code")?,
            closes: vec(
                "dormouse_closes_total",
                "Connections that ended with a close frame of the server, in answer to the client's too (normal), by code.",
                "code",
            )?,
        };
        metrics.begin_series();
        Ok(metrics)
    }

    /// A series that is not there until the first time would hide that time from `rate`.
    fn begin_series(&self) {
        for code in ErrorCode::ALL {
            self.errors.with_label_values(&[code.as_str()]);
        }
        for code in CloseCode::ALL {
            self.closes.with_label_values(&[code.reason()]);
        }
        for outcome in JOIN_OUTCOMES {
            self.joins.with_label_values(&[outcome]);
        }
    }

    pub(super) fn count_error(&self, code: ErrorCode) {
        self.errors.with_label_values(&[code.as_str()]).inc();
    }

    pub(super) fn count_close(&self, code: CloseCode) {
        self.closes.with_label_values(&[code.reason()]).inc();
    }

    pub(super) fn count_join(&self, is_resume: bool, reset: Option<ResetReason>) {
        let outcome = match reset {
            Some(ResetReason::Trimmed) => "trimmed",
            Some(ResetReason::OtherEpoch) => "other_epoch",
            Some(ResetReason::Ahead) => "ahead",
            None if is_resume => "resumed",
            None => "fresh",
        };
        self.joins.with_label_values(&[outcome]).inc();
    }
}

impl Surveyed {
    fn register(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| gauge(registry, name, help);
        Ok(Self {
            at_rest: gauge(
                "dormouse_connections_at_rest",
                "Connections that nothing waits on, as of this scrape.",
            )?,
            busy: gauge(
                "dormouse_connections_busy",
                "Connections with a request, a message or bytes under way, as of this scrape.",
            )?,
            rest_bytes: gauge(
                "dormouse_connections_rest_bytes",
                "Memory of the connections at rest with their memberships, as of this scrape.",
            )?,
            queued_bytes: gauge(
                "dormouse_queued_bytes",
                "Bytes that wait for sockets to take them, as of this scrape.",
            )?,
            subscribers: gauge(
                "dormouse_audiences",
                "Objects with members, once for each reactor that has some, as of this scrape.",
            )?,
            recent_bytes: gauge(
                "dormouse_recent_bytes",
                "Pages and deliveries kept for members that catch up, as of this scrape.",
            )?,
        })
    }
}

fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    let gauge = IntGauge::new(name, help)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}
