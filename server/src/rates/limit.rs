//! A limit, and its text in the configuration: `100/s`, `100/s burst 500`, `1MiB/s burst 4MiB`, `none`.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use governor::Quota;
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::{Serialize, Serializer};

/// A rate with a burst, or no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(Option<Rate>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate {
    count: NonZeroU32,
    period: Period,
    burst: NonZeroU32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Period {
    Second,
    Minute,
    Hour,
}

/// The text is not a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a limit is such as `100/s`, `100/s burst 500`, `10/min`, `1MiB/s burst 4MiB` or `none`")]
pub struct NotALimit;

impl Limit {
    /// The refusals after which the server closes a connection. A client that waits `retry_after_ms` stays below: even if the server
    /// refuses all requests that it has in flight, these are at most `limits.in_flight`, by default 256.
    pub(super) const CONNECTION_REFUSALS: Self = Self::a_second(100, 400);
    /// The refusals of all connections of an address. The server closes the connection that exceeds this.
    pub(super) const ADDRESS_REFUSALS: Self = Self::a_second(500, 2_000);

    const fn a_second(count: u32, burst: u32) -> Self {
        match (NonZeroU32::new(count), NonZeroU32::new(burst)) {
            (Some(count), Some(burst)) => Self(Some(Rate { count, period: Period::Second, burst })),
            _ => panic!("a limit lets something through"),
        }
    }

    pub(super) fn quota(self) -> Option<Quota> {
        let Rate { count, period, burst } = self.0?;
        // An interval of 0 ns would be no limit.
        let interval = (period.length() / count.get()).max(Duration::from_nanos(1));
        Some(Quota::with_period(interval)?.allow_burst(burst))
    }
}

impl Period {
    const ALL: [Self; 3] = [Self::Second, Self::Minute, Self::Hour];

    fn length(self) -> Duration {
        match self {
            Self::Second => Duration::from_secs(1),
            Self::Minute => Duration::from_mins(1),
            Self::Hour => Duration::from_hours(1),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "min",
            Self::Hour => "h",
        }
    }
}

impl FromStr for Limit {
    type Err = NotALimit;

    fn from_str(text: &str) -> Result<Self, NotALimit> {
        if text == "none" {
            return Ok(Self(None));
        }
        let (rate, burst) = match text.split_once(" burst ") {
            Some((rate, burst)) => (rate, Some(count(burst)?)),
            None => (text, None),
        };
        let (number, unit) = rate.split_once('/').ok_or(NotALimit)?;
        let count = count(number)?;
        let is_meant = |period: &Period| period.name() == unit.trim();
        let period = Period::ALL.into_iter().find(is_meant).ok_or(NotALimit)?;
        Ok(Self(Some(Rate { count, period, burst: burst.unwrap_or(count) })))
    }
}

fn count(text: &str) -> Result<NonZeroU32, NotALimit> {
    let ByteSize(count) = text.trim().parse().map_err(|_| NotALimit)?;
    u32::try_from(count).ok().and_then(NonZeroU32::new).ok_or(NotALimit)
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Rate { count, period, burst }) = self.0 else { return f.write_str("none") };
        write!(f, "{count}/{}", period.name())?;
        if burst == count { Ok(()) } else { write!(f, " burst {burst}") }
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_and_written() {
        for text in ["100/s", "100/s burst 500", "10/min", "3/h burst 1", "none"] {
            assert_eq!(text.parse::<Limit>().unwrap().to_string(), text);
        }
        let bytes = "1MiB/s burst 4MiB".parse::<Limit>().unwrap();
        assert_eq!(bytes.to_string(), "1048576/s burst 4194304");
        for text in
            ["", "100", "0/s", "-1/s", "100/day", "100/s burst 0", "5GiB/s", "all", "1/s burst"]
        {
            assert_eq!(text.parse::<Limit>(), Err(NotALimit), "{text}");
        }
    }
}
