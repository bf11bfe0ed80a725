//! What is configured in one schedule, by chance: small bounds are reached, large ones are not.

use std::collections::HashSet;
use std::time::Duration;

use dormouse_protocol::Limits;

use super::chance::{below, between, one_in, pick};
use crate::clock::Clock;
use crate::limits::Budget;
use crate::log::ReadPool;
use crate::{object, socket};

#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) steps: usize,
    pub(super) reactors: usize,
    pub(super) rooms: usize,
    pub(super) clients: usize,
    /// Of the data of one event.
    pub(super) most_bytes: usize,
    /// The server's systems take little for sockets that are not read.
    pub(super) is_narrow: bool,
    /// One in so many faults is a crash of the machine; none with 0.
    pub(super) crashes: usize,
    pub(super) grace: Duration,
    sleep_after: Duration,
    max_awake: usize,
    max_waking: usize,
    mailbox: usize,
    outbound_bytes: usize,
    in_flight_bytes: usize,
    interval: Duration,
}

impl Bounds {
    pub(super) fn new() -> Self {
        Self {
            steps: between(50, 300),
            reactors: between(1, 3),
            rooms: between(1, 3),
            clients: between(2, 5),
            most_bytes: pick(&[10, 300, 2000]),
            is_narrow: one_in(2),
            crashes: pick(&[0, 0, 5, 20]),
            grace: Duration::from_millis(pick(&[0, 500, 3000])),
            sleep_after: Duration::from_millis(pick(&[2, 20, 5000])),
            max_awake: pick(&[1, 2, 1000]),
            max_waking: between(1, 2),
            mailbox: pick(&[1, 3, 1000]),
            outbound_bytes: pick(&[100, 1000, 256 << 10]),
            in_flight_bytes: pick(&[500, 1 << 20]),
            interval: Duration::from_millis(10 + below(100) as u64),
        }
    }

    pub(super) fn objects(
        &self,
        budget: &Budget,
        clock: Clock,
        reads: ReadPool,
    ) -> object::Settings {
        object::Settings {
            mailbox: self.mailbox,
            max_awake: self.max_awake,
            max_waking: self.max_waking,
            pinned: HashSet::new(),
            dedupe_window: Duration::from_hours(1),
            dedupe_events: 10_000,
            presence: object::presence::Settings {
                interval: self.interval,
                grace: self.grace,
                max_members: 1000,
                page_members: 100,
            },
            budget: budget.clone(),
            clock,
            reads,
        }
    }

    pub(super) fn sockets(&self) -> socket::Settings {
        socket::Settings {
            limits: Limits {
                message_bytes: 4096,
                joins: 100,
                in_flight: 100,
                history_events: 10,
                presence_bytes: 100,
                roster_members: 100,
            },
            in_flight_bytes: self.in_flight_bytes,
            outbound_bytes: self.outbound_bytes,
            kept_signals: 2,
            ping_interval: PING_INTERVAL,
            pong_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_mins(1),
            message_timeout: Duration::from_mins(1),
            expiry_notice: Duration::ZERO,
            close_timeout: Duration::from_secs(1),
            bounds: SOCKETS,
        }
    }

    pub(super) fn sleep_after(&self) -> Duration {
        self.sleep_after
    }
}

/// Small, so that they are reached.
pub(super) const SOCKETS: socket::Bounds =
    socket::Bounds { flush_members: 2, page_events: 4, recent_deliveries: 3, inbox_bytes: 1 << 10 };

/// No connection that is younger is closed for its silence.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(20);
