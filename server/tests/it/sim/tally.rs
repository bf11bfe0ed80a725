//! How often what the seeds are about has happened: where nothing goes wrong, nothing is tested.

/// What is counted, and the beginning of the metric's lines.
const COUNTED: [(&str, &str); 11] = [
    ("wakes", "dormouse_object_wakes_total{"),
    ("sleeps when idle", "dormouse_object_sleeps_total{reason=\"idle\"}"),
    ("sleeps that were asked for", "dormouse_object_sleeps_total{reason=\"asked\"}"),
    ("sleeps for want of places", "dormouse_object_sleeps_total{reason=\"evicted\"}"),
    ("sleeps that waited for a commit", "dormouse_object_sleeps_refused_total{reason=\"commit\"}"),
    ("crashes", "dormouse_object_failures_total "),
    ("resumes", "dormouse_joins_total{outcome=\"resumed\"}"),
    ("repeats", "dormouse_publish_duplicates_total "),
    ("readers that fell behind", "dormouse_members_fell_behind_total "),
    ("rosters told anew", "dormouse_presence_missed_total "),
    ("full mailboxes", "dormouse_publish_stalls_total "),
];

/// Over the lives of servers.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    counts: [u64; COUNTED.len()],
    pub(super) restarts: u64,
}

impl Tally {
    /// Adds what a server counted, by its metrics.
    pub(super) fn count(&mut self, metrics: &str) {
        for (count, (_, name)) in self.counts.iter_mut().zip(COUNTED) {
            let lines = metrics.lines().filter(|line| line.starts_with(name));
            let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
            *count += values.sum::<u64>();
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.restarts += other.restarts;
    }

    /// By name.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = COUNTED.into_iter().zip(self.counts).map(|((name, _), count)| (name, count));
        counts.chain([("restarts", self.restarts)])
    }
}
