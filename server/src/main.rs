//! The `dormouse` program.

mod api_keys;
mod cli;
mod logging;
mod operators;
mod restart;
mod revoke;
mod table;
mod tokens;
mod unix_connector;

use std::cell::Cell;
use std::error::Error;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::{ExitCode, exit};
use std::time::Instant;

use anyhow::Context as _;
use dormouse::Server;
use dormouse::config::{self, Config};
use dormouse::memory::{self, Tidy};
use dormouse::metrics::VERSION;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{Cli, Command, KeyCommand, ObjectsFlags, TokenCommand};
use crate::logging::Logging;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads that read the log. More would only wait for the same disk.
const DISK_THREADS: usize = 4;

/// Wrong flags, configuration or environment; clap uses the same for flags.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    memory::set_up();
    match Cli::read().command() {
        Command::Serve(flags) => with_config(flags.config(), serve),
        Command::Config(flags) => with_config(flags.config(), |config, _| print(&config)),
        Command::Objects(flags) => show(flags),
        Command::Key(KeyCommand::Create(flags)) => {
            with_config(flags.config(), |config, _| done(tokens::create_key(&config)))
        }
        Command::Token(command) => token(command),
        Command::ApiKey(command) => {
            let (url, order) = command.split();
            finish(api_keys::run(&url, &order))
        }
        Command::Revoke(command) => {
            let (url, order) = command.split();
            finish(revoke::run(&url, &order))
        }
    }
}

fn token(command: TokenCommand) -> ExitCode {
    match command {
        TokenCommand::Create(flags) => {
            let (config, wanted) = flags.split();
            with_config(config.config(), |config, _| done(tokens::create(&config, wanted)))
        }
        TokenCommand::Check { token, config } => {
            with_config(config.config(), |config, _| done(tokens::check(&config, &token)))
        }
        TokenCommand::Explain { token, object, verb, config } => {
            with_config(config.config(), |config, _| {
                done(tokens::explain(&config, token.as_deref(), object, verb))
            })
        }
    }
}

fn finish(result: anyhow::Result<()>) -> ExitCode {
    result.map_or_else(|error| refuse(error.as_ref(), 1), |()| ExitCode::SUCCESS)
}

fn done(result: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS)
}

fn with_config(
    config: Result<Config, config::Error>,
    then: impl FnOnce(Config, Logging) -> anyhow::Result<ExitCode>,
) -> ExitCode {
    let config = match config {
        Ok(config) => config,
        Err(error) => return refuse(&error, USAGE),
    };
    let logging = match Logging::start() {
        Ok(logging) => logging,
        Err(error) => return refuse(error.as_ref(), USAGE),
    };
    then(config, logging).unwrap_or_else(|error| refuse(error.as_ref(), 1))
}

fn show(flags: ObjectsFlags) -> ExitCode {
    let is_once = flags.once || !io::stdout().is_terminal();
    let source = flags.source();
    let shown = if is_once { table::print(&source) } else { table::watch(source) };
    shown.map_or_else(|error| refuse(&error, 1), |()| ExitCode::SUCCESS)
}

fn print(config: &Config) -> anyhow::Result<ExitCode> {
    let text = config.to_documented_toml().context("the configuration has no form in TOML")?;
    io::stdout().write_all(text.as_bytes()).context("cannot write to stdout")?;
    Ok(ExitCode::SUCCESS)
}

fn serve(config: Config, logging: Logging) -> anyhow::Result<ExitCode> {
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
    let ending = runtime.block_on(run(config, &logging));
    // A thread that hangs in the disk is not waited for.
    runtime.shutdown_background();
    match ending? {
        Ending::Stopped => Ok(ExitCode::SUCCESS),
        Ending::Restart => {
            // What is left to be logged would go with this process.
            drop(logging);
            Err(restart::exec()).context("cannot restart")
        }
    }
}

/// Why the server was shut down.
enum Ending {
    /// A signal asked for it.
    Stopped,
    /// The log has failed, and can be opened again.
    Restart,
}

async fn run(config: Config, logging: &Logging) -> anyhow::Result<Ending> {
    let mut stop = StopSignals::new()?;
    let data = config.data.clone();
    let server = Server::start(config).await?;
    logging.count_dropped(server.metrics())?;
    announce(&server);
    tracing::info!(data = %data.display(), "ready");
    if server.auth().is_open() {
        tracing::warn!(
            "no key of tokens is configured: every client that reaches this address can read and write every room"
        );
    }

    let ending = tokio::select! {
        biased;
        () = stop.next() => Ending::Stopped,
        () = restart_is_due(&server) => {
            tracing::warn!("the disk works again: the program restarts to see what is on it");
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

/// Waits until a restart helps and is possible. Until then the server goes on with all that works.
async fn restart_is_due(server: &Server) {
    server.wants_restart().await;
    restart::possible().await;
}

/// Writes one line for each address, the public ones first. Tests and scripts read them: nothing else is ever written to stdout.
fn announce(server: &Server) {
    let mut stdout = io::stdout();
    let scheme = if server.uses_tls() { "https" } else { "http" };
    let public = server.addresses().iter().map(|address| ("listening", scheme, address));
    let internal = server.internal_addresses().iter().map(|address| ("internal", "http", address));
    let written = public.chain(internal).try_for_each(|(what, scheme, address)| {
        writeln!(stdout, "dormouse {VERSION} {what} on {scheme}://{address}")
    });
    let written = written.and_then(|()| match server.internal_socket() {
        Some(path) => writeln!(stdout, "dormouse {VERSION} internal on unix:{}", path.display()),
        None => Ok(()),
    });
    if let Err(error) = written {
        // The server works without a reader of these lines.
        tracing::warn!(%error, "the address cannot be written to stdout");
    }
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

/// Says on stderr why the program ends.
fn refuse(error: &(dyn Error + 'static), code: u8) -> ExitCode {
    logging::write_line(format_args!("error: {error}"));
    let mut cause = error.source();
    while let Some(error) = cause {
        logging::write_line(format_args!("  caused by: {}", error.to_string().trim_end()));
        cause = error.source();
    }
    ExitCode::from(code)
}
