//! The deterministic simulation: the real reactors, objects and log on one thread, where a seed decides which part moves next.
//!
//! A schedule (`play.rs`) is a few dozen to hundreds of steps. In each one, parts of the machine (`machine.rs`) move, a client
//! does something (`client.rs`), time passes, or something goes wrong. A part moves by one turn of a reactor, one poll of one
//! task, one read of the log, one commit, or the news of it to one who waits; in places where two threads meet, the others also move
//! in between. Nothing runs by itself, and no clock but the simulated one is looked at, so
//! the same seed is the same run to the last byte. What clients are told is judged at once (`checker.rs`, `seat.rs`) by what is
//! on disk (`truth.rs`); at the end nothing goes wrong any more, and everybody must get everything.
//!
//! `SIM_SCHEDULES=1000..9000` plays these seeds instead of the usual ones. A seed that breaks a promise is played again with
//! fewer and fewer steps, and the least is shown.
//!
//! Why not with a library: turmoil and madsim put their own sockets and runtime in the place of tokio's, and most of what is
//! looked at here is neither: reactors are a poller of the system, the log is a thread, reads are a pool. Here the sockets are
//! real ones (of the Unix family, which deliver at once), and tokio's own runtime runs one task at a time in its paused time. shuttle
//! and loom choose between the steps of threads at locks and atomics: here a step of an object's life is one under one lock,
//! which is what a schedule plays. loom models the one place where it is about memory, the wake flag of a reactor's inbox
//! (`socket/inbox/wake_flag.rs`).

mod bounds;
mod chance;
mod checker;
mod client;
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
use trace::Line;

/// The seeds that are always played, and how many new ones are.
const USUAL: Range<u64> = 0..1000;
const FRESH: u64 = 1000;
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
    "dormouse_memory_waits_total",
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

/// The seeds that are asked for, if any are.
fn asked() -> Option<Range<u64>> {
    let asked = std::env::var("SIM_SCHEDULES").ok()?;
    let seed = |text: &str| {
        text.parse().expect("SIM_SCHEDULES is a seed, or the first..the one after the last")
    };
    Some(match asked.split_once("..") {
        Some((first, end)) => seed(first)..seed(end),
        None => seed(&asked)..seed(&asked) + 1,
    })
}

fn play(seeds: impl Iterator<Item = u64>) -> Stage {
    let (began, mut schedules, mut moves) = (Instant::now(), 0, 0);
    let mut stage = Stage::new();
    for seed in seeds {
        let (trace, verdict) = stage.play(seed, &BTreeSet::new());
        schedules += 1;
        moves += trace.count(|line| !matches!(line, Line::Sent(..) | Line::Got(..)));
        if let Err(what) = verdict {
            eprintln!("{}\nSIM_SCHEDULES={seed}: {what}\n", trace.tail(SHOWN));
            let (trace, what) = shrink(&mut stage, seed, trace, what);
            eprintln!("With fewer steps:\n{}\n{what}", trace.tail(usize::MAX));
            panic!("SIM_SCHEDULES={seed} breaks a promise: {what}");
        }
    }
    eprintln!("{schedules} schedules, {moves} moves in {:.1?}", began.elapsed());
    stage
}

/// Promises 1 to 8 and 10, in the usual schedules or those that are asked for.
#[test]
fn whatever_moves_next_the_promises_hold() {
    if let Some(seeds) = asked() {
        play(seeds);
        return;
    }
    let counted = play(USUAL).metrics.text();
    let never: Vec<_> = COUNTED.iter().filter(|name| !has_happened(&counted, name)).collect();
    assert!(never.is_empty(), "it never happened, so nothing was tested: {never:?}");
}

/// The same, in schedules that nobody has played.
#[test]
fn in_new_schedules_the_promises_hold() {
    play((0..FRESH).map(|_| rand::random::<u32>().into()));
}

fn has_happened(counted: &str, name: &str) -> bool {
    let mut lines = counted.lines().filter(|line| line.starts_with(name));
    lines.any(|line| !line.ends_with(" 0"))
}

/// Everything that can be seen is the same in each run.
#[test]
fn a_seed_is_a_schedule() {
    // On a new disk, so that even the objects have the same numbers.
    let play = |seed| Stage::new().play(seed, &BTreeSet::new());
    for seed in 0..10 {
        let [one, two] = [play(seed), play(seed)].map(|(trace, _)| trace.whole());
        let mut lines = one.lines().zip(two.lines()).enumerate();
        let differs = lines.find(|(_, (one, two))| one != two);
        assert!(differs.is_none(), "seed {seed} differs at {differs:?}");
        assert_eq!(one.len(), two.len(), "seed {seed}");
        assert!(one.lines().count() > 100);
    }
}
