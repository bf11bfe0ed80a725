//! What it costs that objects sleep: the time that a publish takes longer where it wakes its object, and the server's memory
//! for objects that are only on disk.

mod outcome;
mod pairs;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::index;

use crate::bench::server::Site;
use crate::bench::visit::visit;
use crate::cli::WakeOptions;
use crate::report::{difference, per};
pub use outcome::Outcome;
use pairs::publish_pairs;

/// At which parts of the objects the memory is read, in percent.
const STEPS: [u64; 3] = [10, 50, 100];
/// Which objects are woken is the same in every run.
const SEED: u64 = 7;

/// Runs the scenario. Fails where not every sample woke its object.
pub fn run(options: &WakeOptions) -> Result<Outcome> {
    let WakeOptions { objects, samples, .. } = *options;
    ensure!(samples <= objects, "--samples can't be above --objects");
    let site = Site::new(&options.server)?;
    let memory = fill(&site, objects)?;

    // Another process has nothing of the objects in memory but what it reads at its start, and keeps them awake between the two
    // publishes of a pair.
    let server = site.start(&[
        ("LIMITS_JOINS", (samples + 1).to_string()),
        ("CLASSES_ROOM_SLEEP_AFTER", "10s".to_owned()),
    ])?;
    eprintln!("waking {samples} objects");
    let mut random = StdRng::seed_from_u64(SEED);
    let chosen = index::sample(&mut random, objects as usize, samples as usize);
    let chosen = chosen.into_iter().map(|nth| nth as u64).collect::<Vec<_>>();
    let before = server.metrics()?;
    let times = publish_pairs(&server.url(), &chosen)?;
    let after = server.metrics()?;

    let [woken_before, woken_after] =
        [&before, &after].map(|metrics| metrics.sum("dormouse_object_wakes_total"));
    let woken = woken_after? - woken_before?;
    ensure!(
        woken == samples,
        "void: {woken} objects woke, not {samples}; the first publish of each pair must wake its object, and the second must not"
    );
    let wake_seconds = after
        .histogram("dormouse_object_wake_seconds")?
        .since(&before.histogram("dormouse_object_wake_seconds")?);
    Ok(Outcome::new(options, &times, &wake_seconds, memory, server.version()))
}

/// Stores the objects, and tells the memory of the server at each step, with all asleep and nobody connected.
fn fill(site: &Site, objects: u64) -> Result<BTreeMap<u64, u64>> {
    let server = site.start(&[("CLASSES_ROOM_SLEEP_AFTER", "200ms".to_owned())])?;
    let mut memory = BTreeMap::new();
    let mut stored = 0;
    for step in STEPS {
        let until = objects * step / 100;
        eprintln!("storing objects up to {until}");
        visit(&server.url(), stored..until)?;
        server.rest(0)?;
        memory.insert(until, server.pss_bytes()?);
        stored = until;
    }
    Ok(memory)
}

/// Bytes by which the memory grew for each object, in the later half.
fn growth(memory: &BTreeMap<u64, u64>) -> f64 {
    let mut steps = memory.iter().rev();
    match (steps.next(), steps.next()) {
        (Some((all, at_all)), Some((half, at_half))) => {
            per(difference(*at_all, *at_half), all - half)
        }
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_that_of_the_last_step() {
        let memory = BTreeMap::from([(10, 1_000), (50, 5_000), (100, 6_000)]);
        assert!((growth(&memory) - 20.0).abs() < 1e-9);
    }
}
