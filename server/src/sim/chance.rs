//! What is left to chance: it comes from the seed of the step, for the thread that plays.

use std::cell::Cell;

thread_local! {
    /// Where chance is in its sequence, while a simulation is played on this thread.
    static SEQUENCE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// All chance comes from this seed until the next one.
pub(super) fn seed(seed: u64) {
    SEQUENCE.set(Some(seed));
}

/// The simulation on this thread is over.
pub(super) fn end() {
    SEQUENCE.set(None);
}

/// Whether a simulation is played on this thread.
pub(super) fn is_under_way() -> bool {
    SEQUENCE.get().is_some()
}

/// The generator is `SplitMix64`.
fn random() -> u32 {
    let state = SEQUENCE.get().expect("a simulation is under way");
    let state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    SEQUENCE.set(Some(state));
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed >> 32) as u32
}

pub(super) fn below(end: usize) -> usize {
    random() as usize % end
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
