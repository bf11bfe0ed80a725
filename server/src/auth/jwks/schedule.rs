//! When the keys of an issuer are fetched. Pure: the time is given.

use std::time::{Duration, Instant};

/// For how long keys are not fetched again, where the issuer says nothing.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(10);
/// The bounds of what the issuer may say.
const MIN_LIFETIME: Duration = Duration::from_mins(1);
const MAX_LIFETIME: Duration = Duration::from_hours(24);
/// For how long keys serve after their lifetime while the issuer cannot be reached.
const GRACE: Duration = Duration::from_hours(24);
/// The shortest time between two fetches for unknown keys. It bounds the requests that a flood of tokens with unknown keys causes.
const NEW_KEYS_INTERVAL: Duration = Duration::from_secs(30);
/// Between a failure and the next fetch; doubled with each failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_mins(1);

/// The times of the last and the next fetch.
#[derive(Debug)]
pub(super) struct Schedule {
    due: Instant,
    /// When the last fetch ended.
    last: Option<Instant>,
    /// Until when the keys serve that were fetched.
    valid_until: Option<Instant>,
    failures: u32,
}

impl Schedule {
    /// The first fetch is due at once.
    pub(super) fn new(now: Instant) -> Self {
        Self { due: now, last: None, valid_until: None, failures: 0 }
    }

    /// When the next fetch is due.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    pub(super) fn succeeded(&mut self, now: Instant, max_age: Option<Duration>) {
        let lifetime = max_age.unwrap_or(DEFAULT_LIFETIME).clamp(MIN_LIFETIME, MAX_LIFETIME);
        self.due = now + lifetime;
        self.last = Some(now);
        self.valid_until = Some(self.due + GRACE);
        self.failures = 0;
    }

    /// Whether the keys that were fetched before are too old by now.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        let retry = FIRST_RETRY.saturating_mul(1 << self.failures.min(6)).min(LAST_RETRY);
        self.due = now + retry;
        self.last = Some(now);
        self.failures += 1;
        self.valid_until.is_some_and(|until| until <= now)
    }

    /// Fetches earlier, as far as the interval allows; whether that changes anything.
    pub(super) fn want_new_keys(&mut self) -> bool {
        let earliest = self.last.map(|last| last + NEW_KEYS_INTERVAL);
        match earliest.filter(|earliest| *earliest < self.due) {
            Some(earliest) => {
                self.due = earliest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_issuer_says_counts_within_bounds() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        assert_eq!(schedule.due(), now);
        for (max_age, lifetime) in [
            (None, DEFAULT_LIFETIME),
            (Some(Duration::ZERO), MIN_LIFETIME),
            (Some(Duration::from_mins(5)), Duration::from_mins(5)),
            (Some(Duration::MAX), MAX_LIFETIME),
        ] {
            schedule.succeeded(now, max_age);
            assert_eq!(schedule.due(), now + lifetime);
        }
    }

    #[test]
    fn a_flood_of_unknown_keys_makes_one_fetch_in_each_interval() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        schedule.succeeded(start, Some(MAX_LIFETIME));
        let (mut fetches, mut now) = (0, start);
        // A thousand such tokens a second, for an hour.
        while now < start + Duration::from_hours(1) {
            now += Duration::from_millis(1);
            schedule.want_new_keys();
            if schedule.due() <= now {
                schedule.succeeded(now, Some(MAX_LIFETIME));
                fetches += 1;
            }
        }
        assert_eq!(fetches, 120);
    }

    #[test]
    fn failures_are_retried_ever_more_slowly_and_keys_serve_for_a_day_longer() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        assert!(!schedule.failed(start));
        assert_eq!(schedule.due(), start + FIRST_RETRY);
        schedule.succeeded(start, Some(MIN_LIFETIME));
        let (mut now, mut tries) = (schedule.due(), 0);
        while !schedule.failed(now) {
            now = schedule.due();
            tries += 1;
        }
        assert!(now >= start + MIN_LIFETIME + GRACE);
        assert!(now <= start + MIN_LIFETIME + GRACE + LAST_RETRY);
        assert!((1440..1460).contains(&tries), "{tries}");
    }
}
