//! What all scenarios can be told that put load on a server.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use dormouse_protocol::Encoding;

use super::{ServerOptions, seconds};
use crate::drive::pacer::Load;
use crate::drive::stamp::BYTES_MIN;
use crate::wire::dormouse::{Delivery, Dormouse};

/// Whom to aim at, and from where.
#[derive(Debug, Clone, Args)]
pub struct TargetOptions {
    /// A server that runs already [default: one is started]
    #[arg(long)]
    pub url: Option<String>,
    /// Its process, to tell its processor time and memory
    #[arg(long, requires = "url")]
    pub pid: Option<u32>,
    /// The server
    #[command(flatten)]
    pub server: ServerOptions,
    /// Give a server that is started a certificate, and connect over TLS
    #[arg(long, conflicts_with = "url")]
    pub tls: bool,
    /// Keep a server that is started on the first core, and this program on the last
    #[arg(long)]
    pub pin: bool,
    /// Addresses from 127.0.0.1 over which to spread the connections; each has some 28,000 ports
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=254))]
    pub source_addresses: u8,
    /// How messages are written
    #[arg(long, value_enum, default_value = "msgpack")]
    pub encoding: WireEncoding,
    /// The token of access, for a server that asks for one
    #[arg(long, requires = "url")]
    pub token: Option<String>,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct MeasureOptions {
    /// Bytes of a payload
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = payload)]
    pub payload: usize,
    /// How long to measure
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub duration: Duration,
    /// Draw the latencies and the deliveries over time
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
}

/// How to publish.
#[derive(Debug, Clone, Args)]
pub struct TrafficOptions {
    /// What to measure
    #[command(flatten)]
    pub measure: MeasureOptions,
    /// Publishes a second, in all; latencies are then counted from when each was due
    #[arg(long, conflicts_with = "in_flight", value_parser = rate)]
    pub rate: Option<f64>,
    /// Publishes in flight in each room, each until all members have it [default: 16; of an echo 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=128))]
    pub in_flight: Option<u32>,
    /// Publish signals, which are not stored, instead of durable events
    #[arg(long)]
    pub signals: bool,
}

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum WireEncoding {
    /// MessagePack.
    Msgpack,
    /// JSON.
    Json,
}

/// What the scenario of one large room can be told.
#[derive(Debug, Clone, Args)]
pub struct FanoutOptions {
    /// Whom to aim at
    #[command(flatten)]
    pub target: TargetOptions,
    /// How to publish
    #[command(flatten)]
    pub traffic: TrafficOptions,
    /// Members
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// Members that publish, by turns
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub publishers: u32,
}

/// What the scenario of many rooms can be told.
#[derive(Debug, Clone, Args)]
pub struct RoomsOptions {
    /// Whom to aim at
    #[command(flatten)]
    pub target: TargetOptions,
    /// How to publish
    #[command(flatten)]
    pub traffic: TrafficOptions,
    /// Rooms
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub rooms: u32,
    /// Members of each
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub members: u32,
}

/// What the scenario of echoes can be told.
#[derive(Debug, Clone, Args)]
pub struct EchoOptions {
    /// Whom to aim at
    #[command(flatten)]
    pub target: TargetOptions,
    /// How to publish
    #[command(flatten)]
    pub traffic: TrafficOptions,
    /// Connections, each in a room of its own
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
}

/// What the scenario of joins can be told.
#[derive(Debug, Clone, Args)]
pub struct PresenceOptions {
    /// Whom to aim at
    #[command(flatten)]
    pub target: TargetOptions,
    /// Members
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
}

/// What the scenario of members that come back can be told.
#[derive(Debug, Clone, Args)]
pub struct ResumeOptions {
    /// Whom to aim at
    #[command(flatten)]
    pub target: TargetOptions,
    /// Members that come back
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// Events that each of them has missed
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub behind: u32,
    /// Members that stay; one of them publishes
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub live: u32,
    /// Bytes of a payload
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = payload)]
    pub payload: usize,
}

/// What the scenario of slow members can be told.
#[derive(Debug, Clone, Args)]
pub struct SlowOptions {
    /// Whom to aim at
    #[command(flatten)]
    pub target: TargetOptions,
    /// What to measure, in each of two phases
    #[command(flatten)]
    pub measure: MeasureOptions,
    /// Members, a tenth of whom are slow in the second phase
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(2..))]
    pub connections: u32,
    /// Publishes a second
    #[arg(long, default_value_t = 100.0, value_parser = rate)]
    pub rate: f64,
}

impl TargetOptions {
    pub(crate) fn wire(&self) -> Dormouse {
        let encoding = match self.encoding {
            WireEncoding::Msgpack => Encoding::Msgpack,
            WireEncoding::Json => Encoding::Json,
        };
        Dormouse::new(encoding).with_token(self.token.clone())
    }
}

impl TrafficOptions {
    /// With so many publishes in flight where nothing is told.
    pub(crate) fn load(&self, in_flight: u32) -> Load {
        match self.rate {
            Some(rate) => Load::Rate(rate),
            None => Load::InFlight(self.in_flight.unwrap_or(in_flight)),
        }
    }

    pub(crate) fn delivery(&self) -> Delivery {
        if self.signals { Delivery::Signals } else { Delivery::Durable }
    }
}

pub(super) fn payload(text: &str) -> Result<usize, String> {
    let bytes = text.parse::<usize>().map_err(|e| e.to_string())?;
    let range = BYTES_MIN..=60_000;
    range.contains(&bytes).then_some(bytes).ok_or_else(|| {
        format!("expected {} to {}, as each says what it is", range.start(), range.end())
    })
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("expected a number above 0".to_owned()),
    }
}
