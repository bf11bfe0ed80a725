//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};
use confique::Layer as _;

use dormouse::auth::{Grant, Revocation, Verb};
use dormouse::clock::Clock;
use dormouse::config::{self, Config, Layer, ListenAddress, OperatorsAddress};
use dormouse::object::State;
use dormouse_protocol::ObjectName;
use humantime_serde::re::humantime::parse_duration;

use crate::api_keys;
use crate::revoke::Order;
use crate::table::Source;
use crate::tokens::Wanted;

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
    /// Make the key that signs tokens
    #[command(subcommand)]
    Key(KeyCommand),
    /// Make, list and revoke the API keys of back ends, at a running server
    ///
    /// A back end sends its key as `Authorization: Bearer KEY`. A key has a name and grants, and lasts until it is revoked.
    #[command(subcommand)]
    ApiKey(ApiKeyCommand),
    /// Make tokens of users, and see what the server makes of them
    #[command(subcommand)]
    Token(TokenCommand),
    /// Revoke tokens before they expire, at a running server
    ///
    /// The server closes the connections with such a token at once (3501) and refuses new ones. Revocations survive a restart.
    #[command(subcommand)]
    Revoke(RevokeCommand),
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make the server's own key, auth.key in the data directory
    ///
    /// It signs and checks tokens with HS256. Its only line is the secret, for back ends that make tokens themselves (`kid`: own).
    Create(ConfigFlags),
}

/// What to do with API keys.
#[derive(Debug, Subcommand)]
pub(crate) enum ApiKeyCommand {
    /// Make a key and print it: the server keeps only a hash, and cannot show it again
    Create {
        /// Its name: letters, digits, `-`, `_` and `.`
        name: String,
        /// What it allows, such as 'room/*: publish'; can be repeated
        #[arg(long = "grant", value_name = "PATTERN: VERB, VERB…", required = true)]
        grants: Vec<Grant>,
        #[command(flatten)]
        operators: OperatorsFlags,
    },
    /// List the keys, with what they allow and when they were used last
    List(OperatorsFlags),
    /// Revoke a key: the server closes the connections with it at once (3501)
    Revoke {
        /// Its name
        name: String,
        #[command(flatten)]
        operators: OperatorsFlags,
    },
}

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Print a token of a user
    Create(CreateFlags),
    /// Say whether the server would take a token, and why not
    Check {
        /// The token; `-` reads it from stdin, so that it stands in no list of processes
        token: String,
        #[command(flatten)]
        config: ConfigFlags,
    },
    /// Name the grant that allows something
    Explain {
        /// The token; `-` reads it from stdin. Without one: what a client without a token may do
        token: Option<String>,
        /// The object
        #[arg(long, value_name = "CLASS/NAME")]
        object: ObjectName,
        /// What is to be done with it: join, publish, signal, presence, history, call or admin
        #[arg(long)]
        verb: Verb,
        #[command(flatten)]
        config: ConfigFlags,
    },
}

/// What to revoke.
#[derive(Debug, Subcommand)]
pub(crate) enum RevokeCommand {
    /// Revoke one token
    Token {
        /// The token's id, its claim `jti`
        #[arg(allow_hyphen_values = true)]
        id: String,
        #[command(flatten)]
        flags: RevokeFlags,
    },
    /// Revoke the tokens of a user
    User {
        /// The user, the claim `sub`
        #[arg(allow_hyphen_values = true)]
        user: String,
        /// Only tokens that were issued (`iat`) until now: the user can connect again with a new one
        #[arg(long, conflicts_with = "lift")]
        issued_until_now: bool,
        #[command(flatten)]
        flags: RevokeFlags,
    },
    /// List what is revoked
    List(OperatorsFlags),
}

/// Whether to revoke or to lift.
#[derive(Debug, Args)]
pub(crate) struct RevokeFlags {
    /// Lift the revocation
    #[arg(long)]
    lift: bool,
    #[command(flatten)]
    operators: OperatorsFlags,
}

/// Where the server is.
#[derive(Debug, Args)]
pub(crate) struct OperatorsFlags {
    /// The server's address for operators: http://HOST:PORT or unix:PATH
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7701")]
    url: String,
}

/// What a token is to say.
#[derive(Debug, Args)]
pub(crate) struct CreateFlags {
    /// The user
    #[arg(long)]
    user: String,
    /// What the user may do, such as 'room/team-*: join, publish'; can be repeated
    #[arg(long = "grant", value_name = "PATTERN: VERB, VERB…")]
    grants: Vec<Grant>,
    /// How long the token is valid
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    expires: Duration,
    /// The id of the key that signs it; by default the first that can
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    #[command(flatten)]
    config: ConfigFlags,
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub(crate) struct ConfigFlags {
    /// The directory that holds the log and the server's keys, by default ./dormouse-data
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A configuration file in TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Where the configuration is, and its most wanted keys.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// The host and port to listen on, such as 127.0.0.1:7700, the default, or localhost:7700; port 0 takes any free one
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<ListenAddress>,
    /// The host and port for operators (metrics, health, objects), by default 127.0.0.1:7701; or a Unix socket, unix:PATH
    #[arg(long, value_name = "HOST:PORT")]
    internal: Option<OperatorsAddress>,
    /// Listen beyond the loopback interface without any key of tokens
    #[arg(long)]
    insecure: bool,
    #[command(flatten)]
    config: ConfigFlags,
}

/// Which objects to show, and how.
#[derive(Debug, Args)]
pub(crate) struct ObjectsFlags {
    /// The server's address for operators: http://HOST:PORT or unix:PATH
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
        let Self { listen, internal, insecure, config: ConfigFlags { data, config: file } } = self;
        let insecure = insecure.then_some(true);
        Config::load(Layer { listen, internal, insecure, data, ..Layer::empty() }, file.as_deref())
    }
}

impl ConfigFlags {
    pub(crate) fn config(self) -> Result<Config, config::Error> {
        let Self { data, config: file } = self;
        Config::load(Layer { data, ..Layer::empty() }, file.as_deref())
    }
}

impl CreateFlags {
    pub(crate) fn split(self) -> (ConfigFlags, Wanted) {
        let Self { user, grants, expires: lifetime, key, config } = self;
        (config, Wanted { user, grants, lifetime, key })
    }
}

impl ApiKeyCommand {
    /// The server's URL, and what to do.
    pub(crate) fn split(self) -> (String, api_keys::Order) {
        match self {
            Self::Create { name, grants, operators } => {
                (operators.url, api_keys::Order::Create { name, grants })
            }
            Self::List(operators) => (operators.url, api_keys::Order::List),
            Self::Revoke { name, operators } => (operators.url, api_keys::Order::Revoke { name }),
        }
    }
}

impl RevokeCommand {
    /// The server's URL, and what to do.
    pub(crate) fn split(self) -> (String, Order) {
        let (revocation, RevokeFlags { lift, operators: OperatorsFlags { url } }) = match self {
            Self::List(OperatorsFlags { url }) => return (url, Order::List),
            Self::Token { id, flags } => (Revocation::Token { id }, flags),
            Self::User { user, issued_until_now, flags } => {
                let issued_until = issued_until_now.then(|| Clock::default().now_ms() / 1000);
                (Revocation::User { user, issued_until }, flags)
            }
        };
        (url, if lift { Order::Lift(revocation) } else { Order::Revoke(revocation) })
    }
}

impl ObjectsFlags {
    pub(crate) fn source(self) -> Source {
        Source::new(&self.url, self.state)
    }
}
