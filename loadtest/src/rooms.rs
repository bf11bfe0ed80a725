//! Many small rooms, each with one member that publishes.

use anyhow::{Context as _, Result};

use crate::cli::RoomsOptions;
use crate::drive::plan::Plan;
use crate::load::outcome::Outcome;
use crate::load::steady::{Shape, Work};
use crate::load::target::Target;

/// Publishes in flight in each room, where nothing is told.
const IN_FLIGHT: u32 = 16;

/// Runs the scenario. What was lost, repeated or reordered is told in the outcome.
pub fn run(options: &RoomsOptions) -> Result<Outcome<Shape>> {
    let RoomsOptions { target, traffic, rooms, members } = options;
    rooms.checked_mul(*members).context("so many members are not to be had")?;
    let plan = Plan { rooms: *rooms, members_each: *members, publishers_each: 1 };
    let load = traffic.load(IN_FLIGHT);
    let wire = target.wire().delivering(traffic.delivery());
    let work = Work::new("rooms", plan, load, target, &traffic.measure);
    work.run(&Target::new(target, plan.members())?, wire)
}
