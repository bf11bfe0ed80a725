//! How a scenario tells its figures: for people, or as one JSON object for programs.

use std::fmt::{self, Display};
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;

/// A distribution of durations.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latency {
    /// Half took at most this long.
    pub p50_us: u64,
    /// All but one of a hundred took at most this long.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// An empty histogram of microseconds: three digits, up to an hour.
pub fn microseconds() -> Histogram<u64> {
    Histogram::new_with_max(3_600_000_000, 3).expect("the bounds of the histogram are valid")
}

/// A rate.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub fn per_second(count: u64, duration: Duration) -> f64 {
    count as f64 / duration.as_secs_f64()
}

/// By how much a figure grew, or shrank.
pub fn difference(after: u64, before: u64) -> i64 {
    after.cast_signed() - before.cast_signed()
}

/// How many times as much it is after as before, to three decimals.
#[expect(clippy::cast_precision_loss, reason = "microseconds stay far below 2^53")]
pub fn ratio(after: u64, before: u64) -> f64 {
    (after as f64 / before.max(1) as f64 * 1000.0).round() / 1000.0
}

/// The value in the middle; of an even number, the mean of the two. None of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => None,
        n if n.is_multiple_of(2) => Some(f64::midpoint(values[half - 1], values[half])),
        _ => Some(values[half]),
    }
}

/// A total divided, to one decimal.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub fn per(total: i64, count: u64) -> f64 {
    (total as f64 / count as f64 * 10.0).round() / 10.0
}

/// A whole number with its thousands apart.
pub fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value <= -0.5 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes a report to standard output. Where programs read that, what people read goes to standard error.
pub fn print(report: &(impl Display + Serialize), json: bool) -> Result<()> {
    if json {
        eprintln!("{report}");
        println!("{}", serde_json::to_string(report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}

impl From<&Histogram<u64>> for Latency {
    fn from(histogram: &Histogram<u64>) -> Self {
        Self {
            p50_us: histogram.value_at_quantile(0.5),
            p99_us: histogram.value_at_quantile(0.99),
            max_us: histogram.max(),
        }
    }
}

impl Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {} µs, p99 {} µs, max {} µs", self.p50_us, self.p99_us, self.max_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_that_of_the_values_in_order() {
        assert_eq!(median([9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 9.0, 2.0]), Some(3.0));
        assert_eq!(median([]), None);
    }
}
