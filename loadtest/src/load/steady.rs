//! Steady traffic: members connect, some publish for a while, everybody receives. The scenarios `fanout`, `rooms` and `echo` are this,
//! with other numbers.

use std::fmt::{self, Display};
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::outcome::{Figures, Outcome};
use super::session::{Session, Setup};
use super::target::Target;
use crate::cli::{MeasureOptions, TargetOptions};
use crate::drive::pacer::Load;
use crate::drive::plan::Plan;
use crate::wire::Wire;

/// Not counted, at the start.
pub(crate) const WARM_UP: Duration = Duration::from_secs(1);

/// What to do.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    /// How it is called.
    pub(crate) scenario: &'static str,
    /// Who is where.
    pub(crate) plan: Plan,
    /// How hard to publish.
    pub(crate) load: Load,
    /// Bytes of a payload.
    pub(crate) payload: usize,
    /// Not counted, at the start.
    pub(crate) warm_up: Duration,
    /// How long it is measured.
    pub(crate) duration: Duration,
    /// Over how many addresses the connections are spread.
    pub(crate) sources: u8,
    /// Whether to show how far it is, on a terminal.
    pub(crate) shows_progress: bool,
}

/// What it was.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Shape {
    /// Rooms.
    pub rooms: u32,
    /// Members of each.
    pub members: u32,
    /// Publishers among them.
    pub publishers: u32,
    /// Publishes a second that were asked for, in all.
    pub rate: Option<f64>,
    /// Or publishes that were kept in flight, in each room.
    pub in_flight: Option<u32>,
}

impl Work {
    /// By the command line.
    pub(crate) fn new(
        scenario: &'static str,
        plan: Plan,
        load: Load,
        target: &TargetOptions,
        measure: &MeasureOptions,
    ) -> Self {
        Self {
            scenario,
            plan,
            load,
            payload: measure.payload,
            warm_up: WARM_UP,
            duration: measure.duration,
            sources: target.source_addresses,
            shows_progress: !target.json,
        }
    }

    /// Does it.
    pub(crate) fn run(&self, target: &Target, wire: impl Wire) -> Result<Outcome<Shape>> {
        let setup = Setup {
            plan: self.plan,
            payload: self.payload,
            sources: self.sources,
            timed_members: 0..self.plan.members(),
            shows_progress: self.shows_progress,
        };
        let mut session = Session::new(target, wire, &setup, |_| None)?;
        let connecting = session.open()?;
        session.load(self.load);
        session.play(self.warm_up, |_, _| false)?;
        session.measure(self.duration, |_, _| false)?;
        session.drain()?;
        let (_, end) = session.close()?;
        Ok(Outcome::new(Figures {
            scenario: self.scenario,
            target,
            payload: self.payload,
            connecting,
            end,
            own: Shape::new(self.plan, self.load),
        }))
    }
}

impl Shape {
    fn new(plan: Plan, load: Load) -> Self {
        let (rate, in_flight) = match load {
            Load::Rate(rate) => (Some(rate), None),
            Load::InFlight(count) => (None, Some(count)),
        };
        let Plan { rooms, members_each: members, publishers_each: publishers } = plan;
        Self { rooms, members, publishers, rate, in_flight }
    }
}

impl Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rooms, members, publishers, rate, in_flight } = self;
        write!(f, "{rooms} × {members} members, {publishers} publishing")?;
        if let Some(rate) = rate {
            write!(f, ", {rate} a second in all")?;
        }
        if let Some(in_flight) = in_flight {
            write!(f, ", {in_flight} in flight each")?;
        }
        Ok(())
    }
}
