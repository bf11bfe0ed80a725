//! A tenth of the members reads slowly: what the others feel of it, and the server's memory.

use std::fmt::{self, Display};
use std::ops::Range;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::cli::SlowOptions;
use crate::drive::pacer::Load;
use crate::drive::plan::Plan;
use crate::drive::swarm::SLOW_BYTES_PER_S;
use crate::load::outcome::{Figures, Outcome};
use crate::load::session::{Session, Setup};
use crate::load::steady::WARM_UP;
use crate::load::target::Target;
use crate::report::{Latency, ratio};

/// One of so many is slow.
const SLOW_ONE_OF: u32 = 10;
/// What the system takes in for a slow member: the least that Linux gives, so that what it does not read stays with the server.
const RECEIVE_BUFFER: usize = 2 << 10;

/// What the scenario adds. The common figures are those of the second phase, and the latencies those of the members that are not slow.
#[derive(Debug, Clone, Serialize)]
pub struct Slowness {
    /// Publishes a second.
    pub rate: f64,
    /// Members that read slowly in the second phase.
    pub slow_members: u32,
    /// How many bytes each of them reads.
    pub slow_bytes_per_s: usize,
    /// Deliveries that each of them had not received at the end, on average.
    pub slow_behind: u64,
    /// The latency of the others in the first phase, when nobody was slow.
    pub p50_us_before: Option<u64>,
    /// Likewise.
    pub p99_us_before: Option<u64>,
    /// The second phase's `p99_us` divided by the first one's.
    pub p99_ratio: Option<f64>,
    /// The server's memory (PSS) when all have joined.
    pub server_pss_bytes_at_start: Option<u64>,
    /// After the first phase.
    pub server_pss_bytes_at_middle: Option<u64>,
    /// After the second.
    pub server_pss_bytes_at_end: Option<u64>,
}

/// Runs the scenario. What was lost, repeated or reordered, to slow members too, is told in the outcome.
pub fn run(options: &SlowOptions) -> Result<Outcome<Slowness>> {
    let SlowOptions { target: aim, measure, connections, rate } = options;
    let plan = Plan { rooms: 1, members_each: *connections, publishers_each: 1 };
    let slow: Range<u32> = connections - connections.div_ceil(SLOW_ONE_OF)..*connections;
    let slow_members = slow.len() as u32;
    let setup = Setup {
        plan,
        payload: measure.payload,
        sources: aim.source_addresses,
        timed_members: 0..slow.start,
        shows_progress: !aim.json,
    };
    let target = Target::new(aim, plan.members())?;
    let receive_buffer = |member| slow.contains(&member).then_some(RECEIVE_BUFFER);
    let mut session = Session::new(&target, aim.wire(), &setup, receive_buffer)?;
    let connecting = session.open()?;
    session.load(Load::Rate(*rate));
    session.play(WARM_UP, |_, _| false)?;
    let server_pss_bytes_at_start = target.pss_bytes()?;
    session.measure(measure.duration, |_, _| false)?;
    session.swarm.slow_down(slow);
    session.measure(measure.duration, |_, _| false)?;
    let slow_behind = session.traffic.missing() / u64::from(slow_members);
    session.swarm.speed_up()?;
    session.drain()?;

    let (earlier, end) = session.close()?;
    let (first, latency_before) = earlier.into_iter().next().context("two phases are measured")?;
    let before = (!latency_before.is_empty()).then(|| Latency::from(&latency_before));
    let own = Slowness {
        rate: *rate,
        slow_members,
        slow_bytes_per_s: SLOW_BYTES_PER_S,
        slow_behind,
        p50_us_before: before.map(|latency| latency.p50_us),
        p99_us_before: before.map(|latency| latency.p99_us),
        p99_ratio: before.map(|before| ratio(Latency::from(&end.latency).p99_us, before.p99_us)),
        server_pss_bytes_at_start,
        server_pss_bytes_at_middle: first.pss_bytes,
        server_pss_bytes_at_end: end.window.pss_bytes,
    };
    Ok(Outcome::new(Figures {
        scenario: "slow",
        target: &target,
        payload: measure.payload,
        connecting,
        end,
        own,
    }))
}

impl Display for Slowness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, slow_members, slow_bytes_per_s, slow_behind, .. } = self;
        write!(
            f,
            "{rate} publishes a second, {slow_members} members read {slow_bytes_per_s} bytes a second and are {slow_behind} behind"
        )?;
        if let Some((before, ratio)) = self.p99_us_before.zip(self.p99_ratio) {
            write!(f, ", p99 of the others {before} µs before, then {ratio} times that")?;
        }
        let memory = [
            self.server_pss_bytes_at_start,
            self.server_pss_bytes_at_middle,
            self.server_pss_bytes_at_end,
        ];
        if let [Some(start), Some(middle), Some(end)] = memory {
            write!(f, ", server memory {start}, {middle}, {end} bytes")?;
        }
        Ok(())
    }
}
