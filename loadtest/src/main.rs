//! The program `dormouse-loadtest`.

use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Parser as _;
use dormouse_loadtest::cli::{
    Cli, Command, CompareOptions, CrashOptions, HostileOptions, IdleOptions, ReplayOptions,
    SoakOptions, TargetOptions, WakeOptions,
};
use dormouse_loadtest::load::outcome::Outcome;
use dormouse_loadtest::replay::{self, Progress, trace::Trace};
use dormouse_loadtest::{
    compare, crash, echo, fanout, hold, hostile, idle, presence, report, resume, rooms, slow, soak,
    wake,
};
use indicatif::ProgressBar;
use serde::Serialize;
use tokio::time::sleep;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Replay(options) => replay(&options),
        Command::Idle(options) => idle(&options),
        Command::Wake(options) => wake(&options),
        Command::Fanout(options) => {
            load(fanout::run(&options), &options.target, options.traffic.measure.plot.as_deref())
        }
        Command::Rooms(options) => {
            load(rooms::run(&options), &options.target, options.traffic.measure.plot.as_deref())
        }
        Command::Echo(options) => {
            load(echo::run(&options), &options.target, options.traffic.measure.plot.as_deref())
        }
        Command::Presence(options) => load(presence::run(&options), &options.target, None),
        Command::Resume(options) => load(resume::run(&options), &options.target, None),
        Command::Slow(options) => {
            load(slow::run(&options), &options.target, options.measure.plot.as_deref())
        }
        Command::Hostile(options) => hostile(&options),
        Command::Crash(options) => crash(&options),
        Command::Soak(options) => soak(&options),
        Command::Compare(options) => compare(&options),
        Command::Hold(options) => hold::run(&options).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

#[tokio::main]
async fn replay(options: &ReplayOptions) -> Result<ExitCode> {
    let trace = Arc::new(Trace::read(&options.trace)?);
    let progress = Arc::new(Progress::default());
    let bar = if options.json {
        ProgressBar::hidden()
    } else {
        // Shows itself only on a terminal.
        ProgressBar::new(trace.txns.len() as u64)
    };
    let outcome = tokio::select! {
        outcome = replay::run(options, trace, Arc::clone(&progress)) => outcome?,
        () = follow(&progress, &bar) => unreachable!("the bar is followed for ever"),
    };
    bar.finish_and_clear();
    report::print(&outcome, options.json)?;
    Ok(if outcome.is_exact() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn idle(options: &IdleOptions) -> Result<ExitCode> {
    let outcome = idle::run(options)?;
    report::print(&outcome, options.json)?;
    Ok(if outcome.is_valid() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn wake(options: &WakeOptions) -> Result<ExitCode> {
    let outcome = wake::run(options)?;
    report::print(&outcome, options.json)?;
    Ok(ExitCode::SUCCESS)
}

fn hostile(options: &HostileOptions) -> Result<ExitCode> {
    let outcome = hostile::run(options)?;
    report::print(&outcome, options.target.json)?;
    Ok(if outcome.is_exact() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[tokio::main]
async fn crash(options: &CrashOptions) -> Result<ExitCode> {
    let outcome = crash::run(options).await?;
    report::print(&outcome, options.json)?;
    Ok(if outcome.is_exact() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn soak(options: &SoakOptions) -> Result<ExitCode> {
    let outcome = soak::run(options)?;
    report::print(&outcome, options.json)?;
    if let Some(path) = &options.plot {
        outcome.plot(path)?;
    }
    Ok(if outcome.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn compare(options: &CompareOptions) -> Result<ExitCode> {
    let outcome = compare::run(options)?;
    report::print(&outcome, options.json)?;
    Ok(if outcome.is_exact() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn load<Own: Display + Serialize>(
    outcome: Result<Outcome<Own>>,
    target: &TargetOptions,
    plot: Option<&Path>,
) -> Result<ExitCode> {
    let outcome = outcome?;
    report::print(&outcome, target.json)?;
    if let Some(path) = plot {
        outcome.plot(path)?;
    }
    Ok(if outcome.is_exact() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn follow(progress: &Progress, bar: &ProgressBar) {
    let acknowledged = progress.acknowledged();
    loop {
        bar.set_position(*acknowledged.borrow());
        sleep(Duration::from_millis(100)).await;
    }
}
