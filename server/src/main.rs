//! The `dormouse` program.

mod cli;
mod table;

use std::cell::Cell;
use std::error::Error;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{self, ExitCode, exit};
use std::time::Instant;

use anyhow::Context as _;
use dormouse::Server;
use dormouse::config::Config;
use dormouse::memory::{self, Tidy};
use dormouse::metrics::VERSION;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command, Flags, ObjectsFlags};

/// The database's own reports of each start and compaction interest nobody else.
const DEFAULT_LOGS: &str = "info,fjall=warn,lsm_tree=warn";

/// Threads that read the log. More would only wait for the same disk.
const DISK_THREADS: usize = 4;

/// Wrong flags, configuration or environment; clap uses the same for flags.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    memory::set_up();
    match Cli::read().command() {
        Command::Serve(flags) => with_config(flags, serve),
        Command::Config(flags) => with_config(flags, |config| print(&config)),
        Command::Objects(flags) => show(flags),
    }
}

fn with_config(flags: Flags, then: fn(Config) -> anyhow::Result<ExitCode>) -> ExitCode {
    let config = match flags.config() {
        Ok(config) => config,
        Err(error) => return refuse(&error, USAGE),
    };
    if let Err(error) = log_to_stderr() {
        return refuse(error.as_ref(), USAGE);
    }
    then(config).unwrap_or_else(|error| refuse(error.as_ref(), 1))
}

fn show(flags: ObjectsFlags) -> ExitCode {
    let is_once = flags.once || !io::stdout().is_terminal();
    let source = flags.source();
    let shown = if is_once { table::print(&source) } else { table::watch(source) };
    shown.map_or_else(|error| refuse(&error, 1), |()| ExitCode::SUCCESS)
}

fn log_to_stderr() -> anyhow::Result<()> {
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(filter) => EnvFilter::try_new(filter).context("RUST_LOG is not a filter of logs")?,
        Err(_) => EnvFilter::new(DEFAULT_LOGS),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    Ok(())
}

fn print(config: &Config) -> anyhow::Result<ExitCode> {
    let text = config.to_documented_toml().context("the configuration has no form in TOML")?;
    io::stdout().write_all(text.as_bytes()).context("cannot write to stdout")?;
    Ok(ExitCode::SUCCESS)
}

fn serve(config: Config) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(DISK_THREADS)
        .on_thread_park(|| {
            thread_local!(static TIDY: Cell<Tidy> = Cell::new(Tidy::new()));
            TIDY.with(|tidy| {
                let mut now = tidy.get();
                now.after_work(Instant::now());
                tidy.set(now);
            });
        })
        .build()
        .context("cannot start the runtime")?;
    let ending = runtime.block_on(run(config));
    // A thread that hangs in the disk is not waited for.
    runtime.shutdown_background();
    match ending? {
        Ending::Stopped => Ok(ExitCode::SUCCESS),
        Ending::Restart => Err(restart()).context("cannot start anew"),
    }
}

/// Becomes a new process of the same program, in this one's place. Returns only if it can't.
fn restart() -> io::Error {
    match std::env::current_exe() {
        Ok(program) => process::Command::new(program).args(std::env::args_os().skip(1)).exec(),
        Err(error) => error,
    }
}

/// Why the server was shut down.
enum Ending {
    /// A signal asked for it.
    Stopped,
    /// The log has failed, and can be opened again.
    Restart,
}

async fn run(config: Config) -> anyhow::Result<Ending> {
    let mut stop = StopSignals::new()?;
    let data = config.data.clone();
    let is_public = !config.listen.ip().is_loopback();
    let server = Server::start(config).await?;
    announce(&server)?;
    tracing::info!(data = %data.display(), "ready");
    if is_public {
        tracing::warn!(
            "there is no authentication: whoever reaches this address can read and write every room"
        );
    }

    let ending = tokio::select! {
        biased;
        () = stop.next() => Ending::Stopped,
        () = server.wants_restart() => {
            tracing::warn!("the disk works again: the program starts anew to see what is on it");
            Ending::Restart
        }
    };
    tracing::info!("stopping");
    tokio::select! {
        () = server.shutdown() => {}
        () = stop.next() => {
            tracing::warn!("stopping at once");
            exit(1);
        }
    }
    tracing::info!("stopped");
    Ok(ending)
}

/// Tests and scripts read this line: nothing else is ever written to stdout.
fn announce(server: &Server) -> anyhow::Result<()> {
    writeln!(io::stdout(), "dormouse {VERSION} listening on http://{}", server.address())
        .context("cannot write to stdout")
}

struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot listen to SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot listen to SIGINT")?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn refuse(error: &(dyn Error + 'static), code: u8) -> ExitCode {
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  caused by: {}", error.to_string().trim_end());
        cause = error.source();
    }
    ExitCode::from(code)
}
