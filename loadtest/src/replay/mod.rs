//! Plays a recorded editing session through one room and proves that every member receives the same log, with each
//! transaction once and in an order that gives the recorded text.

mod agent;
pub mod check;
pub mod merge;
mod observer;
pub mod outcome;
mod progress;
pub mod record;
pub mod trace;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use dormouse_protocol::{Encoding, ObjectName, Start};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::cli::{ReplayOptions, Speed};
use crate::client::{Client, Notice};
use crate::report;
use agent::{Agent, Figures};
use check::check;
use observer::{Habit, Member, Observer};
use outcome::Outcome;
pub use progress::Progress;
use trace::Trace;

/// What observers do, by turns.
const HABITS: [Habit; 6] = [
    Habit { joins_after_eighths: 0, is_cut: false },
    Habit { joins_after_eighths: 0, is_cut: true },
    Habit { joins_after_eighths: 4, is_cut: false },
    Habit { joins_after_eighths: 0, is_cut: true },
    Habit { joins_after_eighths: 8, is_cut: false },
    Habit { joins_after_eighths: 2, is_cut: true },
];

/// What all members share.
struct Stage {
    url: String,
    room: ObjectName,
    trace: Arc<Trace>,
    speed: Speed,
    cut_every: u64,
    progress: Arc<Progress>,
    phase: watch::Sender<Phase>,
}

/// How far the whole has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Not everything is acknowledged.
    Publishing,
    /// The log is complete and ends here; `told` is the head that a new member was told.
    Complete { head: u64, told: u64 },
    /// Nothing moves any more.
    Stalled,
}

impl Stage {
    /// After how many events a member is cut off: random, about as often as was asked for.
    fn next_cut(&self) -> u64 {
        rand::random_range(
            self.cut_every.div_ceil(2)..=self.cut_every.saturating_mul(3).div_ceil(2),
        )
    }
}

/// Runs the scenario. Fails where it can't be played; a broken promise is told in the outcome.
pub async fn run(
    options: &ReplayOptions,
    trace: Arc<Trace>,
    progress: Arc<Progress>,
) -> Result<Outcome> {
    let room = match &options.room {
        Some(room) => room.clone(),
        None => format!("room/replay-{:016x}", rand::random::<u64>()).parse()?,
    };
    let cut_every = options.cut_every.unwrap_or(trace.txns.len() as u64 / 8).max(1);
    let stage = Arc::new(Stage {
        url: options.url.clone(),
        room,
        trace,
        speed: options.speed,
        cut_every,
        progress,
        phase: watch::Sender::new(Phase::Publishing),
    });
    // Patience is for servers that die under us, not for one that was never there.
    Client::new(&stage.url, Encoding::Json).probe().await?;
    let (agents, observers) = timeout(options.patience, enter(&stage, options))
        .await
        .with_context(|| format!("{} does not answer", stage.url))??;
    let started = Instant::now();
    let mut members = JoinSet::new();
    for agent in agents {
        members.spawn(async move {
            let (member, figures) = agent.run(started).await?;
            Ok((member, Some(figures)))
        });
    }
    for (observer, habit) in observers {
        members.spawn(async move { Ok((observer.run(habit).await?, None)) });
    }
    let ended = watch_over(&stage, members, options.patience).await?;
    Ok(judge(&stage, ended, started.elapsed()))
}

/// Makes the members; those who are there from the start have joined when this returns.
async fn enter(
    stage: &Arc<Stage>,
    options: &ReplayOptions,
) -> Result<(Vec<Agent>, Vec<(Observer, Habit)>)> {
    let mut agents = Vec::new();
    for number in 0..stage.trace.num_agents {
        let encoding = options.encoding.of(number);
        let mut observer = Observer::new(stage, format!("agent {number}"), encoding, false);
        observer.enter().await?;
        agents.push(Agent::new(stage, number, observer));
    }
    let mut observers = Vec::new();
    for number in 0..options.observers {
        let habit = HABITS[number % HABITS.len()];
        let encoding = options.encoding.of(agents.len() + number);
        let mut observer =
            Observer::new(stage, format!("observer {number}"), encoding, habit.is_cut);
        if habit.joins_after_eighths == 0 {
            observer.enter().await?;
        }
        observers.push((observer, habit));
    }
    Ok((agents, observers))
}

type Ended = (Member, Option<Figures>);

/// Tells the members when the log is complete, or that there is nothing to wait for, and collects them.
async fn watch_over(
    stage: &Stage,
    mut members: JoinSet<Result<Ended>>,
    patience: Duration,
) -> Result<Vec<Ended>> {
    let mut ended = Vec::new();
    let completed = completed(stage);
    let stalled = stage.progress.stalled(patience);
    tokio::pin!(completed, stalled);
    loop {
        let publishing = *stage.phase.borrow() == Phase::Publishing;
        tokio::select! {
            member = members.join_next() => match member {
                Some(member) => ended.push(member.context("a member panicked")??),
                None => return Ok(ended),
            },
            head = &mut completed, if publishing => {
                let told = head?;
                let head = told.max(stage.progress.newest());
                stage.phase.send_replace(Phase::Complete { head, told });
            }
            () = &mut stalled, if *stage.phase.borrow() != Phase::Stalled => {
                stage.phase.send_replace(Phase::Stalled);
            }
        }
    }
}

/// The end of the log as a new member is told it, when everything is acknowledged.
async fn completed(stage: &Stage) -> Result<u64> {
    let count = stage.trace.txns.len() as u64;
    stage.progress.acknowledged().wait_for(|n| *n >= count).await?;
    let mut client = Client::new(&stage.url, Encoding::Json);
    client.join(stage.room.clone(), Start::Now);
    loop {
        if let Notice::Joined { joined, .. } = client.next().await? {
            return Ok(joined.head);
        }
    }
}

fn judge(stage: &Stage, ended: Vec<Ended>, duration: Duration) -> Outcome {
    let mut acks = Vec::new();
    let mut to_ack_us = report::microseconds();
    let mut to_own_event_us = report::microseconds();
    let mut records = Vec::new();
    let mut tallies = Vec::new();
    let mut failures = Vec::new();
    for (member, figures) in ended {
        if let Some(figures) = figures {
            acks.extend(figures.acks);
            to_ack_us += figures.to_ack_us;
            to_own_event_us += figures.to_own_event_us;
        }
        failures.extend(member.last_failure.map(|why| format!("{}: {why}", member.record.name)));
        records.push(member.record);
        tallies.push(member.tally);
    }
    let mut verdict = check(&stage.trace, &records, &acks);
    if *stage.phase.borrow() == Phase::Stalled {
        let acknowledged = acks.len();
        verdict.faults.add(format!(
            "gave up: nothing moved any more, with {acknowledged} transactions acknowledged ({})",
            failures.join("; ")
        ));
    }
    if let Phase::Complete { head, told } = *stage.phase.borrow()
        && told < head
    {
        verdict.faults.add(format!(
            "a new member was told that the log ends at {told} after {head} was acknowledged"
        ));
    }
    let deliveries = stage.progress.deliveries();
    Outcome {
        scenario: "replay",
        transactions: stage.trace.txns.len() as u64,
        members: records.len() as u64,
        duration_s: duration.as_secs_f64(),
        deliveries,
        deliveries_per_s: report::per_second(deliveries, duration),
        publish_to_ack: (&to_ack_us).into(),
        publish_to_own_event: (&to_own_event_us).into(),
        reconnects: tallies.iter().map(|t| t.connections.saturating_sub(1)).sum(),
        resumed: tallies.iter().map(|t| t.resumed).sum(),
        resets: tallies.iter().map(|t| t.resets).sum(),
        retries: tallies.iter().map(|t| t.retries).sum(),
        duplicates: tallies.iter().map(|t| t.duplicates).sum(),
        counts: verdict.counts,
        faults: verdict.faults.count,
        described_faults: verdict.faults.described,
    }
}
