//! What the soak can be told.

use std::path::PathBuf;

use clap::Args;

use super::ServerOptions;
use super::load::rate;

/// What the soak can be told.
#[derive(Debug, Clone, Args)]
pub struct SoakOptions {
    /// How long
    #[arg(long, default_value_t = 60.0, value_parser = rate)]
    pub minutes: f64,
    /// A server that runs already, configured as README.md says [default: one is started]
    #[arg(long, requires = "pid")]
    pub url: Option<String>,
    /// Its process
    #[arg(long, requires = "url")]
    pub pid: Option<u32>,
    /// The server
    #[command(flatten)]
    pub server: ServerOptions,
    /// Objects; they come into use one after another in the first quarter
    #[arg(long, default_value_t = 1_000, value_parser = objects)]
    pub objects: usize,
    /// Members that stay, publish and are cut off now and then
    #[arg(long, default_value_t = 40, value_parser = objects)]
    pub long_lived: usize,
    /// Publishes a second of all of them
    #[arg(long, default_value_t = 600.0, value_parser = rate)]
    pub rate: f64,
    /// Clients that come and go all the time
    #[arg(long, default_value_t = 300)]
    pub visitors: usize,
    /// Members that don't read for many seconds
    #[arg(long, default_value_t = 6)]
    pub slow: usize,
    /// Malformed clients a second
    #[arg(long, default_value_t = 1.0, value_parser = rate)]
    pub malformed: f64,
    /// Requests over HTTP a second
    #[arg(long, default_value_t = 2.0, value_parser = rate)]
    pub reads: f64,
    /// Draw what was sampled
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

fn objects(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=1_000_000).contains(&count) => Ok(count),
        _ => Err("expected 1 to 1000000".to_owned()),
    }
}
