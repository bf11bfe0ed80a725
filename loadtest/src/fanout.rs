//! One room with many members, some of whom publish: what a delivery costs.

use anyhow::Result;

use crate::cli::FanoutOptions;
use crate::drive::plan::Plan;
use crate::load::outcome::Outcome;
use crate::load::steady::{Shape, Work};
use crate::load::target::Target;

/// Publishes in flight in each room, where nothing is told.
const IN_FLIGHT: u32 = 16;

/// Runs the scenario. What was lost, repeated or reordered is told in the outcome.
pub fn run(options: &FanoutOptions) -> Result<Outcome<Shape>> {
    let FanoutOptions { target, traffic, connections, publishers } = options;
    let plan = Plan {
        rooms: 1,
        members_each: *connections,
        publishers_each: *publishers.min(connections),
    };
    let load = traffic.load(IN_FLIGHT);
    let wire = target.wire().delivering(traffic.delivery());
    let work = Work::new("fanout", plan, load, target, &traffic.measure);
    work.run(&Target::new(target, plan.members())?, wire)
}
