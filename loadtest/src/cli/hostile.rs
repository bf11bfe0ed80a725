//! What the scenario of hostile peers can be told.

use std::time::Duration;

use clap::Args;

use super::load::{payload, rate};
use super::{TargetOptions, seconds};
use crate::hostile::Attack;

/// What the scenario of hostile peers can be told.
#[derive(Debug, Clone, Args)]
pub struct HostileOptions {
    /// Whom to aim at
    #[command(flatten)]
    pub target: TargetOptions,
    /// Attacks, one after the other [default: all]
    #[arg(long, value_enum, value_name = "ATTACK", value_delimiter = ',')]
    pub attack: Vec<Attack>,
    /// Hostile peers
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub attackers: u32,
    /// How often a second one of them connects or says something, at most [default: 20000 frames and requests, 1000 of everything else]
    #[arg(long, value_parser = rate)]
    pub rate: Option<f64>,
    /// How often each attack is played, each time after a quiet time; what is told is the median
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// How long each of them is measured, and the quiet before it
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub seconds: Duration,
    /// Rooms of members who behave
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub rooms: u32,
    /// Members of each
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub members: u32,
    /// Their publishes a second, in all
    #[arg(long, default_value_t = 200.0, value_parser = rate)]
    pub publish_rate: f64,
    /// Bytes of a payload
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = payload)]
    pub payload: usize,
}
