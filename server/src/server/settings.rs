//! The settings of the parts, from the configuration.

use std::num::NonZero;
use std::thread;

use dormouse_protocol::Limits;

use crate::clock::Clock;
use crate::config::Config;
use crate::limits::Budget;
use crate::log::ReadPool;
use crate::{object, socket};

pub(super) fn reactor_count(config: &Config) -> usize {
    match config.reactors {
        0 => thread::available_parallelism().map_or(1, NonZero::get).min(64),
        count => count,
    }
}

pub(super) fn objects(config: &Config, budget: Budget) -> object::Settings {
    object::Settings {
        mailbox: config.limits.mailbox,
        max_awake: config.objects.max_awake,
        max_waking: config.objects.max_waking,
        pinned: config.objects.pinned.iter().cloned().collect(),
        dedupe_window: config.objects.dedupe_window,
        dedupe_events: config.objects.dedupe_events as u64,
        presence: object::presence::Settings {
            interval: config.presence.interval,
            grace: config.presence.grace,
            max_members: config.limits.roster_members,
            page_members: config.limits.roster_page,
        },
        budget,
        clock: Clock::default(),
        reads: ReadPool::current(),
    }
}

pub(super) fn sockets(config: &Config) -> socket::Settings {
    let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
    socket::Settings {
        limits: Limits {
            message_bytes: config.limits.message_bytes as u64,
            joins: count(config.limits.joins),
            in_flight: count(config.limits.in_flight),
            history_events: count(config.limits.history_events),
            presence_bytes: count(config.limits.presence_bytes),
            roster_members: count(config.limits.roster_page),
        },
        in_flight_bytes: config.limits.in_flight_bytes,
        outbound_bytes: config.limits.outbound_bytes,
        kept_signals: config.limits.signals,
        ping_interval: config.liveness.ping_interval,
        pong_timeout: config.liveness.pong_timeout,
        stall_timeout: config.liveness.stall_timeout,
        message_timeout: config.limits.message_timeout,
        expiry_notice: config.auth.expiry_notice,
        close_timeout: config.liveness.close_timeout,
        bounds: socket::Bounds::default(),
    }
}
