//! The deterministic simulation: the real reactors, objects and log on one thread, where a seed decides which part moves next.

mod bounds;
mod chance;
mod client;
mod link;
mod machine;
mod play;
mod seat;
mod trace;
mod truth;
#[path = "../../tests/it/sim/check/view.rs"]
mod view;

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Instant;

use play::Stage;
use trace::{Line, Trace};
use truth::Verdict;

/// The seeds that are always played, and how many new ones are.
const USUAL: Range<u64> = 0..1000;
const FRESH: u64 = 200;
/// Lines of the trace that are shown of a failure.
const SHOWN: usize = 120;

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
    let (count, mut steps) = (seeds.len(), 0);
    let mut stage = Stage::new();
    for seed in seeds {
        let (trace, verdict) = stage.play(seed, &BTreeSet::new());
        steps += trace.count(|line| matches!(line, Line::Step(_)));
        if let Err(what) = verdict {
            panic!("SIM_SCHEDULES={seed} breaks a promise: {what}\n{}{what}", trace.tail(SHOWN));
        }
    }
    eprintln!("{count} schedules, {steps} steps in {:.1?}", began.elapsed());
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
