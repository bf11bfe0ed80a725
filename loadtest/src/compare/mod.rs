//! The same work for Dormouse and for other systems, in alternating runs: medians, and ratios to one of them.
//!
//! Every run has a server of its own, kept on the first core; this program keeps to the last. All systems are spoken to
//! by the same engine, each in its own language.

mod machine;
mod peers;
mod row;
mod table;

use std::env;
use std::fmt::{self, Display};
use std::num::NonZero;
use std::path::Path;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use dormouse_protocol::Encoding;
use serde::Serialize;

use crate::cli::{CompareOptions, ServerOptions};
use crate::load::pin::Cores;
use crate::load::target::Target;
use crate::wire::dormouse::{Delivery, Dormouse};
use crate::wire::nats::Nats;
use crate::wire::plain::Plain;
use crate::wire::socket_io::SocketIo;
use machine::Machine;
use peers::{Installed, Peer};
pub use row::Row;
use row::{PAYLOAD, Scale};
use table::{Run, Table};

/// A system, as it is used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum System {
    /// Dormouse with durable events: on disk before anybody has them.
    Dormouse,
    /// Dormouse with signals, which are not stored.
    DormouseSignals,
    /// Topics of Bun's server.
    Bun,
    /// nats-server.
    Nats,
    /// nginx with nchan.
    Nchan,
    /// socket.io on Node.js.
    SocketIo,
}

/// All figures.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Always `compare`.
    scenario: &'static str,
    #[serde(flatten)]
    machine: Machine,
    /// What was asked for.
    command: String,
    versions: Vec<String>,
    /// Systems that were not there, and how to get them.
    skipped: Vec<String>,
    payload: usize,
    rounds: u32,
    seconds: f64,
    /// What ratios refer to.
    baseline: &'static str,
    table: Table,
}

/// A system that can be started.
enum Contender {
    Ours(Delivery),
    Other(Installed),
}

/// Whatever is the same for all runs.
struct Arena {
    cores: Cores,
    scale: Scale,
    server: ServerOptions,
}

impl System {
    fn name(self) -> &'static str {
        match self {
            Self::Dormouse => "Dormouse, durable",
            Self::DormouseSignals => "Dormouse, signals",
            Self::Bun => "Bun",
            Self::Nats => "NATS",
            Self::Nchan => "nchan",
            Self::SocketIo => "socket.io",
        }
    }

    fn contender(self, files: &Path) -> Result<Contender> {
        let peer = match self {
            Self::Dormouse => return Ok(Contender::Ours(Delivery::Durable)),
            Self::DormouseSignals => return Ok(Contender::Ours(Delivery::Signals)),
            Self::Bun => Peer::Bun,
            Self::Nats => Peer::Nats,
            Self::Nchan => Peer::Nchan,
            Self::SocketIo => Peer::SocketIo,
        };
        peer.find(files).map(Contender::Other)
    }

    /// Signals only where they say something that durable events do not.
    fn takes_part(self, row: Row) -> bool {
        self != Self::DormouseSignals || matches!(row, Row::Fanout | Row::Echo)
    }
}

/// Runs everything. Systems that are missing are told on standard error, too.
pub fn run(options: &CompareOptions) -> Result<Outcome> {
    // For the servers, which inherit it.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let divide = NonZero::new(options.divide).unwrap_or(NonZero::<u32>::MIN);
    let scale = Scale { divide, duration: options.seconds };
    let server = options.server.clone();
    let arena = Arena { cores: Cores::of_this_process()?, scale, server };
    let mut outcome = Outcome {
        scenario: "compare",
        machine: Machine::of_now()?,
        command: command(),
        versions: Vec::new(),
        skipped: Vec::new(),
        payload: PAYLOAD,
        rounds: options.rounds,
        seconds: options.seconds.as_secs_f64(),
        baseline: options.baseline.name(),
        table: Table::default(),
    };
    let contenders = outcome.gather(&or_all(&options.systems), &options.peers, &arena)?;
    for round in 1..=options.rounds {
        for row in or_all(&options.only) {
            for (system, contender) in contenders.iter().filter(|(s, _)| s.takes_part(row)) {
                let (title, name) = (row.title(scale), system.name());
                eprintln!("round {round} of {}: {title}: {name}", options.rounds);
                let run = arena.run(contender, row).map_err(|error| format!("{error:#}"));
                outcome.table.add(&title, name, run);
            }
        }
    }
    outcome.table.relate(options.baseline.name());
    Ok(outcome)
}

impl Outcome {
    /// Dormouse received and delivered everything once, in order. What others do is only told.
    pub fn is_exact(&self) -> bool {
        let ours = [System::Dormouse.name(), System::DormouseSignals.name()];
        self.table.lines().iter().filter(|l| ours.contains(&l.system)).all(table::Line::is_exact)
    }

    /// Those of the systems that are there.
    fn gather(
        &mut self,
        systems: &[System],
        files: &Path,
        arena: &Arena,
    ) -> Result<Vec<(System, Contender)>> {
        let mut contenders = Vec::new();
        for system in systems {
            match system.contender(files) {
                Ok(contender) => {
                    let version = contender.version(arena)?;
                    if !self.versions.contains(&version) {
                        self.versions.push(version);
                    }
                    contenders.push((*system, contender));
                }
                Err(error) => {
                    let skipped = format!("{} is skipped: {error:#}", system.name());
                    eprintln!("{skipped}");
                    self.skipped.push(skipped);
                }
            }
        }
        ensure!(!contenders.is_empty(), "none of these systems is there");
        Ok(contenders)
    }
}

impl Contender {
    fn version(&self, arena: &Arena) -> Result<String> {
        Ok(match self {
            Self::Ours(_) => {
                let target = arena.start_ours(0)?;
                format!("Dormouse {}", target.version.unwrap_or_default())
            }
            Self::Other(installed) => installed.version().to_owned(),
        })
    }
}

impl Arena {
    /// Starts a server, gives it the work, and ends it.
    fn run(&self, contender: &Contender, row: Row) -> Result<Run> {
        match contender {
            Contender::Ours(delivery) => {
                let target = self.start_ours(row.connections(self.scale))?;
                let wire = Dormouse::new(Encoding::Msgpack).delivering(*delivery);
                row.run(self.scale, &target, wire)
            }
            Contender::Other(installed) => {
                let running = self.pinned(|| installed.start())?;
                let (address, processes) = (running.address(), vec![running.pid()]);
                let target = Target::running(row.name(), address, processes, None);
                match installed.peer() {
                    Peer::Bun if row == Row::Echo => row.run(self.scale, &target, Plain::Echo),
                    Peer::Bun | Peer::Nchan => row.run(self.scale, &target, Plain::Rooms),
                    Peer::Nats => row.run(self.scale, &target, Nats),
                    Peer::SocketIo => row.run(self.scale, &target, SocketIo),
                }
            }
        }
    }

    fn start_ours(&self, connections: u32) -> Result<Target> {
        self.pinned(|| Target::start(&self.server, connections))
    }

    /// What is started by this runs on the first core, and what comes after it in this program on the last.
    fn pinned<T>(&self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        self.cores.use_first()?;
        let started = start();
        self.cores.use_last()?;
        started
    }
}

/// Those that were named, or all that there are.
fn or_all<T: ValueEnum>(named: &[T]) -> Vec<T> {
    if named.is_empty() { T::value_variants() } else { named }.to_vec()
}

/// The command line, without where the program lies.
fn command() -> String {
    let arguments = env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    [env!("CARGO_PKG_NAME").to_owned()].into_iter().chain(arguments).collect::<Vec<_>>().join(" ")
}

impl Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, command, payload, rounds, seconds, baseline, .. } = self;
        writeln!(f, "`{command}`, {machine}; {}.", self.versions.join(", "))?;
        writeln!(
            f,
            "Server on the first core, generator on the last; {payload} bytes a payload; medians of {rounds} × {seconds} s; \
             ratios of CPU time to {baseline}, in medians of the rounds."
        )?;
        for skipped in &self.skipped {
            writeln!(f, "{skipped}.")?;
        }
        write!(f, "\n{}", self.table)
    }
}
