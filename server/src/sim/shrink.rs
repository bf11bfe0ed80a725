//! What is left of a schedule that breaks a promise when all steps are left out that it does not need.

use std::collections::BTreeSet;

use super::play::Stage;
use super::trace::{Line, Trace};
use super::truth::Verdict;

/// Schedules that are played for it.
const MOST: usize = 300;

/// Leaves out ever smaller stretches of steps, as long as something is wrong without them.
pub(super) fn shrink(stage: &mut Stage, seed: u64, trace: Trace, what: String) -> (Trace, String) {
    let mut best = (trace, what);
    let mut left_out = BTreeSet::new();
    let steps = best.0.count(|line| matches!(line, Line::Step(_)));
    let (mut stretch, mut played) = (steps.div_ceil(2), 0);
    while stretch > 0 && played < MOST {
        for first in (0..steps).step_by(stretch) {
            let mut less = left_out.clone();
            less.extend(first..first + stretch);
            if less.len() == left_out.len() {
                continue;
            }
            played += 1;
            let (trace, verdict): (Trace, Verdict) = stage.play(seed, &less);
            if let Err(what) = verdict {
                (best, left_out) = ((trace, what), less);
            }
        }
        stretch /= 2;
    }
    best
}
