//! Many members with presence join one room at once, and all of them watch the roster: what it takes until everybody's roster
//! is complete.

use std::fmt::{self, Display};
use std::process;
use std::time::Duration;

use anyhow::{Error, Result};
use serde::Serialize;

use crate::bench::proc;
use crate::cli::PresenceOptions;
use crate::drive::ledger::Faults;
use crate::drive::swarm::{Listener, Received, Swarm};
use crate::load::outcome::{Connecting, End, Figures, Outcome, Window};
use crate::load::target::Target;
use crate::report::{difference, microseconds, per};
use crate::wire::Notice;
use crate::wire::dormouse::Company;

/// How long nobody may learn anything before the rest counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the scenario adds. `lost` counts entries that are missing in members' rosters.
#[derive(Debug, Clone, Serialize)]
pub struct Storm {
    /// From the first connection until every member had joined.
    pub joined_ms: f64,
    /// From the first connection until every member's roster had every member.
    pub complete_ms: f64,
    /// The server's processor time until then, for each member.
    pub server_cpu_us_per_member: Option<f64>,
    /// Messages that a member received, on average.
    pub messages_per_member: f64,
    /// Their bytes.
    pub bytes_per_member: f64,
}

/// Everybody's roster.
struct Rosters {
    members: u32,
    /// For each member, whom it knows: a bit for each other.
    known: Vec<Box<[u64]>>,
    /// Bits that are set.
    entries: u64,
    closed: u64,
}

/// Runs the scenario. What is missing is told in the outcome.
pub fn run(options: &PresenceOptions) -> Result<Outcome<Storm>> {
    let PresenceOptions { target: aim, connections } = options;
    let target = Target::new(aim, *connections)?;
    let (pss, cpu) = (target.pss_bytes()?, target.cpu_time()?);
    let own_cpu = proc::cpu_time(process::id()).ok();
    let wire = aim.wire().in_company(Company::Watched);
    let mut swarm = Swarm::new(wire, target.address, aim.source_addresses)?
        .over_tls(target.certificate.as_deref())?;
    (0..*connections).for_each(|_| swarm.seat(0, None));
    let mut rosters = Rosters::new(*connections);
    let start = swarm.now();
    swarm.open(&mut rosters)?;
    let joined = swarm.now().saturating_sub(start);
    let cpu_since =
        || Ok::<_, Error>(target.cpu_time()?.zip(cpu).map(|(now, then)| now.saturating_sub(then)));
    let joined_cpu = cpu_since()?;

    let (mut entries, mut changed) = (rosters.entries, swarm.now());
    while rosters.missing() > 0 && swarm.now() < changed + PATIENCE {
        swarm.turn(PATIENCE, &mut rosters)?;
        if rosters.entries != entries {
            (entries, changed) = (rosters.entries, swarm.now());
        }
    }
    let took = swarm.now().saturating_sub(start);
    let cpu = cpu_since()?;
    let generator_cpu =
        proc::cpu_time(process::id()).ok().zip(own_cpu).map(|(now, then)| now.saturating_sub(then));
    let pss_bytes = target.pss_bytes()?;
    let Received { messages, bytes } = swarm.received();
    let each = |count: u64| per(count.cast_signed(), u64::from(*connections));
    Ok(Outcome::new(Figures {
        scenario: "presence",
        target: &target,
        payload: 0,
        connecting: Connecting { connections: *connections, took: joined, cpu: joined_cpu },
        end: End {
            window: Window {
                took,
                publishes: 0,
                deliveries: 0,
                cpu,
                generator_cpu,
                pss_bytes,
                series: Vec::new(),
            },
            latency: microseconds(),
            pss_growth: pss_bytes.zip(pss).map(|(now, then)| difference(now, then)),
            faults: Faults { lost: rosters.missing(), ..Faults::default() },
            closed: rosters.closed,
        },
        own: Storm {
            joined_ms: ms(joined),
            complete_ms: ms(took),
            server_cpu_us_per_member: cpu.map(|cpu| each(cpu.as_micros() as u64)),
            messages_per_member: each(messages),
            bytes_per_member: each(bytes),
        },
    }))
}

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1000.0
}

impl Rosters {
    fn new(members: u32) -> Self {
        let words = members.div_ceil(u64::BITS) as usize;
        let known = vec![vec![0; words].into(); members as usize];
        Self { members, known, entries: 0, closed: 0 }
    }

    /// Entries that are missing in all rosters.
    fn missing(&self) -> u64 {
        u64::from(self.members) * u64::from(self.members) - self.entries
    }
}

impl Listener for Rosters {
    fn notice(&mut self, member: u32, _: Duration, notice: Notice<'_>) {
        let known = &mut self.known[member as usize];
        match notice {
            Notice::Present(who) if who < self.members => {
                let word = &mut known[(who / u64::BITS) as usize];
                let bit = 1 << (who % u64::BITS);
                self.entries += u64::from(*word & bit == 0);
                *word |= bit;
            }
            Notice::RosterBegins => {
                self.entries -= known.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
                known.fill(0);
            }
            _ => {}
        }
    }

    fn closed(&mut self, _: u32, why: &Error) {
        if self.closed == 0 {
            eprintln!("a connection was lost: {why:#}");
        }
        self.closed += 1;
    }
}

impl Display for Storm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { joined_ms, complete_ms, messages_per_member, bytes_per_member, .. } = self;
        write!(f, "all joined after {joined_ms} ms, all rosters complete after {complete_ms} ms")?;
        if let Some(cpu) = self.server_cpu_us_per_member {
            write!(f, ", {cpu} µs of CPU")?;
        }
        write!(f, ", {messages_per_member} messages and {bytes_per_member} bytes a member")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roster_is_complete_with_everybody_once() {
        let mut rosters = Rosters::new(70);
        let mut tell = |notice| {
            rosters.notice(3, Duration::ZERO, notice);
            rosters.missing()
        };
        for who in 0..69 {
            tell(Notice::Present(who));
        }
        assert_eq!(tell(Notice::Present(0)), 70 * 70 - 69, "known already");
        assert_eq!(tell(Notice::Present(70)), 70 * 70 - 69, "nobody");
        assert_eq!(tell(Notice::Present(69)), 69 * 70);
        assert_eq!(tell(Notice::RosterBegins), 70 * 70);
        assert_eq!(tell(Notice::Present(69)), 70 * 70 - 1);
    }
}
