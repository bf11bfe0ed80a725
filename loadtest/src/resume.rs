//! Many members lose their connections at once, miss many events, and come back at once: how fast they have them, and what those feel
//! who stayed.

use std::fmt::{self, Display};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use crate::cli::ResumeOptions;
use crate::drive::pacer::{ClosedLoop, Load, Pacer};
use crate::drive::plan::Plan;
use crate::load::outcome::{Figures, Outcome};
use crate::load::session::{Session, Setup};
use crate::load::steady::WARM_UP;
use crate::load::target::Target;
use crate::report::per_second;

/// Publishes a second to those who stay.
const LIVE_RATE: f64 = 20.0;
/// Publishes in flight while the others are away.
const IN_FLIGHT: u32 = 64;
/// How long anything may take: joining, publishing, catching up.
const PATIENCE: Duration = Duration::from_mins(2);

/// What the scenario adds. The common figures are those of the time in which members came back, and the latencies those of the members
/// who stayed.
#[derive(Debug, Clone, Serialize)]
pub struct Resumption {
    /// Members that came back.
    pub resumed: u32,
    /// Events that each of them had missed.
    pub behind: u32,
    /// Members that stayed.
    pub live: u32,
    /// From the first connection until the last one was live again.
    pub resume_ms: f64,
    /// The missed events of all, divided by that time.
    pub resumed_events_per_s: f64,
}

/// Runs the scenario. What was lost, repeated or reordered is told in the outcome.
pub fn run(options: &ResumeOptions) -> Result<Outcome<Resumption>> {
    let ResumeOptions { target: aim, connections, behind, live, payload } = options;
    let members = connections.checked_add(*live).context("so many members are not to be had")?;
    let plan = Plan { rooms: 1, members_each: members, publishers_each: 1 };
    let setup = Setup {
        plan,
        payload: *payload,
        sources: aim.source_addresses,
        timed_members: 0..*live,
        shows_progress: !aim.json,
    };
    let target = Target::new(aim, members)?;
    let mut session = Session::new(&target, aim.wire(), &setup, |_| None)?;
    let connecting = session.open()?;
    let are_live = session.play(PATIENCE, |_, traffic| traffic.caught_up() == members)?;
    ensure!(are_live, "members joined and were not told that they are live");
    session.load(Load::Rate(LIVE_RATE));
    session.play(WARM_UP, |_, _| false)?;
    // What is on its way to a connection that is cut would be received when it resumes: nothing, to have as many behind as was asked for.
    session.drain()?;

    for member in *live..members {
        session.swarm.cut(member);
    }
    let closed = ClosedLoop::new(plan, IN_FLIGHT, session.traffic.published());
    session.pace(Pacer::Closed(closed.without(0, *connections).at_most(*behind)));
    let missing = u64::from(*behind) * u64::from(*connections);
    let publishes = session.traffic.publishes() + u64::from(*behind);
    let are_published = session.play(PATIENCE, |_, traffic| {
        traffic.publishes() == publishes && traffic.missing() == missing
    })?;
    ensure!(are_published, "the server is too slow to publish {behind} events");

    for member in *live..members {
        session.swarm.admit(member);
    }
    session.load(Load::Rate(LIVE_RATE));
    let all = members + connections;
    let are_live = session.measure(PATIENCE, |_, traffic| {
        traffic.caught_up() == all || traffic.closed_connections() > 0
    })?;
    session.drain()?;

    let (_, end) = session.close()?;
    ensure!(are_live, "members resumed and never were live again");
    let own = Resumption {
        resumed: *connections,
        behind: *behind,
        live: *live,
        resume_ms: (end.window.took.as_secs_f64() * 1e6).round() / 1000.0,
        resumed_events_per_s: per_second(missing, end.window.took).round(),
    };
    Ok(Outcome::new(Figures {
        scenario: "resume",
        target: &target,
        payload: *payload,
        connecting,
        end,
        own,
    }))
}

impl Display for Resumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resumed, behind, live, resume_ms, resumed_events_per_s } = self;
        write!(
            f,
            "{resumed} members came back, {behind} events behind, in {resume_ms} ms: {resumed_events_per_s} events a second, \
             while {live} stayed"
        )
    }
}
