//! When the next publish is due, and whose it is. Pure: it is told the time and what arrived.
//!
//! An open loop publishes at a rate whatever the server does: a publish that has to wait counts as due when it was, so that a server
//! that stalls is not spared the publishes of that time ("coordinated omission"). A closed loop keeps a number of publishes in flight: each is
//! in flight until every member of its room has it.

use std::collections::VecDeque;
use std::time::Duration;

use super::plan::Plan;

/// How hard to publish.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Load {
    /// So many a second, over all publishers.
    Rate(f64),
    /// So many in flight, in each room.
    InFlight(u32),
}

/// Of one publisher in an open loop, so many may be on their way to itself; more wait for it. It is below what a server allows
/// one connection to ask for at a time.
const UNSEEN_MAX: u32 = 128;

/// A schedule.
pub(crate) enum Pacer {
    /// Nothing is published.
    Silent,
    /// By time.
    Open(OpenLoop),
    /// By what arrives.
    Closed(ClosedLoop),
}

/// A publish that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    /// Whose.
    pub(crate) publisher: u32,
    /// Since when, since the run's start.
    pub(crate) at: Duration,
}

/// See [`Load::Rate`].
pub(crate) struct OpenLoop {
    start: Duration,
    rate: f64,
    /// How many were due before.
    count: u64,
    /// Whether each publisher is still there.
    is_there: Vec<bool>,
}

/// See [`Load::InFlight`].
pub(crate) struct ClosedLoop {
    plan: Plan,
    /// For each publisher, from its oldest publish in flight, how many members don't have it yet.
    missing: Vec<VecDeque<u32>>,
    /// The number of that oldest publish.
    oldest: Vec<u32>,
    /// Whether each publisher is still there.
    is_there: Vec<bool>,
    /// How many members each room has.
    members: Vec<u32>,
    /// In each room the publisher whose turn it is.
    turns: Vec<u32>,
    /// A room for each publish that may be sent.
    free: VecDeque<u32>,
    /// How many will be sent, in all.
    left: u32,
}

impl OpenLoop {
    /// From this time on.
    pub(crate) fn new(plan: Plan, rate: f64, start: Duration) -> Self {
        Self { start, rate, count: 0, is_there: vec![true; plan.publishers() as usize] }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    fn next_at(&self) -> Duration {
        self.start + Duration::from_secs_f64(self.count as f64 / self.rate)
    }

    fn next(&mut self, now: Duration, unseen: impl Fn(u32) -> u32) -> Option<Due> {
        loop {
            let at = self.next_at();
            let publisher = (self.count % self.is_there.len() as u64) as u32;
            let is_there = self.is_there[publisher as usize];
            if at > now || is_there && unseen(publisher) >= UNSEEN_MAX {
                return None;
            }
            self.count += 1;
            if is_there {
                return Some(Due { publisher, at });
            }
        }
    }
}

impl ClosedLoop {
    /// With so many in flight in each room, of publishers who have published so many before.
    pub(crate) fn new(plan: Plan, in_flight: u32, published: &[u32]) -> Self {
        Self {
            plan,
            missing: vec![VecDeque::new(); published.len()],
            oldest: published.to_vec(),
            is_there: vec![true; published.len()],
            members: vec![plan.members_each; plan.rooms as usize],
            turns: (0..plan.rooms).map(|room| plan.publishers_of(room).start).collect(),
            free: (0..in_flight).flat_map(|_| 0..plan.rooms).collect(),
            left: u32::MAX,
        }
    }

    /// With no more than so many publishes in all.
    pub(crate) fn at_most(self, publishes: u32) -> Self {
        Self { left: publishes, ..self }
    }

    /// Without some members of a room, who are away.
    pub(crate) fn without(mut self, room: u32, members: u32) -> Self {
        self.members[room as usize] -= members;
        self
    }

    fn next(&mut self, now: Duration) -> Option<Due> {
        while self.left > 0
            && let Some(room) = self.free.pop_front()
        {
            let publishers = self.plan.publishers_of(room);
            let turn = &mut self.turns[room as usize];
            for _ in publishers.clone() {
                let publisher = *turn;
                *turn =
                    if publisher + 1 < publishers.end { publisher + 1 } else { publishers.start };
                if self.is_there[publisher as usize] {
                    self.left -= 1;
                    self.missing[publisher as usize].push_back(self.members[room as usize]);
                    return Some(Due { publisher, at: now });
                }
            }
            // Nobody publishes in this room any more.
        }
        None
    }

    fn received(&mut self, publisher: u32, sequence: u32) {
        let missing = &mut self.missing[publisher as usize];
        let oldest = &mut self.oldest[publisher as usize];
        // What was published under another schedule is not counted here.
        let Some(place) = sequence.checked_sub(*oldest) else { return };
        let Some(members) = missing.get_mut(place as usize) else { return };
        if *members == 0 {
            return;
        }
        *members -= 1;
        if *members == 0 {
            self.free.push_back(self.plan.room_of_publisher(publisher));
            while missing.front() == Some(&0) {
                missing.pop_front();
                *oldest += 1;
            }
        }
    }
}

impl Pacer {
    /// The next publish, if one is due. Of each publisher, so many are on their way to itself.
    pub(crate) fn next(&mut self, now: Duration, unseen: impl Fn(u32) -> u32) -> Option<Due> {
        match self {
            Self::Silent => None,
            Self::Open(open) => open.next(now, unseen),
            Self::Closed(closed) => closed.next(now),
        }
    }

    /// How long nothing will be due, if nothing arrives.
    pub(crate) fn wait(&self, now: Duration) -> Duration {
        match self {
            Self::Open(open) => open.next_at().saturating_sub(now),
            Self::Silent | Self::Closed(_) => Duration::MAX,
        }
    }

    /// A member has, or will never have, what a publisher gave this number.
    pub(crate) fn received(&mut self, publisher: u32, sequence: u32) {
        if let Self::Closed(closed) = self {
            closed.received(publisher, sequence);
        }
    }

    /// A member of a room is gone for good, and the publisher that it was.
    pub(crate) fn gone(&mut self, room: u32, publisher: Option<u32>) {
        let is_there = match self {
            Self::Silent => return,
            Self::Open(open) => &mut open.is_there,
            Self::Closed(closed) => {
                closed.members[room as usize] -= 1;
                &mut closed.is_there
            }
        };
        if let Some(publisher) = publisher {
            is_there[publisher as usize] = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { rooms: 2, members_each: 3, publishers_each: 2 };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn all(pacer: &mut Pacer, now: Duration) -> Vec<(u32, Duration)> {
        std::iter::from_fn(|| pacer.next(now, |_| 0)).map(|due| (due.publisher, due.at)).collect()
    }

    fn closed(in_flight: u32) -> Pacer {
        Pacer::Closed(ClosedLoop::new(PLAN, in_flight, &[0, 0, 5, 0]))
    }

    #[test]
    fn an_open_loop_publishes_by_the_clock_and_by_turns() {
        let mut pacer = Pacer::Open(OpenLoop::new(PLAN, 100.0, ms(1000)));
        assert_eq!(pacer.wait(ms(900)), ms(100));
        assert_eq!(all(&mut pacer, ms(999)), []);
        assert_eq!(all(&mut pacer, ms(1010)), [(0, ms(1000)), (1, ms(1010))]);
        assert_eq!(pacer.wait(ms(1013)), ms(7));
        assert_eq!(all(&mut pacer, ms(1020)), [(2, ms(1020))]);
    }

    #[test]
    fn what_was_late_is_due_when_it_was() {
        let mut pacer = Pacer::Open(OpenLoop::new(PLAN, 100.0, ms(0)));
        let due = all(&mut pacer, ms(1000));
        assert_eq!(due.len(), 101);
        assert_eq!(due[50], (2, ms(500)));
    }

    #[test]
    fn a_publisher_that_does_not_see_its_own_waits() {
        let mut pacer = Pacer::Open(OpenLoop::new(PLAN, 100.0, ms(0)));
        assert_eq!(pacer.next(ms(10), |_| UNSEEN_MAX), None);
        assert_eq!(pacer.next(ms(10), |_| UNSEEN_MAX - 1), Some(Due { publisher: 0, at: ms(0) }));
    }

    #[test]
    fn a_closed_loop_publishes_again_when_every_member_has_it() {
        let mut pacer = closed(1);
        assert_eq!(all(&mut pacer, ms(1)), [(0, ms(1)), (2, ms(1))]);
        pacer.received(2, 5);
        pacer.received(2, 5);
        pacer.received(2, 4);
        assert_eq!(all(&mut pacer, ms(2)), []);
        pacer.received(2, 5);
        assert_eq!(all(&mut pacer, ms(3)), [(3, ms(3))], "the same room's next publisher");
    }

    #[test]
    fn so_many_are_in_flight_in_each_room() {
        let mut pacer = closed(3);
        assert_eq!(all(&mut pacer, ms(1)).len(), 6);
        (0..3).for_each(|_| pacer.received(0, 1));
        assert_eq!(all(&mut pacer, ms(2)).len(), 1, "they may complete in any order");
        (0..3).for_each(|_| pacer.received(0, 0));
        assert_eq!(all(&mut pacer, ms(2)).len(), 1);
    }

    #[test]
    fn it_ends_after_so_many_and_does_not_wait_for_who_is_away() {
        let closed = ClosedLoop::new(PLAN, 1, &[0; 4]).without(1, 2).at_most(3);
        let mut pacer = Pacer::Closed(closed);
        assert_eq!(all(&mut pacer, ms(1)).len(), 2);
        pacer.received(2, 0);
        assert_eq!(all(&mut pacer, ms(2)), [(3, ms(2))]);
        pacer.received(3, 0);
        assert_eq!(all(&mut pacer, ms(3)), []);
    }

    #[test]
    fn who_is_gone_is_not_waited_for_and_publishes_no_more() {
        let mut pacer = closed(1);
        all(&mut pacer, ms(1));
        pacer.gone(0, PLAN.publisher_of(0));
        pacer.received(0, 0);
        (0..2).for_each(|_| pacer.received(0, 0));
        assert_eq!(all(&mut pacer, ms(2)), [(1, ms(2))]);
        (0..2).for_each(|_| pacer.received(1, 0));
        assert_eq!(all(&mut pacer, ms(3)), [(1, ms(3))], "two members are left, and one publisher");

        let mut pacer = Pacer::Open(OpenLoop::new(PLAN, 100.0, ms(0)));
        pacer.gone(0, Some(1));
        let publishers = all(&mut pacer, ms(50)).into_iter().map(|(publisher, _)| publisher);
        assert_eq!(publishers.collect::<Vec<_>>(), [0, 2, 3, 0]);
    }
}
