//! The command line.

use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};
use confique::Layer as _;

use dormouse::config::{self, Config, Layer, ListenAddress};
use dormouse::object::State;

use crate::table::Source;

/// A self-hosted server of durable objects for WebSockets.
///
/// Clients connect to rooms: ordered logs of events that survive restarts of the server and interruptions of the
/// clients. The configuration comes from flags, DORMOUSE_… environment variables, a TOML file and defaults, in this
/// order of precedence. `RUST_LOG` sets what is logged (default: info).
#[derive(Debug, Parser)]
#[command(name = "dormouse", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
}

/// What the program is to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server until SIGTERM or SIGINT (the default)
    Serve(Flags),
    /// Print the effective configuration as a TOML file, with the documentation of every key
    Config(Flags),
    /// Show which objects of a running server are awake, which are asleep, and why
    ///
    /// A table of the objects in use, those awake first, that follows what happens until `q` or Ctrl-C. Where stdout is
    /// not a terminal it is printed once. Looking wakes nothing.
    Objects(ObjectsFlags),
}

/// Where the configuration is, and its most wanted keys.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// The host and port to listen on, such as 127.0.0.1:7700, the default, or localhost:7700; port 0 takes any free one
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<ListenAddress>,
    /// The host and port for operators (metrics, health, objects), by default 127.0.0.1:7701
    #[arg(long, value_name = "HOST:PORT")]
    internal: Option<ListenAddress>,
    /// The directory that holds the log, by default ./dormouse-data
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A configuration file in TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Which objects to show, and how.
#[derive(Debug, Args)]
pub(crate) struct ObjectsFlags {
    /// The server's address for operators
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7701")]
    url: String,
    /// Only the objects in this state
    #[arg(long, value_parser = State::ALL.map(State::as_str))]
    state: Option<String>,
    /// Print the table once, also on a terminal
    #[arg(long)]
    pub(crate) once: bool,
}

impl Cli {
    /// Reads the command line; explains itself and ends the program where that is wanted or needed.
    pub(crate) fn read() -> Self {
        Self::try_parse().unwrap_or_else(|mut error| {
            if error.kind() == ErrorKind::ArgumentConflict {
                let tip = "flags stand behind the command that they are for".into();
                error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
            }
            error.exit()
        })
    }

    pub(crate) fn command(self) -> Command {
        self.command.unwrap_or(Command::Serve(self.flags))
    }
}

impl Flags {
    pub(crate) fn config(self) -> Result<Config, config::Error> {
        let Self { listen, internal, data, config: file } = self;
        Config::load(Layer { listen, internal, data, ..Layer::empty() }, file.as_deref())
    }
}

impl ObjectsFlags {
    pub(crate) fn source(self) -> Source {
        Source::new(&self.url, self.state)
    }
}
