//! The command line.

mod compare;
mod hostile;
mod load;
mod soak;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use dormouse_protocol::{Encoding, ObjectName};

pub use compare::CompareOptions;
pub use hostile::HostileOptions;
pub use load::{
    EchoOptions, FanoutOptions, MeasureOptions, PresenceOptions, ResumeOptions, RoomsOptions,
    SlowOptions, TargetOptions, TrafficOptions, WireEncoding,
};
pub use soak::SoakOptions;

/// Plays clients against a Dormouse server and checks what they receive.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    /// What to play.
    #[command(subcommand)]
    pub command: Command,
}

/// The scenarios.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Play a recorded editing session through a room and prove that nothing is lost, repeated or reordered.
    Replay(ReplayOptions),
    /// Measure what idle connections cost a server, which is started for it (Linux).
    Idle(IdleOptions),
    /// Measure what it costs to wake a sleeping object, and what sleeping objects cost, on a server that is started for it (Linux).
    Wake(WakeOptions),
    /// Measure deliveries in one room with many members.
    Fanout(FanoutOptions),
    /// Measure deliveries in many small rooms, each with one publisher.
    Rooms(RoomsOptions),
    /// Measure the way to the server and back, of connections that are alone in their rooms.
    Echo(EchoOptions),
    /// Measure a storm of joins of members with presence, who all watch the roster.
    Presence(PresenceOptions),
    /// Measure how fast members catch up that come back at once.
    Resume(ResumeOptions),
    /// Measure what members feel when others read slowly.
    Slow(SlowOptions),
    /// Measure what members feel of hostile peers, attack by attack (Linux).
    Hostile(HostileOptions),
    /// Kill a server again and again while clients work with it, and prove that nothing promised is lost (Linux).
    Crash(CrashOptions),
    /// Do everything at once for long, and fail on what is lost, what goes on growing and what is left over (Linux).
    Soak(SoakOptions),
    /// Do the same work with Dormouse and with other systems, and tell the figures side by side (Linux).
    Compare(CompareOptions),
    /// Hold connections for another scenario, until standard input ends.
    #[command(hide = true)]
    Hold(HoldOptions),
}

/// What the replay of a recording can be told.
#[derive(Debug, Clone, Args)]
pub struct ReplayOptions {
    /// The recording: gzipped JSON of josephg/editing-traces, kind "concurrent"
    #[arg(long, value_name = "FILE")]
    pub trace: PathBuf,
    /// The server
    #[arg(long, default_value = "ws://127.0.0.1:7700")]
    pub url: String,
    /// A room that nobody has used [default: a new name]
    #[arg(long)]
    pub room: Option<ObjectName>,
    /// Members that only receive: from the start, from the middle, from after the end, and some that are cut off
    #[arg(long, default_value_t = 6)]
    pub observers: usize,
    /// Times as fast as recorded, or `max`
    #[arg(long, default_value = "max")]
    pub speed: Speed,
    /// How messages are written
    #[arg(long, value_enum, default_value = "mixed")]
    pub encoding: Encodings,
    /// About so many events after which an observer is cut off [default: an eighth of the recording]
    #[arg(long, value_name = "EVENTS")]
    pub cut_every: Option<u64>,
    /// Seconds without any progress after which to give up
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub patience: Duration,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// The server that a scenario starts.
#[derive(Debug, Clone, Args)]
pub struct ServerOptions {
    /// The server's program [default: `dormouse` beside this one]
    #[arg(long, value_name = "PATH")]
    pub server: Option<PathBuf>,
    /// Where to make a directory for the log, which is removed at the end [default: the system's place for temporary files]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// What the scenario of idle connections can be told.
#[derive(Debug, Clone, Args)]
pub struct IdleOptions {
    /// The server
    #[command(flatten)]
    pub server: ServerOptions,
    /// Give the server a certificate, and connect over TLS
    #[arg(long)]
    pub tls: bool,
    /// Connections, each a member of one room
    #[arg(long, default_value_t = 19_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// Rooms over which they are spread
    #[arg(long, default_value_t = 1_900, value_parser = clap::value_parser!(u32).range(1..))]
    pub rooms: u32,
    /// Bytes of text in the data of each one's presence; with 0 they have none
    #[arg(long, default_value_t = 32)]
    pub presence_bytes: u32,
    /// Addresses from 127.0.0.1 over which to spread the connections; each has some 28,000 ports
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=254))]
    pub source_addresses: u8,
    /// How long to watch the server at rest: two intervals of its pings or more
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub seconds: Duration,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// What the scenario of waking can be told.
#[derive(Debug, Clone, Args)]
pub struct WakeOptions {
    /// The server
    #[command(flatten)]
    pub server: ServerOptions,
    /// Objects to store
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(10..))]
    pub objects: u64,
    /// Objects to wake, spread at random over all
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub samples: u64,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// What the scenario of crashes can be told.
#[derive(Debug, Clone, Args)]
pub struct CrashOptions {
    /// The server
    #[command(flatten)]
    pub server: ServerOptions,
    /// Times that it is killed
    #[arg(long, default_value_t = 100, value_parser = count)]
    pub kills: usize,
    /// What is asked for is drawn from it; what has happened by then, and so what comes of it, is up to the machine [default: a random one]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Clients
    #[arg(long, default_value_t = 8, value_parser = count)]
    pub clients: usize,
    /// Objects, half of which are busy
    #[arg(long, default_value_t = 5, value_parser = count)]
    pub objects: usize,
    /// Remove the log before the last start, to see that it is noticed
    #[arg(long, hide = true)]
    pub lose_log: bool,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

/// What a process is told that holds connections.
#[derive(Debug, Clone, Args)]
pub struct HoldOptions {
    /// The server
    #[arg(long)]
    pub address: SocketAddr,
    /// The certificate of a server with TLS, a PEM file
    #[arg(long)]
    pub tls: Option<PathBuf>,
    /// The number of the first connection; it decides over the rooms
    #[arg(long)]
    pub first: u32,
    /// Connections
    #[arg(long)]
    pub count: u32,
    /// Rooms over which all connections are spread
    #[arg(long)]
    pub rooms: u32,
    /// Bytes of text in the data of each one's presence
    #[arg(long)]
    pub presence_bytes: u32,
    /// Addresses over which they are spread
    #[arg(long)]
    pub source_addresses: u8,
}

/// How fast a recording is played.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// As fast as it goes.
    Max,
    /// So many times as fast as recorded.
    Times(f64),
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            Ok(times) if times.is_finite() && times > 0.0 => Ok(Self::Times(times)),
            _ if text == "max" => Ok(Self::Max),
            _ => Err("expected a number above 0, or `max`".to_owned()),
        }
    }
}

/// Which encodings the clients use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Encodings {
    /// All MessagePack.
    Msgpack,
    /// All JSON.
    Json,
    /// By turns.
    Mixed,
}

impl Encodings {
    /// The encoding of the nth client.
    pub fn of(self, nth: usize) -> Encoding {
        match self {
            Self::Json => Encoding::Json,
            Self::Mixed if nth % 2 == 1 => Encoding::Json,
            Self::Msgpack | Self::Mixed => Encoding::Msgpack,
        }
    }
}

/// Of what there can be many, and has to be one.
fn count(text: &str) -> Result<usize, String> {
    let count = text.parse::<usize>().map_err(|e| e.to_string())?;
    let range = 1..=10_000;
    range.contains(&count).then_some(count).ok_or_else(|| "expected 1 to 10000".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().map_err(|e| e.to_string())?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())?;
    if duration.is_zero() { Err("expected a number above 0".to_owned()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_a_factor_or_max() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("2.5".parse(), Ok(Speed::Times(2.5)));
        for bad in ["0", "-1", "inf", "NaN", "fast"] {
            assert!(bad.parse::<Speed>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
