//! The counters of the HTTP server. Labels are routes, status classes and reasons: all from short fixed lists.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::handshake::Refusal;
use super::reject::Rejection;

/// What the HTTP server counts. Clones share the counters.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    /// Answered requests by route and class of status.
    pub(super) requests: IntCounterVec,
    /// WebSocket handshakes that were refused, by reason.
    refused: IntCounterVec,
    /// WebSockets that may be open.
    pub(super) connections_limit: IntGauge,
    /// Failed accepts, such as those for want of file descriptors.
    pub(super) accept_errors: IntCounter,
    cut: IntCounterVec,
}

impl Counts {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counts = Self {
            requests: IntCounterVec::new(
                Opts::new("dormouse_http_requests_total", "HTTP requests answered."),
                &["route", "code"],
            )?,
            refused: IntCounterVec::new(
                Opts::new("dormouse_connections_refused_total", "WebSocket handshakes refused."),
                &["reason"],
            )?,
            connections_limit: IntGauge::new(
                "dormouse_connections_limit",
                "WebSockets that may be open: limits.connections, or fewer where the system allows too few open files.",
            )?,
            accept_errors: IntCounter::new(
                "dormouse_http_accept_errors_total",
                "Connections that could not be accepted.",
            )?,
            cut: IntCounterVec::new(
                Opts::new(
                    "dormouse_http_cut_total",
                    "Connections that were ended before their request had an answer.",
                ),
                &["reason"],
            )?,
        };
        registry.register(Box::new(counts.requests.clone()))?;
        registry.register(Box::new(counts.refused.clone()))?;
        registry.register(Box::new(counts.connections_limit.clone()))?;
        registry.register(Box::new(counts.accept_errors.clone()))?;
        registry.register(Box::new(counts.cut.clone()))?;
        // A series that is not there until the first time would hide that time from `rate`.
        for cut in Rejection::ALL {
            counts.cut.with_label_values(&[cut.reason()]);
        }
        for refusal in Refusal::ALL {
            counts.refused.with_label_values(&[refusal.reason()]);
        }
        Ok(counts)
    }

    pub(super) fn refused(&self, refusal: Refusal) {
        self.refused.with_label_values(&[refusal.reason()]).inc();
    }

    pub(super) fn cut(&self, cut: Rejection) {
        self.cut.with_label_values(&[cut.reason()]).inc();
    }
}
