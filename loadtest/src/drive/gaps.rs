//! What is missing of a sequence: ranges of numbers that were skipped, for what arrives late out of them.

use std::ops::Range;

/// Ranges that are remembered.
const GAPS_MAX: usize = 1 << 10;

/// Numbers that were skipped. Those beyond a bound are forgotten.
#[derive(Debug, Default)]
pub(crate) struct Gaps(Vec<Range<u64>>);

impl Gaps {
    /// These were skipped.
    pub(crate) fn open(&mut self, missing: Range<u64>) {
        if self.0.len() < GAPS_MAX {
            self.0.push(missing);
        }
    }

    /// A number arrived late. False if it was not skipped, or has arrived already.
    pub(crate) fn fill(&mut self, number: u64) -> bool {
        let place = self.0.iter().position(|gap| gap.contains(&number));
        let Some(place) = place else { return false };
        let Range { start, end } = self.0.swap_remove(place);
        let left = [start..number, number + 1..end];
        self.0.extend(left.into_iter().filter(|gap| !gap.is_empty()));
        true
    }

    /// Nothing is missing any more.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_skipped_is_filled_once() {
        let mut gaps = Gaps::default();
        gaps.open(3..7);
        assert!(gaps.fill(4));
        assert!(!gaps.fill(4));
        assert!(gaps.fill(6) && gaps.fill(3) && gaps.fill(5));
        assert!(gaps.0.is_empty() && !gaps.fill(7) && !gaps.fill(2));
        gaps.open(8..9);
        gaps.clear();
        assert!(!gaps.fill(8));
    }

    #[test]
    fn gaps_without_end_are_forgotten() {
        let mut gaps = Gaps::default();
        for nth in 0..=GAPS_MAX as u64 {
            gaps.open(2 * nth..2 * nth + 1);
        }
        assert_eq!(gaps.0.len(), GAPS_MAX);
        assert!(gaps.fill(0) && !gaps.fill(2 * GAPS_MAX as u64));
    }
}
