//! Kills a server again and again while clients work with it, and proves that it keeps what it promised.
//!
//! [`plan`] is what a seed asks for; players do it; the killer ends servers and starts them again in the same directory; the judge
//! is told everything. At the end everybody comes to rest, and what the rosters and the logs hold is compared with what was said.

mod check;
mod killer;
pub mod outcome;
mod plan;
mod player;
mod reader;
mod stage;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::bench::server::Site;
use crate::cli::{CrashOptions, Encodings};
use check::{Breach, ClientId, Fault};
use killer::Killer;
use outcome::{Counts, Outcome, median_and_longest_ms};
use plan::{Fate, Plan};
use player::{Figures, Player};
use stage::{Pace, Stage, Standing};

/// Short, so that the objects that little happens in fall asleep between.
const SLEEP_AFTER: &str = "50ms";
/// Longer than clients stay away, mostly.
const GRACE: Duration = Duration::from_secs(1);
const PRESENCE_INTERVAL: &str = "20ms";
/// How long everything may take at the end, on a machine that does other things besides.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the scenario. Broken promises are told in the outcome.
pub async fn run(options: &CrashOptions) -> Result<Outcome> {
    let start = Instant::now();
    let seed = options.seed.unwrap_or_else(|| rand::random::<u32>().into());
    eprintln!("seed {seed}");
    let plan = Plan::new(seed, options.kills, options.clients, options.objects);
    let port = killer::port()?;
    let url = format!("ws://127.0.0.1:{port}");
    let stage = Arc::new(Stage::new(url, options.objects, options.clients));
    let mut killer = Killer {
        site: Site::new(&options.server)?,
        stage: Arc::clone(&stage),
        port,
        settings: vec![
            ("CLASSES_ROOM_SLEEP_AFTER", SLEEP_AFTER.to_owned()),
            // One less than there are, so that they also fall asleep to make room.
            ("OBJECTS_MAX_AWAKE", (options.objects - 1).max(1).to_string()),
            ("PRESENCE_GRACE", format!("{}ms", GRACE.as_millis())),
            ("PRESENCE_INTERVAL", PRESENCE_INTERVAL.to_owned()),
        ],
        tally: killer::Tally::default(),
    };
    let mut players = JoinSet::new();
    for (nth, whims) in plan.whims.into_iter().enumerate() {
        players.spawn(Player::new(&stage, ClientId(nth), Encodings::Mixed.of(nth), whims).run());
    }
    let heads = end(&mut killer, &plan.fates, options.lose_log).await;
    let heads = heads.unwrap_or_else(|error| {
        stage.judge().note(Fault::new(Breach::Conduct, format!("{error:#}")));
        Vec::new()
    });
    stage.pace.send_replace(Pace::Over);
    let figures = players.join_all().await;

    let Killer { site, tally, .. } = killer;
    let judge = stage.judge();
    let violations = judge.violations();
    let sum = |figure: fn(&Figures) -> u64| figures.iter().map(figure).sum();
    let (ready_median_ms, ready_max_ms) = median_and_longest_ms(tally.starts);
    Ok(Outcome {
        scenario: "crash",
        seed,
        kills: tally.kills,
        stops: tally.stops,
        clients: options.clients,
        objects: options.objects,
        duration_s: start.elapsed().as_secs_f64(),
        acknowledged: judge.acknowledgements(),
        duplicates: sum(|figures| figures.tally.duplicates),
        retries: sum(|figures| figures.tally.retries),
        delivered: sum(|figures| figures.delivered),
        signals: sum(|figures| figures.signals),
        stored: heads.iter().sum(),
        connections: sum(|figures| figures.tally.connections),
        resumed: sum(|figures| figures.tally.resumed),
        ready_median_ms,
        ready_max_ms,
        counts: Counts::from(violations),
        violations: violations.count(),
        described_violations: violations.described().iter().map(ToString::to_string).collect(),
        data: (violations.count() > 0).then(|| site.keep()),
    })
}

/// Lets all servers but one meet their fates, and everybody come to rest with that one. Tells the ends of the logs.
async fn end(killer: &mut Killer, fates: &[Fate], lose_log: bool) -> Result<Vec<u64>> {
    let _server = killer.run(fates, lose_log).await?;
    let stage = &*killer.stage;
    stage.pace.send_replace(Pace::Settle);
    let mut standings = stage.standings.subscribe();
    let is_quiet = |standings: &Vec<Standing>| !standings.iter().any(Standing::is_busy);
    if timeout(PATIENCE, standings.wait_for(is_quiet)).await.is_err() {
        let what = "not everybody gets an answer to everything at the end";
        stage.judge().note(Fault::new(Breach::Conduct, what));
    }
    let (clients, places) = stage.settled();
    // Who was there with the server before and is not any more, is there for the grace period.
    until(|| stage.judge().rosters_show(&clients, &places)).await;
    let reader = ClientId(stage.standings.borrow().len());
    let heads = timeout(PATIENCE, reader::read(stage, reader)).await;
    let heads = heads.context("the logs can't be read in time")??;
    until(|| stage.judge().have_all(&clients, &heads)).await;
    stage.judge().conclude(&clients, &places, &heads);
    Ok(heads)
}

/// Waits until it is so; not for ever.
async fn until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() && Instant::now() < deadline {
        sleep(Duration::from_millis(20)).await;
    }
}
