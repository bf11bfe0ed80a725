//! The replay through the real server, which is killed and restarted meanwhile.
//!
//! Needs the program `dormouse` beside the tests: `cargo build -p dormouse-server`.

use std::path::Path;
use std::sync::Arc;

use crate::server::Server;
use dormouse_loadtest::replay::outcome::Outcome;
use dormouse_loadtest::replay::trace::Trace;
use dormouse_loadtest::replay::{self, Progress};

/// Plays a recording; the server is killed and restarted when so many quarters of it are acknowledged.
async fn play(path: &Path, quarters: &[u64]) -> Outcome {
    let mut server = Server::start();
    let trace = Arc::new(Trace::read(path).unwrap());
    let count = trace.txns.len() as u64;
    let progress = Arc::new(Progress::default());
    let mut acknowledged = progress.acknowledged();
    let options = crate::options(path, &server.url(), &[]);
    let kills = async {
        for quarter in quarters {
            acknowledged.wait_for(|n| *n >= count * quarter / 4).await.unwrap();
            server = tokio::task::spawn_blocking(|| server.killed_and_restarted()).await.unwrap();
        }
        server
    };
    let (outcome, _server) = tokio::join!(replay::run(&options, trace, progress), kills);
    outcome.unwrap()
}

fn assert_exact(outcome: &Outcome) {
    println!("{outcome}");
    assert!(outcome.is_exact(), "{outcome}");
    assert!(outcome.counts.content_matches);
    assert_eq!(
        (outcome.counts.lost, outcome.counts.repeated, outcome.counts.reordered, outcome.resets),
        (0, 0, 0, 0)
    );
    assert_eq!(outcome.deliveries, outcome.transactions * outcome.members);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_arrives_as_it_is() {
    let outcome = play(&crate::duet_path(), &[]).await;
    assert_exact(&outcome);
    assert_eq!((outcome.retries, outcome.duplicates), (0, 0), "{outcome}");
    assert!(outcome.resumed > 0, "the cut observers resume: {outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_kills_change_nothing() {
    let outcome = play(&crate::duet_path(), &[1, 2, 3]).await;
    assert_exact(&outcome);
    assert!(outcome.reconnects >= 3 * 2, "both agents, after each kill: {outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_kills_change_nothing_in_a_large_recording() {
    let Some(path) = crate::clownschool_path() else { return };
    let outcome = play(&path, &[1, 2, 3]).await;
    assert_exact(&outcome);
    assert!(outcome.reconnects >= 3 * 3, "all agents, after each kill: {outcome}");
}
