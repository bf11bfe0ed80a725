//! The text that `GET /metrics` gives, as far as the scenarios read it: sums over series, and histograms.
//!
//! Labels are taken to hold no commas, quotes or braces; the server's are from short fixed lists.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};

use super::http;

/// All series at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Metrics {
    series: Vec<Series>,
}

#[derive(Debug, Clone, PartialEq)]
struct Series {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// Cumulative counts up to bounds, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Buckets(Vec<(f64, f64)>);

impl Metrics {
    /// What a server tells at this moment. Blocking.
    pub(crate) fn fetch(address: SocketAddr) -> Result<Self> {
        Self::parse(&http::get(address, "/metrics")?)
    }

    /// Reads the text.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let series = lines
            .map(|line| Series::parse(line).with_context(|| format!("no metric: {line:?}")))
            .collect::<Result<_>>()?;
        Ok(Self { series })
    }

    /// The sum of all series of a name, which count something. A name that is not there is an error: taken for 0 it would
    /// make every wait end.
    pub(crate) fn sum(&self, name: &str) -> Result<u64> {
        self.sum_where(name, |_| true)
    }

    /// The sum of those series of a name whose label has one of the values.
    pub(crate) fn sum_of(&self, name: &str, label: &str, values: &[&str]) -> Result<u64> {
        self.sum_where(name, |series| {
            series.label(label).is_some_and(|value| values.contains(&value))
        })
    }

    /// A histogram, summed over its series.
    pub(crate) fn histogram(&self, name: &str) -> Result<Buckets> {
        let name = format!("{name}_bucket");
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for series in self.series.iter().filter(|s| s.name == name) {
            let bound = series.label("le").context("a bucket without a bound")?.parse::<f64>()?;
            match buckets.iter_mut().find(|(b, _)| b.total_cmp(&bound).is_eq()) {
                Some((_, count)) => *count += series.value,
                None => buckets.push((bound, series.value)),
            }
        }
        ensure!(!buckets.is_empty(), "the server has no metric {name}");
        buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        Ok(Buckets(buckets))
    }

    #[expect(clippy::cast_sign_loss, reason = "counts are never negative")]
    fn sum_where(&self, name: &str, is_meant: impl Fn(&Series) -> bool) -> Result<u64> {
        let mut meant = self.series.iter().filter(|s| s.name == name && is_meant(s)).peekable();
        ensure!(meant.peek().is_some(), "the server has no metric {name}");
        Ok(meant.map(|s| s.value as u64).sum())
    }
}

impl Series {
    fn parse(line: &str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}')?),
            None => (series, ""),
        };
        let labels = labels.split(',').filter(|label| !label.is_empty()).map(|label| {
            let (key, value) = label.split_once('=')?;
            Some((key.to_owned(), value.strip_prefix('"')?.strip_suffix('"')?.to_owned()))
        });
        Some(Self {
            name: name.to_owned(),
            labels: labels.collect::<Option<_>>()?,
            value: value.parse().ok()?,
        })
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }
}

impl Buckets {
    /// What was counted since an earlier moment.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self(self.0.iter().zip(&earlier.0).map(|((b, now), (_, then))| (*b, now - then)).collect())
    }

    /// The value below which such a share lies, by a straight line within its bucket; what is beyond the last bound is
    /// taken for it.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let rank = share * self.0.last().map_or(0.0, |(_, count)| *count);
        let (mut low, mut below) = (0.0, 0.0);
        for &(bound, count) in &self.0 {
            if count >= rank && count > below {
                let within = (rank - below) / (count - below);
                return if bound.is_finite() { low + (bound - low) * within } else { low };
            }
            (low, below) = (bound, count);
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP dormouse_objects Objects by state.
# TYPE dormouse_objects gauge
dormouse_objects{state=\"asleep\"} 90
dormouse_objects{state=\"awake\"} 3
dormouse_objects{state=\"falling_asleep\"} 4
dormouse_connections 19000
wake_seconds_bucket{le=\"0.0001\"} 10
wake_seconds_bucket{le=\"0.0002\"} 20
wake_seconds_bucket{le=\"+Inf\"} 21
wake_seconds_sum 0.0031
wake_seconds_count 21
";

    #[test]
    fn series_are_summed_by_name_and_label() {
        let metrics = Metrics::parse(TEXT).unwrap();
        assert_eq!(metrics.sum("dormouse_connections").unwrap(), 19_000);
        assert_eq!(metrics.sum("dormouse_objects").unwrap(), 97);
        let sum = |states: &[&str]| metrics.sum_of("dormouse_objects", "state", states);
        assert_eq!(sum(&["waking", "awake", "falling_asleep"]).unwrap(), 7);
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let metrics = Metrics::parse(TEXT).unwrap();
        assert!(metrics.sum("dormouse_object").is_err());
        assert!(metrics.sum_of("dormouse_objects", "state", &["waking"]).is_err());
        assert!(metrics.histogram("dormouse_objects").is_err());
        assert!(Metrics::parse("dormouse_connections").is_err());
    }

    #[test]
    fn quantiles_lie_within_their_buckets() {
        let buckets = Metrics::parse(TEXT).unwrap().histogram("wake_seconds").unwrap();
        let about = |share: f64, value: f64| (buckets.quantile(share) - value).abs() < 1e-9;
        assert!(about(5.0 / 21.0, 0.000_05));
        assert!(about(15.0 / 21.0, 0.000_15));
        assert!(about(1.0, 0.000_2), "beyond the last bound");
    }

    #[test]
    fn a_difference_forgets_what_was_before() {
        let buckets = Metrics::parse(TEXT).unwrap().histogram("wake_seconds").unwrap();
        let earlier = Buckets(vec![(0.000_1, 10.0), (0.000_2, 10.0), (f64::INFINITY, 10.0)]);
        let since = buckets.since(&earlier);
        assert_eq!(since.0, [(0.000_1, 0.0), (0.000_2, 10.0), (f64::INFINITY, 11.0)]);
        assert!((since.quantile(5.0 / 11.0) - 0.000_15).abs() < 1e-9);
    }
}
