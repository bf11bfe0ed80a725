//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use confique::Layer as _;

use dormouse::config::{self, Config, Layer};

/// A self-hosted server of durable objects for WebSockets.
///
/// Clients connect to rooms: ordered logs of events that survive restarts of the server and interruptions of the
/// clients. The configuration comes from flags, DORMOUSE_… environment variables, a TOML file and defaults, in this
/// order of precedence. `RUST_LOG` sets what is logged (default: info).
#[derive(Debug, Parser)]
#[command(name = "dormouse", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
}

/// What the program is to do.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Command {
    /// Run the server until SIGTERM or SIGINT (the default)
    Serve,
    /// Print the effective configuration as a TOML file, with the documentation of every key
    Config,
}

#[derive(Debug, Args)]
struct Flags {
    /// The IP address and port to listen on, such as 127.0.0.1:7700, the default; port 0 takes any free one
    #[arg(long, global = true, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// The directory that holds the log, by default ./dormouse-data
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A configuration file in TOML
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Cli {
    pub(crate) fn command(&self) -> Command {
        self.command.unwrap_or(Command::Serve)
    }

    pub(crate) fn config(self) -> Result<Config, config::Error> {
        let Flags { listen, data, config: file } = self.flags;
        Config::load(Layer { listen, data, ..Layer::empty() }, file.as_deref())
    }
}
