//! What every member has received of every publisher of its room, and so what was lost, repeated or reordered.
//!
//! A publisher numbers what it publishes from 0. Nothing is kept of a delivery that is the next in order; a gap is remembered
//! for what arrives late out of it.

use std::collections::HashMap;
use std::ops::Range;

use serde::Serialize;

use super::gaps::Gaps;
use super::plan::Plan;

/// What every member has received so far.
pub(crate) struct Ledger {
    plan: Plan,
    /// For each member, and each publisher of its room, the number that is to come.
    next: Vec<u32>,
    /// What is missing below that. What arrives late and is not remembered as missing counts as repeated.
    gaps: HashMap<usize, Gaps>,
    /// For each member the offset of its last delivery, where there are offsets.
    offsets: Vec<Option<u64>>,
    /// What went wrong so far.
    faults: Faults,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Deliveries that did not come.
    pub lost: u64,
    /// Deliveries that came again.
    pub repeated: u64,
    /// Deliveries that came after a later one of the same publisher.
    pub reordered: u64,
    /// Deliveries of what nobody has published in that room.
    pub unknown: u64,
    /// Deliveries and joins at another offset of the log than the one that had to follow.
    pub misplaced: u64,
}

/// What a delivery is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The next one.
    Next,
    /// A later one than the next: these are missing.
    After(Range<u32>),
    /// One that was missing.
    Late,
    /// One that was there.
    Repeated,
}

impl Faults {
    /// Nothing went wrong.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

impl Ledger {
    /// Nobody has received anything.
    pub(crate) fn new(plan: Plan) -> Self {
        Self {
            plan,
            next: vec![0; plan.members() as usize * plan.publishers_each as usize],
            gaps: HashMap::new(),
            offsets: vec![None; plan.members() as usize],
            faults: Faults::default(),
        }
    }

    /// A member joined, and has or is to have everything up to this offset.
    pub(crate) fn joined(&mut self, member: u32, from: u64) {
        let last = &mut self.offsets[member as usize];
        self.faults.misplaced += u64::from(last.is_some_and(|last| last != from));
        *last = Some(from);
    }

    /// A member received what has this offset.
    pub(crate) fn offset(&mut self, member: u32, offset: u64) {
        let last = &mut self.offsets[member as usize];
        self.faults.misplaced += u64::from(last.is_some_and(|last| last + 1 != offset));
        *last = Some(offset);
    }

    /// A member received what nobody has published in its room.
    pub(crate) fn unknown(&mut self) {
        self.faults.unknown += 1;
    }

    /// A member received what a publisher of its room gave this number.
    pub(crate) fn delivered(&mut self, member: u32, publisher: u32, sequence: u32) -> Verdict {
        let account = self.account(member, publisher);
        let next = &mut self.next[account];
        if sequence == *next {
            *next += 1;
            return Verdict::Next;
        }
        if sequence > *next {
            let missing = *next..sequence;
            *next = sequence + 1;
            self.faults.lost += missing.len() as u64;
            let gap = missing.start.into()..missing.end.into();
            self.gaps.entry(account).or_default().open(gap);
            return Verdict::After(missing);
        }
        let was_missing =
            self.gaps.get_mut(&account).is_some_and(|gaps| gaps.fill(sequence.into()));
        if !was_missing {
            self.faults.repeated += 1;
            return Verdict::Repeated;
        }
        self.faults.lost -= 1;
        self.faults.reordered += 1;
        Verdict::Late
    }

    /// The number that a member is to have next of a publisher of its room.
    pub(crate) fn next(&self, member: u32, publisher: u32) -> u32 {
        self.next[self.account(member, publisher)]
    }

    /// What went wrong, if nothing more comes and each publisher has published so much.
    pub(crate) fn close(&self, published: &[u32]) -> Faults {
        let missing = (0..self.plan.members()).flat_map(|member| {
            let publishers = self.plan.publishers_of(self.plan.room_of(member));
            publishers.map(move |publisher| {
                u64::from(published[publisher as usize] - self.next(member, publisher))
            })
        });
        Faults { lost: self.faults.lost + missing.sum::<u64>(), ..self.faults }
    }

    fn account(&self, member: u32, publisher: u32) -> usize {
        let Plan { publishers_each, .. } = self.plan;
        (member * publishers_each + self.plan.nth_of_room(publisher)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { rooms: 2, members_each: 3, publishers_each: 2 };
    /// A member of the second room, and a publisher there.
    const MEMBER: u32 = 4;
    const PUBLISHER: u32 = 3;

    /// What is told of that member when it received these, and six were published.
    fn faults(sequences: &[u32]) -> Faults {
        let mut ledger = Ledger::new(PLAN);
        for sequence in sequences {
            ledger.delivered(MEMBER, PUBLISHER, *sequence);
        }
        for member in [3, 5] {
            for sequence in 0..6 {
                ledger.delivered(member, PUBLISHER, sequence);
            }
        }
        ledger.close(&[0, 0, 0, 6])
    }

    #[test]
    fn all_in_order_is_no_fault() {
        assert!(faults(&[0, 1, 2, 3, 4, 5]).is_none());
    }

    #[test]
    fn what_is_lost_is_told_wherever_it_was() {
        let lost = |lost| Faults { lost, ..Faults::default() };
        assert_eq!(faults(&[1, 2, 3, 4, 5]), lost(1));
        assert_eq!(faults(&[0, 1, 4, 5]), lost(2));
        assert_eq!(faults(&[0, 1, 2, 3, 4]), lost(1));
        assert_eq!(faults(&[0, 2, 4]), lost(3));
        assert_eq!(faults(&[]), lost(6));
    }

    #[test]
    fn what_is_repeated_is_told() {
        let repeated = |repeated| Faults { repeated, ..Faults::default() };
        assert_eq!(faults(&[0, 1, 1, 2, 3, 4, 5]), repeated(1));
        assert_eq!(faults(&[0, 1, 2, 3, 4, 5, 0, 5]), repeated(2));
    }

    #[test]
    fn what_is_reordered_is_told_and_not_lost() {
        let reordered = |reordered| Faults { reordered, ..Faults::default() };
        assert_eq!(faults(&[0, 2, 1, 3, 4, 5]), reordered(1));
        assert_eq!(faults(&[4, 2, 0, 1, 3, 5]), reordered(4));
        let mixed = Faults { lost: 1, reordered: 1, repeated: 1, ..Faults::default() };
        assert_eq!(faults(&[0, 3, 2, 2, 4, 5]), mixed);
    }

    #[test]
    fn the_verdict_tells_what_was_skipped() {
        let mut ledger = Ledger::new(PLAN);
        let mut delivered = |sequence| ledger.delivered(MEMBER, PUBLISHER, sequence);
        assert_eq!(delivered(0), Verdict::Next);
        assert_eq!(delivered(3), Verdict::After(1..3));
        assert_eq!(delivered(2), Verdict::Late);
        assert_eq!(delivered(2), Verdict::Repeated);
        assert_eq!(delivered(4), Verdict::Next);
        assert_eq!(ledger.next(MEMBER, PUBLISHER), 5);
        assert_eq!(ledger.next(MEMBER, PUBLISHER - 1), 0, "each publisher by itself");
    }

    #[test]
    fn offsets_follow_one_another_over_a_resume_too() {
        let mut ledger = Ledger::new(PLAN);
        ledger.joined(MEMBER, 40);
        ledger.offset(MEMBER, 41);
        ledger.joined(MEMBER, 41);
        ledger.offset(MEMBER, 42);
        assert_eq!(ledger.faults.misplaced, 0);
        ledger.offset(MEMBER, 44);
        ledger.offset(MEMBER, 44);
        ledger.joined(MEMBER, 43);
        assert_eq!(ledger.faults.misplaced, 3);
    }
}
