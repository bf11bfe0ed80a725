//! The randomized test: whatever clients do and whatever goes wrong, by chance from a seed, promises 1 to 8 hold in what each
//! client saw.
//!
//! A seed makes a plan (`plan.rs`), the plan is played (`world.rs`, `actor.rs` with its `client_state.rs` and `link.rs`) and leaves a
//! history (`history.rs`), which is judged afterwards (`check/`). `SIM_SEEDS=1000..3000` plays these seeds instead of the usual
//! ones; every 20th is big.

mod actor;
mod check;
mod client_state;
mod history;
mod link;
mod plan;
mod tally;
mod world;

use std::ops::Range;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::timeout;

use plan::Plan;
use tally::Tally;

/// The seeds that are always played, and how many new ones are.
const USUAL: Range<u64> = 0..30;
const FRESH: u64 = 10;
/// Of the failures that are shown.
const SHOWN: usize = 10;
/// No seed takes this long unless something hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// Plays a seed; what was wrong.
async fn play(seed: u64) -> Result<Tally, Vec<String>> {
    let plan = if seed % 20 == 19 { Plan::big(seed) } else { Plan::small(seed) };
    assert_eq!(plan.seed, seed);
    let played = tokio::spawn(async move {
        let (history, tally) = world::play(plan).await;
        (check::check(&history), tally)
    });
    let abort = played.abort_handle();
    match timeout(PATIENCE, played).await {
        Ok(Ok((wrong, tally))) if wrong.is_empty() => Ok(tally),
        Ok(Ok((wrong, _))) => Err(wrong),
        Ok(Err(panic)) => {
            let panic = panic.into_panic();
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(vec![format!("panicked: {}", text.unwrap_or_default())])
        }
        Err(_) => {
            abort.abort();
            Err(vec!["it hangs".to_owned()])
        }
    }
}

/// The seeds that are asked for, or the usual ones and new ones.
fn seeds() -> Vec<u64> {
    let Ok(asked) = std::env::var("SIM_SEEDS") else {
        let fresh = (0..FRESH).map(|_| u64::from(rand::random::<u32>()));
        return USUAL.chain(fresh).collect();
    };
    let seed = |text: &str| {
        text.parse().expect("SIM_SEEDS is a seed, or the first..the one after the last")
    };
    match asked.split_once("..") {
        Some((first, end)) => (seed(first)..seed(end)).collect(),
        None => vec![seed(&asked)],
    }
}

/// Promises 1 to 8.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_the_promises_hold() {
    let (began, seeds) = (Instant::now(), seeds());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let count = seeds.len();
    let played = stream::iter(seeds).map(|seed| async move { (seed, play(seed).await) });
    let mut played = played.buffer_unordered(4 * cores);
    let (mut tally, mut failed) = (Tally::default(), Vec::new());
    while let Some((seed, outcome)) = played.next().await {
        match outcome {
            Ok(more) => tally.add(&more),
            Err(wrong) => {
                eprintln!("SIM_SEEDS={seed} fails in {} ways:", wrong.len());
                wrong.iter().take(SHOWN).for_each(|what| eprintln!("    {what}"));
                failed.push(seed);
            }
        }
    }
    eprintln!("{count} seeds in {:.1?}", began.elapsed());
    tally.all().for_each(|(name, count)| eprintln!("{count:>10} {name}"));
    assert!(failed.is_empty(), "the promises are broken with the seeds {failed:?}");
    if count >= USUAL.count() {
        let never: Vec<_> = tally.all().filter(|(_, count)| *count == 0).collect();
        assert!(never.is_empty(), "it never happened, so nothing was tested: {never:?}");
    }
}
