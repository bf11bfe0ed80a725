//! The rows of the table: the same work for every system.

use std::num::NonZero;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use super::table::Run;
use crate::drive::pacer::Load;
use crate::drive::plan::Plan;
use crate::load::session::{Session, Setup};
use crate::load::steady::Work;
use crate::load::target::Target;
use crate::report::thousands;
use crate::wire::Wire;

/// Bytes of a payload.
pub(super) const PAYLOAD: usize = 128;
/// Not counted, at the start; less where less is measured.
const WARM_UP: Duration = Duration::from_secs(1);

/// A row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Row {
    /// One room of 1,000 members, with 16 publishes in flight.
    Fanout,
    /// The same, with one in flight: nothing to send together.
    Unbatched,
    /// The same, with 20 publishes a second.
    Paced,
    /// 1,000 rooms of 10 members, each of whom publishes once a second.
    Rooms,
    /// 64 connections that wait for what they sent to come back.
    Echo,
    /// 5,000 connections that join 500 rooms.
    Connect,
}

/// How large a row is, and how long it takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    /// Members, rooms and connections are divided by this.
    pub(super) divide: NonZero<u32>,
    /// How long it is measured.
    pub(super) duration: Duration,
}

impl Row {
    /// How `--only` names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fanout => "fanout",
            Self::Unbatched => "unbatched",
            Self::Paced => "paced",
            Self::Rooms => "rooms",
            Self::Echo => "echo",
            Self::Connect => "connect",
        }
    }

    /// For people.
    pub(super) fn title(self, scale: Scale) -> String {
        let Plan { rooms, members_each, .. } = self.plan(scale);
        let room = format!("1 room × {} members", thousands(members_each.into()));
        let rooms = thousands(rooms.into());
        match self {
            Self::Fanout => format!("fan-out, {room}, 16 in flight"),
            Self::Unbatched => format!("fan-out, {room}, 1 in flight"),
            Self::Paced => format!("fan-out, {room}, 20 publishes/s"),
            Self::Rooms => format!("{rooms} rooms × {members_each} members, each 1 publish/s"),
            Self::Echo => format!("echo, {rooms} connections, 1 in flight each"),
            Self::Connect => format!("connect and join, {rooms} rooms × {members_each} members"),
        }
    }

    /// Connections that it takes.
    pub(super) fn connections(self, scale: Scale) -> u32 {
        self.plan(scale).members()
    }

    fn plan(self, scale: Scale) -> Plan {
        let scaled = |count: u32| (count / scale.divide).max(1);
        let (rooms, members_each, publishers_each) = match self {
            Self::Fanout | Self::Unbatched | Self::Paced => (1, scaled(1_000), 1),
            Self::Rooms => (scaled(1_000), 10, 10),
            Self::Echo => (scaled(64), 1, 1),
            Self::Connect => (scaled(500), 10, 1),
        };
        Plan { rooms, members_each, publishers_each }
    }

    /// None where nothing is published.
    fn load(self, plan: Plan) -> Option<Load> {
        match self {
            Self::Fanout => Some(Load::InFlight(16)),
            Self::Unbatched | Self::Echo => Some(Load::InFlight(1)),
            Self::Paced => Some(Load::Rate(20.0)),
            Self::Rooms => Some(Load::Rate(plan.publishers().into())),
            Self::Connect => None,
        }
    }

    /// Does it once.
    pub(super) fn run(self, scale: Scale, target: &Target, wire: impl Wire) -> Result<Run> {
        let plan = self.plan(scale);
        let Some(load) = self.load(plan) else { return connect(plan, target, wire) };
        let work = Work {
            scenario: self.name(),
            plan,
            load,
            payload: PAYLOAD,
            warm_up: WARM_UP.min(scale.duration),
            duration: scale.duration,
            sources: 1,
            shows_progress: false,
        };
        Ok(Run::from(&work.run(target, wire)?))
    }
}

fn connect(plan: Plan, target: &Target, wire: impl Wire) -> Result<Run> {
    let setup =
        Setup { plan, payload: PAYLOAD, sources: 1, timed_members: 0..0, shows_progress: false };
    let connecting = Session::new(target, wire, &setup, |_| None)?.open()?;
    let connections = f64::from(connecting.connections);
    Ok(Run {
        cpu_us: connecting.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / connections),
        per_s: Some(connections / connecting.took.as_secs_f64()),
        ..Run::default()
    })
}
