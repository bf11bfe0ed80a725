//! The deterministic simulation: the real reactors, objects and log on one thread, where a seed decides which part moves next.

mod bounds;
mod chance;
mod client;
mod hearing;
mod instances;
mod link;
mod machine;
mod play;
mod seat;
mod shrink;
mod trace;
mod truth;
#[path = "../../tests/it/sim/check/view.rs"]
mod view;

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Instant;

use play::Stage;
use shrink::shrink;
use trace::{Line, Trace};
use truth::Verdict;

/// The seeds that are always played, and how many new ones are.
const USUAL: Range<u64> = 0..1500;
const FRESH: u64 = 500;
/// Lines of the trace that are shown of a failure.
const SHOWN: usize = 40;
/// What schedules are about: the beginnings of the metrics' lines.
const COUNTED: &[&str] = &[
    "dormouse_catch_up_pages_total",
    "dormouse_closes_total{code=\"ping_timeout\"}",
    "dormouse_joins_total{outcome=\"ahead\"}",
    "dormouse_joins_total{outcome=\"other_epoch\"}",
    "dormouse_joins_total{outcome=\"trimmed\"}",
    "dormouse_log_trimmed_events_total",
    "dormouse_member_resets_total",
    "dormouse_members_fell_behind_total",
    "dormouse_presence_lost_total",
    "dormouse_presence_missed_total",
    "dormouse_presence_returns_total",
    "dormouse_publish_duplicates_total",
    "dormouse_publish_stalls_total",
    "dormouse_reactor_lagged_total",
    "dormouse_request_errors_total{code=\"unavailable\"}",
    "dormouse_signals_conflated_total",
    "dormouse_signals_dropped_total",
    "dormouse_joins_total{outcome=\"resumed\"}",
    "dormouse_object_failures_total",
    "dormouse_object_sleeps_refused_total{reason=\"commit\"}",
    "dormouse_object_sleeps_refused_total{reason=\"message\"}",
    "dormouse_object_sleeps_total{reason=\"asked\"}",
    "dormouse_object_sleeps_total{reason=\"evicted\"}",
    "dormouse_object_sleeps_total{reason=\"idle\"}",
];

/// The seeds that are asked for, or the usual ones and new ones.
fn seeds() -> Vec<u64> {
    let Ok(asked) = std::env::var("SIM_SCHEDULES") else {
        let fresh = (0..FRESH).map(|_| u64::from(rand::random::<u32>()));
        return USUAL.chain(fresh).collect();
    };
    let seed = |text: &str| {
        text.parse().expect("SIM_SCHEDULES is a seed, or the first..the one after the last")
    };
    match asked.split_once("..") {
        Some((first, end)) => (seed(first)..seed(end)).collect(),
        None => vec![seed(&asked)],
    }
}

/// Promises 1 to 8 and 10.
#[test]
fn whatever_moves_next_the_promises_hold() {
    let (began, seeds) = (Instant::now(), seeds());
    let (count, mut moves) = (seeds.len(), 0);
    let mut stage = Stage::new();
    for seed in seeds {
        let (trace, verdict) = stage.play(seed, &BTreeSet::new());
        moves += trace.count(|line| !matches!(line, Line::Sent(..) | Line::Got(..)));
        if let Err(what) = verdict {
            eprintln!("{}\nSIM_SCHEDULES={seed}: {what}\n", trace.tail(SHOWN));
            let (trace, what) = shrink(&mut stage, seed, trace, what);
            eprintln!("With fewer steps:\n{}\n{what}", trace.tail(usize::MAX));
            panic!("SIM_SCHEDULES={seed} breaks a promise: {what}");
        }
    }
    eprintln!("{count} schedules, {moves} moves in {:.1?}", began.elapsed());
    if count >= USUAL.count() {
        let counted = stage.metrics.text();
        let never: Vec<_> = COUNTED.iter().filter(|name| !has_happened(&counted, name)).collect();
        assert!(never.is_empty(), "it never happened, so nothing was tested: {never:?}");
    }
}

fn has_happened(counted: &str, name: &str) -> bool {
    let mut lines = counted.lines().filter(|line| line.starts_with(name));
    lines.any(|line| !line.ends_with(" 0"))
}

/// Everything that can be seen is the same in each run.
#[test]
fn a_seed_is_a_schedule() {
    let play = |seed| -> (Trace, Verdict) { Stage::new().play(seed, &BTreeSet::new()) };
    for seed in 0..10 {
        let [one, two] = [play(seed), play(seed)].map(|(trace, _)| trace.whole());
        let mut lines = one.lines().zip(two.lines()).enumerate();
        let differs = lines.find(|(_, (one, two))| one != two);
        assert!(differs.is_none(), "seed {seed} differs at {differs:?}");
        assert_eq!(one.len(), two.len(), "seed {seed}");
        assert!(one.lines().count() > 100);
    }
}
