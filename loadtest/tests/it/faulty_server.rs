//! The replay against a server that breaks connections, and against servers that break promises.

use std::process::Command;
use std::sync::Arc;

use crate::fake::{BREAK_EVERY, Fake, Fault};
use dormouse_loadtest::replay::outcome::Outcome;
use dormouse_loadtest::replay::{self, Progress};

async fn play(fault: Fault) -> Outcome {
    let fake = Fake::start(fault).await;
    let options = crate::options(&crate::duet_path(), &fake.url, &["--patience", "2"]);
    replay::run(&options, crate::duet(), Arc::new(Progress::default())).await.unwrap()
}

#[tokio::test]
async fn broken_connections_change_nothing() {
    let outcome = play(Fault::None).await;
    assert!(outcome.is_exact(), "{outcome}");
    assert!(outcome.counts.content_matches);
    assert_eq!(outcome.deliveries, outcome.transactions * outcome.members, "{outcome}");
    let breaks = outcome.transactions / BREAK_EVERY;
    assert!(outcome.reconnects >= breaks * 2, "both agents, at each break: {outcome}");
    assert!(outcome.duplicates >= breaks, "one acknowledgement was lost at each break: {outcome}");
    assert_eq!(outcome.resets, 0);
}

#[tokio::test]
async fn a_lost_event_is_found() {
    // The last one: an agent that waits for an earlier one would publish no more.
    let outcome = play(Fault::Lose(1200)).await;
    assert!(!outcome.is_exact());
    assert_eq!(outcome.counts.lost, outcome.members, "{outcome}");
    assert_eq!((outcome.counts.repeated, outcome.counts.reordered), (0, 0), "{outcome}");
}

#[tokio::test]
async fn a_repeated_event_is_found() {
    let outcome = play(Fault::Repeat(700)).await;
    assert_eq!(outcome.counts.repeated, outcome.members, "{outcome}");
    assert_eq!(outcome.counts.lost, 0, "{outcome}");
}

#[tokio::test]
async fn an_event_that_is_stored_again_is_found() {
    let outcome = play(Fault::ForgetKeys).await;
    assert!(outcome.counts.repeated >= outcome.members, "{outcome}");
    assert!(!outcome.is_exact());
}

#[tokio::test]
async fn swapped_events_are_found() {
    // A member that joins late receives it in a whole page, so that there is a next one to swap with.
    let outcome = play(Fault::Swap(701)).await;
    assert!(outcome.counts.gaps > 0, "{outcome}");
    assert!(!outcome.is_exact());
}

#[tokio::test]
async fn a_head_behind_what_was_acknowledged_is_found() {
    let outcome = play(Fault::StaleHead).await;
    assert_eq!(outcome.faults, 1, "{outcome}");
    assert!(outcome.counts.content_matches, "nothing else is wrong: {outcome}");
}

/// Runs the program; its exit status and what it wrote to standard output.
async fn run_program(fault: Fault) -> (bool, serde_json::Value) {
    let fake = Fake::start(fault).await;
    let output = tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_dormouse-loadtest"))
            .args(["replay", "--json", "--observers", "1", "--url", &fake.url, "--trace"])
            .arg(crate::duet_path())
            .output()
            .unwrap()
    });
    let output = output.await.unwrap();
    (output.status.success(), serde_json::from_slice(&output.stdout).unwrap())
}

#[tokio::test]
async fn the_program_tells_it_by_its_exit_status() {
    let (success, report) = run_program(Fault::None).await;
    assert!(success, "{report}");
    assert_eq!((&report["scenario"], &report["repeated"]), (&"replay".into(), &0.into()));

    let (success, report) = run_program(Fault::Repeat(700)).await;
    assert!(!success, "{report}");
    assert_eq!(report["repeated"], report["members"]);
}
