//! Bounds that several keys have.

use std::time::Duration;

const DAY: Duration = Duration::from_hours(24);

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form of a validator")]
pub(super) fn count(count: &usize) -> Result<(), &'static str> {
    if (1..=10_000_000).contains(count) { Ok(()) } else { Err("must be between 1 and 10000000") }
}

pub(super) fn timer(time: &Duration) -> Result<(), &'static str> {
    if (Duration::from_millis(1)..=DAY).contains(time) {
        Ok(())
    } else {
        Err("must be between 1ms and 1day")
    }
}
