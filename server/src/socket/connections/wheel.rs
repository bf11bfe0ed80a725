//! One timing wheel for all deadlines of a reactor: no timer for each connection.
//!
//! Time is in ticks. An entry only says that something may be due; whoever gets it looks, and enters it again
//! where it was early. So a deadline that moves costs nothing until its old entry comes up.

use std::time::Duration;

use tokio::time::Instant;

/// The length of a tick, and so how late a deadline can be.
pub(in crate::socket) const TICK: Duration = Duration::from_millis(50);
const SLOTS: usize = 1024;

/// A point in time: ticks since the wheel began.
pub(in crate::socket) type Tick = u32;

/// A length of time in ticks, rounded up.
pub(in crate::socket) fn ticks(time: Duration) -> Tick {
    u32::try_from(time.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u32::MAX)
}

/// The time that so many ticks take.
pub(in crate::socket) fn time(ticks: Tick) -> Duration {
    TICK * ticks
}

/// A wheel of entries.
pub(in crate::socket) struct Wheel<T> {
    start: Instant,
    now: Tick,
    slots: Vec<Vec<(Tick, T)>>,
    len: usize,
}

impl<T> Wheel<T> {
    /// The memory of an entry.
    pub(in crate::socket) const ENTRY_BYTES: usize = size_of::<(Tick, T)>();

    pub(in crate::socket) fn new(start: Instant) -> Self {
        Self {
            start,
            now: 0,
            slots: std::iter::repeat_with(Vec::new).take(SLOTS).collect(),
            len: 0,
        }
    }

    /// The current tick, as of the last [`Wheel::advance`].
    pub(in crate::socket) fn now(&self) -> Tick {
        self.now
    }

    /// The tick after `delay` has passed, rounded up.
    pub(in crate::socket) fn after(&self, delay: Duration) -> Tick {
        self.now.saturating_add(ticks(delay)).max(self.now + 1)
    }

    /// The tick of a time, rounded up. [`Wheel::after`] is less exact: it counts from the last advance of the wheel.
    pub(in crate::socket) fn at(&self, time: Instant) -> Tick {
        ticks(time.saturating_duration_since(self.start)).max(self.now + 1)
    }

    /// Enters something that comes up at `due`.
    pub(in crate::socket) fn insert(&mut self, due: Tick, entry: T) {
        let due = due.max(self.now + 1);
        self.slots[due as usize % SLOTS].push((due, entry));
        self.len += 1;
    }

    /// How long to wait for the next tick that may matter; `None` while nothing is entered.
    pub(in crate::socket) fn timeout(&self, now: Instant) -> Option<Duration> {
        if self.len == 0 {
            return None;
        }
        let occupied = |ahead: &u32| !self.slots[(self.now + ahead) as usize % SLOTS].is_empty();
        let ahead = (1..SLOTS as u32).find(occupied).unwrap_or(SLOTS as u32);
        let at = self.start + TICK * (self.now + ahead);
        Some(at.saturating_duration_since(now))
    }

    /// Moves on to `now` and takes out all that is due.
    pub(in crate::socket) fn advance(&mut self, now: Instant, due: &mut Vec<T>) {
        let elapsed = now.saturating_duration_since(self.start).as_nanos() / TICK.as_nanos();
        let target = u32::try_from(elapsed).unwrap_or(u32::MAX);
        // After a pause longer than a turn of the wheel, one turn visits every slot.
        let steps = target.saturating_sub(self.now).min(SLOTS as u32);
        for step in 0..steps {
            let slot = &mut self.slots[(target - step) as usize % SLOTS];
            let before = due.len();
            due.extend(slot.extract_if(.., |(at, _)| *at <= target).map(|(_, entry)| entry));
            self.len -= due.len() - before;
            if slot.is_empty() {
                *slot = Vec::new();
            }
        }
        self.now = self.now.max(target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advanced(wheel: &mut Wheel<u32>, ticks: u32) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.advance(wheel.start + TICK * ticks, &mut due);
        due.sort_unstable();
        due
    }

    #[test]
    fn entries_come_up_when_they_are_due_and_not_before() {
        let mut wheel = Wheel::new(Instant::now());
        for due in [1, 5, 1023, 1024, 1025, 3000] {
            wheel.insert(due, due);
        }
        assert_eq!(advanced(&mut wheel, 4), [1]);
        assert_eq!(wheel.timeout(wheel.start + TICK * 4), Some(TICK));
        assert_eq!(advanced(&mut wheel, 1024), [5, 1023, 1024]);
        assert_eq!(advanced(&mut wheel, 2999), [1025]);
        assert!(advanced(&mut wheel, 2999).is_empty());
        assert_eq!(advanced(&mut wheel, 9000), [3000]);
        assert_eq!(wheel.timeout(wheel.start), None);
    }

    #[test]
    fn what_is_overdue_already_comes_up_at_the_next_tick() {
        let mut wheel = Wheel::new(Instant::now());
        assert!(advanced(&mut wheel, 10).is_empty());
        wheel.insert(3, 3);
        assert_eq!(wheel.after(Duration::ZERO), 11);
        assert_eq!(wheel.after(TICK * 2), 12);
        assert_eq!(advanced(&mut wheel, 11), [3]);
    }
}
