//! Whether a figure that was sampled for a while goes on growing. Pure.
//!
//! What a server holds is no straight line: caches fill up, a log-structured store grows and is compacted, load comes and
//! goes. So the test is one that takes no shape for granted, and works on what is left at the low points:
//!
//! 1. The first quarter is warm-up and is not looked at.
//! 2. The rest is cut into [`BLOCKS`] equal blocks, and of each only the least value counts, its *floor*. A leak raises the
//!    floors; a saw-tooth and bursts don't. It also makes neighbours nearly independent, which samples that are seconds apart are not.
//! 3. The **Mann–Kendall test** tells whether the floors rise more often than chance makes them (one-sided, 1 %). It compares pairs
//!    and not values: an outlier is one voice among many.
//! 4. The **Theil–Sen slope**, the median of the slopes of all pairs, tells by how much. It has to exceed a [`Tolerance`], since a rise can
//!    be certain and without meaning.
//! 5. The growth has to go on: in each half of the blocks a line through them rises by a quarter of what is tolerated. A leak does. One
//!    step up, whenever it comes, does not, and **passes**: something was allocated once and is kept. (What must not even be
//!    kept once, such as descriptors, is compared exactly after the run, when nobody is connected any more.)

use std::time::Duration;

use crate::report::median;

/// Parts of the time after the warm-up. With 12, 35 of the 66 pairs more have to rise than fall.
pub(super) const BLOCKS: usize = 12;
/// One of so many parts of the time is warm-up.
pub(super) const WARM_UP: usize = 4;
/// A shorter run tells nothing: what a server fills once, such as the tables of its store, takes minutes.
pub(super) const SHORTEST: Duration = Duration::from_mins(10);
/// The standard normal distribution exceeds it once in a hundred times.
const Z_ONE_PERCENT: f64 = 2.326;

/// What growth means nothing. Both bounds have to be exceeded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tolerance {
    /// By how much the figure may rise in the whole run: less can't be told from how the figure moves by itself.
    pub(super) growth: f64,
    /// By which share of its median it may rise in an hour.
    pub(super) share_per_hour: f64,
}

/// What became of a figure after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Trend {
    /// The floor of the first block.
    pub(super) start: f64,
    /// The floor of the last block.
    pub(super) end: f64,
    /// The Theil–Sen slope of the floors.
    pub(super) per_hour: f64,
    /// It goes on growing.
    pub(super) grows: bool,
}

/// Looks at samples that were taken in equal steps over so many hours. None where they are too few.
pub(super) fn trend(samples: &[f64], hours: f64, tolerance: Tolerance) -> Option<Trend> {
    let floors = floors(samples)?;
    let (start, end) = (*floors.first()?, *floors.last()?);
    let watched = hours * (1.0 - 1.0 / WARM_UP as f64);
    let blocks_per_hour = BLOCKS as f64 / watched;
    let slope = slope(&floors);
    let per_hour = slope * blocks_per_hour;
    let level = median(floors.clone()).unwrap_or(0.0);
    let exceeds = |part: &[f64], share: f64| {
        let slope = self::slope(part);
        slope * part.len() as f64 > tolerance.growth * share
            && slope * blocks_per_hour > tolerance.share_per_hour * level * share
    };
    // A half has half of the growth, so a quarter of the tolerance is half of what an even growth would bring.
    let (first, second) = floors.split_at(BLOCKS / 2);
    let grows =
        rises(&floors) && exceeds(&floors, 1.0) && exceeds(first, 0.25) && exceeds(second, 0.25);
    Some(Trend { start, end, per_hour, grows })
}

/// The least value of each block after the warm-up.
fn floors(samples: &[f64]) -> Option<Vec<f64>> {
    let watched = &samples[samples.len().div_ceil(WARM_UP)..];
    let block =
        |nth: usize| &watched[nth * watched.len() / BLOCKS..(nth + 1) * watched.len() / BLOCKS];
    (0..BLOCKS).map(|nth| block(nth).iter().copied().min_by(f64::total_cmp)).collect()
}

/// The Mann–Kendall test: more pairs rise than chance explains.
fn rises(values: &[f64]) -> bool {
    let n = values.len() as f64;
    let score: f64 = pairs(values).map(|(_, earlier, later)| sign(later - earlier)).sum();
    let spread = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0) / 18.0;
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let ties: f64 =
        sorted.chunk_by(|a, b| a.total_cmp(b).is_eq()).map(|tied| spread(tied.len() as f64)).sum();
    let deviation = (spread(n) - ties).sqrt();
    // One less, as the score is a whole number and the distribution is not. All equal: the score is 0.
    score > 1.0 && (score - 1.0) / deviation > Z_ONE_PERCENT
}

/// The Theil–Sen slope: by how much a value exceeds the one before it.
fn slope(values: &[f64]) -> f64 {
    let slopes = pairs(values).map(|(apart, earlier, later)| (later - earlier) / apart);
    median(slopes).unwrap_or(0.0)
}

/// Every value with every later one, and how far they are apart.
fn pairs(values: &[f64]) -> impl Iterator<Item = (f64, f64, f64)> {
    values.iter().enumerate().flat_map(|(at, earlier)| {
        let later = values[at + 1..].iter().enumerate();
        later.map(move |(apart, later)| ((apart + 1) as f64, *earlier, *later))
    })
}

fn sign(difference: f64) -> f64 {
    if difference == 0.0 { 0.0 } else { difference.signum() }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    const MIB: f64 = 1_048_576.0;
    /// That of memory.
    const TOLERANCE: Tolerance = Tolerance { growth: 4.0 * MIB, share_per_hour: 0.1 };
    /// An hour, sampled every six seconds.
    const SAMPLES: u32 = 600;

    /// Samples of an hour: minutes to bytes, with noise of 2 MiB to both sides.
    fn hour(seed: u64, figure: impl Fn(f64) -> f64) -> Trend {
        let mut noise = SmallRng::seed_from_u64(seed);
        let samples = (0..SAMPLES)
            .map(|nth| figure(f64::from(nth) / 10.0) + noise.random_range(-2.0 * MIB..2.0 * MIB));
        trend(&samples.collect::<Vec<_>>(), 1.0, TOLERANCE).unwrap()
    }

    fn all_grow(figure: impl Fn(f64) -> f64) -> bool {
        let verdicts = (0..50).map(|seed| hour(seed, &figure).grows).collect::<Vec<_>>();
        let grows = verdicts[0];
        assert!(verdicts.iter().all(|v| *v == grows), "the seed decides: {verdicts:?}");
        grows
    }

    #[test]
    fn what_is_flat_passes_with_noise() {
        assert!(!all_grow(|_| 60.0 * MIB));
        let flat = hour(1, |_| 60.0 * MIB);
        assert!(flat.per_hour.abs() < 2.0 * MIB, "{flat:?}");
    }

    #[test]
    fn a_leak_of_a_mebibyte_a_minute_fails() {
        assert!(all_grow(|minute| 60.0 * MIB + minute * MIB));
        let leak = hour(1, |minute| 60.0 * MIB + minute * MIB);
        assert!((55.0..65.0).contains(&(leak.per_hour / MIB)), "{leak:?}");
        assert!(leak.end - leak.start > 30.0 * MIB, "{leak:?}");
    }

    #[test]
    fn a_leak_under_the_saw_tooth_of_compaction_fails_and_the_saw_tooth_passes() {
        for period in [1.0, 4.0, 9.0] {
            let tooth = |minute: f64| 60.0 * MIB + (minute % period) / period * 40.0 * MIB;
            assert!(!all_grow(tooth), "{period}");
            assert!(all_grow(|minute| tooth(minute) + minute * MIB), "{period}");
        }
    }

    #[test]
    fn one_step_passes_whenever_it_comes() {
        for at in [5.0, 16.0, 25.0, 37.5, 45.0, 58.0] {
            let step = |minute: f64| 60.0 * MIB + if minute < at { 0.0 } else { 30.0 * MIB };
            assert!(!all_grow(step), "{at}");
        }
        let many = |minute: f64| 60.0 * MIB + (minute / 5.0).floor() * 5.0 * MIB;
        assert!(all_grow(many), "a step every five minutes is a leak");
    }

    #[test]
    fn what_fills_up_in_the_warm_up_passes_and_what_shrinks_does_too() {
        assert!(!all_grow(|minute| 20.0 * MIB + 60.0 * MIB * minute.min(14.0) / 14.0));
        assert!(!all_grow(|minute| 120.0 * MIB - minute * MIB));
    }

    #[test]
    fn a_growth_below_either_tolerance_passes() {
        assert!(!all_grow(|minute| 60.0 * MIB + minute * MIB / 30.0), "2 MiB");
        assert!(!all_grow(|minute| 1024.0 * MIB + minute * MIB), "6 %");
    }

    #[test]
    fn few_samples_tell_nothing() {
        assert_eq!(trend(&[], 0.1, TOLERANCE), None);
        assert_eq!(trend(&[1.0; BLOCKS], 0.1, TOLERANCE), None);
        assert!(!trend(&[1.0; BLOCKS * 2], 0.1, TOLERANCE).unwrap().grows);
    }

    #[test]
    fn the_tests_are_the_known_ones() {
        // Of ten rising values all pairs rise: S = 45, Var(S) = 125, Z = 3.94.
        assert!(rises(&(0..10).map(f64::from).collect::<Vec<_>>()));
        // S = 4 of 6 is not enough for any test at 1 %.
        assert!(!rises(&[1.0, 2.0, 4.0, 3.0]));
        assert!(!rises(&[5.0; 12]));
        // One outlier does not change the median of the slopes.
        assert!((slope(&[0.0, 1.0, 2.0, 100.0, 4.0, 5.0]) - 1.0).abs() < 1e-9);
    }
}
