//! What a comparison with other systems can be told.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{ServerOptions, seconds};
use crate::compare::{Row, System};

/// What the comparison can be told.
#[derive(Debug, Clone, Args)]
pub struct CompareOptions {
    /// The Dormouse server
    #[command(flatten)]
    pub server: ServerOptions,
    /// How often everything is run; what is told is the median
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// How long each run is measured
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub seconds: Duration,
    /// Rows of the table [default: all]
    #[arg(long, value_enum, value_name = "ROW", value_delimiter = ',')]
    pub only: Vec<Row>,
    /// Systems to run [default: all]
    #[arg(long, value_enum, value_name = "SYSTEM", value_delimiter = ',')]
    pub systems: Vec<System>,
    /// The system that ratios refer to
    #[arg(long, value_enum, value_name = "SYSTEM", default_value = "bun")]
    pub baseline: System,
    /// Where the files of the other systems lie
    #[arg(long, value_name = "DIR", default_value = "loadtest/peers")]
    pub peers: PathBuf,
    /// Divide the numbers of members, rooms and connections, to try it out
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub divide: u32,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}
