//! What is left to chance: it comes from the seed of the step.

use crate::simulated;

pub(super) fn below(end: usize) -> usize {
    simulated::random().expect("a simulation is under way") as usize % end
}

pub(super) fn between(least: usize, most: usize) -> usize {
    least + below(most - least + 1)
}

pub(super) fn one_in(times: usize) -> bool {
    below(times) == 0
}

pub(super) fn pick<T: Copy>(among: &[T]) -> T {
    among[below(among.len())]
}

/// The seed of a step: each has its own, so that the others can be left out.
pub(super) fn seed_of(seed: u64, step: usize) -> u64 {
    let mixed = (seed ^ (step as u64).rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ (mixed >> 29)
}
