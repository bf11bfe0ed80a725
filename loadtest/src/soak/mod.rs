//! Everything at once, for long: publishes, connections that come and go, resumes and resets, signals, presence, slow readers, reads,
//! malformed clients; objects that sleep and wake, and a log that is trimmed. Every delivery is checked, and the server is
//! sampled: what goes on growing is a leak, and what is left when everybody has gone is one too.

#![expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]

mod checked_client;
mod faults;
mod long_lived_client;
mod malformed_client;
mod oracle;
mod outcome;
mod plot;
mod reads;
mod roster;
mod sample;
mod slow;
mod stage;
mod trend;
mod visitor;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;

use self::long_lived_client::LongLivedClient;
use self::outcome::{Ended, Outcome};
use self::sample::{Done, Lookout, Sample};
use self::stage::{GRACE, HOT, Phase, SETTINGS, Stage};
use self::visitor::Visitor;
use crate::cli::{Encodings, SoakOptions};
use crate::load::target::Target;

/// Objects that a long-lived client follows, besides the hot ones.
const FOLLOWED: usize = 10;
/// Samples of a run, one a second or more seldom.
const SAMPLES: f64 = 600.0;
/// How long the server may take until nothing of anybody is left: grace, sleep, and threads that are not used any more.
const REST: Duration = Duration::from_secs(30);
/// How long freed memory may take to go back before the run begins.
const SETTLE: Duration = Duration::from_millis(500);

/// Runs the scenario. What went wrong, leaked or is left over is told in the outcome.
pub fn run(options: &SoakOptions) -> Result<Outcome> {
    let target = if let Some(url) = &options.url {
        Target::at(url, options.pid)?
    } else {
        let settings = SETTINGS.map(|(key, value)| (key, value.to_owned()));
        Target::start_with(&options.server, &settings)?
    };
    let pid = *target.processes.first().context("the server's process is not known")?;
    let first = options.long_lived * FOLLOWED + HOT;
    ensure!(
        options.objects >= first,
        "{} long-lived clients follow {first} objects: --objects must be at least that",
        options.long_lived
    );
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut lookout = Lookout::new(target.internal, pid)?;
    // The first answer makes what is made once.
    lookout.sample(Duration::ZERO, 0)?;
    thread::sleep(SETTLE);
    let before = lookout.sample(Duration::ZERO, 0)?;

    let length = Duration::from_secs_f64(options.minutes * 60.0);
    let stage = Stage::new(&target, options.objects, first, length / 4)?;
    let stage = Arc::new(stage);
    let samples = thread::scope(|scope| {
        let sampling = scope.spawn(|| {
            let watched = watch(&mut lookout, &stage, length);
            // It is over, or the server can't be watched any more.
            stage.enter(Phase::Finishing);
            watched
        });
        runtime.block_on(play(&stage, options));
        sampling.join().expect("sampling does not panic")
    })?;
    let after = rest(&mut lookout, &before)?;
    let done = Done::by(target.internal)?;
    let ended = Ended { length, before, samples, after, done, version: target.version.clone() };
    let oracle = stage.oracle();
    Ok(Outcome::new(ended, oracle.counts, oracle.faults.clone()))
}

/// Everybody, until everything that was published is received.
async fn play(stage: &Arc<Stage>, options: &SoakOptions) {
    let encoding = |nth| Encodings::Mixed.of(nth);
    let interval = Duration::from_secs_f64(options.long_lived as f64 / options.rate);
    let mut followers = JoinSet::new();
    for nth in 0..options.long_lived {
        let own = HOT + nth * FOLLOWED..HOT + (nth + 1) * FOLLOWED;
        let objects = (0..HOT).chain(own);
        let number = nth as u32;
        let client = LongLivedClient::new(stage.clone(), number, encoding(nth), objects, interval);
        followers.spawn(client.run());
    }
    for nth in 0..options.slow {
        followers.spawn(slow::run(stage.clone(), nth, encoding(nth / HOT)));
    }
    let mut crowd = JoinSet::new();
    for nth in 0..options.visitors {
        let number = (options.long_lived + nth) as u32;
        crowd.spawn(Visitor::new(stage.clone(), number, encoding(nth)).run());
    }
    crowd.spawn(malformed_client::run(stage.clone(), options.malformed));
    crowd.spawn(reads::run(stage.clone(), options.reads));

    stage.reached(Phase::Finishing).await;
    while let Some(done) = crowd.join_next().await {
        done.expect("nobody panics");
    }
    // Those who follow have published everything when they say so; then the heads are known.
    stage.settled(options.long_lived).await;
    stage.enter(Phase::Draining);
    while let Some(done) = followers.join_next().await {
        done.expect("nobody panics");
    }
}

/// Takes samples in equal steps until the end, and tells how it goes.
fn watch(lookout: &mut Lookout, stage: &Stage, length: Duration) -> Result<Vec<Sample>> {
    let step = (length.div_f64(SAMPLES)).max(Duration::from_secs(1)).min(length / 60);
    let told_every = Duration::from_mins(1).min(length / 6);
    let start = Instant::now();
    let mut samples: Vec<Sample> = Vec::new();
    let (mut tell_at, mut told) = (told_every, (Duration::ZERO, 0));
    while start.elapsed() < length && stage.is_running() {
        thread::sleep((start + step * (samples.len() as u32 + 1)) - Instant::now());
        let deliveries = stage.oracle().counts.deliveries;
        let sample = lookout.sample(start.elapsed(), deliveries)?;
        if sample.at >= tell_at {
            let passed = sample.at.saturating_sub(told.0);
            let rate = (deliveries - told.1) as f64 / passed.as_secs_f64();
            eprintln!("{}", outcome::progress(&sample, rate, &stage.oracle()));
            tell_at += told_every;
            told = (sample.at, deliveries);
        }
        samples.push(sample);
    }
    Ok(samples)
}

/// Waits until everything is as it was before anybody came, at most so long as that may take.
fn rest(lookout: &mut Lookout, before: &Sample) -> Result<Sample> {
    let start = Instant::now();
    loop {
        let sample = lookout.sample(start.elapsed(), 0)?;
        if sample.left_over(before).next().is_none() || start.elapsed() > GRACE + REST {
            return Ok(sample);
        }
        thread::sleep(Duration::from_millis(200));
    }
}
