//! The figures of all attacks, as a table in Markdown for people.

use std::fmt::{self, Display};

use serde::Serialize;

use super::attack::Attack;
use crate::drive::ledger::Faults;

/// What was seen of one attack: latencies, their ratio and processor times are medians of the rounds. None is what could not be
/// known, or where nothing was delivered.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// Which.
    pub attack: Attack,
    /// How often the attackers connected, or said something, in a second.
    pub acts_per_s: f64,
    /// Their own processor time, in percent of one core.
    pub attack_cpu_percent: f64,
    /// From when a publish of the members was due until a member received it: all but one of a hundred, before the attack.
    pub quiet_p99_us: Option<f64>,
    /// Likewise, during it.
    pub attacked_p99_us: Option<f64>,
    /// The second divided by the first, in the same round.
    pub ratio: Option<f64>,
    /// The server's processor time in percent of one core, before the attack.
    pub quiet_server_cpu_percent: Option<f64>,
    /// Likewise, during it.
    pub attacked_server_cpu_percent: Option<f64>,
    /// By how much the server's memory (PSS) grew from before the attack to its end; in the worst round.
    pub server_memory_growth_bytes: Option<i64>,
    /// Connections and requests that the server refused, from its metrics.
    pub refused: u64,
    /// Connections that it closed for what they did.
    pub closed: u64,
}

/// The figures.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// `hostile`
    pub scenario: &'static str,
    /// Members, who behave well.
    pub connections: u32,
    /// Their publishes in a second.
    pub publish_rate: f64,
    /// Hostile peers.
    pub attackers: u32,
    /// How often each attack was played.
    pub rounds: u32,
    /// How long each of them was measured, and the quiet before it.
    pub seconds: f64,
    /// Each attack.
    pub attacks: Vec<Line>,
    /// What went wrong for the members.
    #[serde(flatten)]
    pub faults: Faults,
    /// Members that lost their connection.
    pub closed_connections: u64,
    /// The server's version.
    pub server_version: Option<String>,
}

impl Outcome {
    /// The members received everything once, in order.
    pub fn is_exact(&self) -> bool {
        self.faults.is_none() && self.closed_connections == 0
    }
}

fn or_dash(figure: Option<impl Display>) -> String {
    figure.map_or_else(|| "–".to_owned(), |figure| figure.to_string())
}

impl Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpu = |percent: Option<f64>| or_dash(percent.map(|percent| format!("{percent:.0} %")));
        write!(
            f,
            "| {} | {:.0} | {:.0} % | {} | {} | {} | {} | {} | {} | {} | {} |",
            self.attack,
            self.acts_per_s,
            self.attack_cpu_percent,
            or_dash(self.quiet_p99_us),
            or_dash(self.attacked_p99_us),
            or_dash(self.ratio),
            cpu(self.quiet_server_cpu_percent),
            cpu(self.attacked_server_cpu_percent),
            or_dash(self.server_memory_growth_bytes.map(|bytes| bytes / 1024)),
            self.refused,
            self.closed
        )
    }
}

impl Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} members, {} publishes a second, {} attackers; dormouse {}\n",
            self.connections,
            self.publish_rate,
            self.attackers,
            self.server_version.as_deref().unwrap_or_default()
        )?;
        writeln!(
            f,
            "| attack | acts/s | its CPU | p99 quiet, µs | p99 attacked, µs | ratio | server CPU quiet | attacked | memory, KiB | refused | closed |"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        for line in &self.attacks {
            writeln!(f, "{line}")?;
        }
        let Faults { lost, repeated, reordered, unknown, misplaced } = self.faults;
        write!(
            f,
            "\nfaults: {lost} lost, {repeated} repeated, {reordered} reordered, {unknown} unknown, {misplaced} misplaced, \
             {} members closed",
            self.closed_connections
        )
    }
}
