//! Connections that are alone in their rooms: the time and cost of the way to the server and back.

use anyhow::Result;

use crate::cli::EchoOptions;
use crate::drive::plan::Plan;
use crate::load::outcome::Outcome;
use crate::load::steady::{Shape, Work};
use crate::load::target::Target;

/// Publishes in flight in each room, where nothing is told.
const IN_FLIGHT: u32 = 1;

/// Runs the scenario. What was lost, repeated or reordered is told in the outcome.
pub fn run(options: &EchoOptions) -> Result<Outcome<Shape>> {
    let EchoOptions { target, traffic, connections } = options;
    let plan = Plan { rooms: *connections, members_each: 1, publishers_each: 1 };
    let load = traffic.load(IN_FLIGHT);
    let wire = target.wire().delivering(traffic.delivery());
    let work = Work::new("echo", plan, load, target, &traffic.measure);
    work.run(&Target::new(target, plan.members())?, wire)
}
