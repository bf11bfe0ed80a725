//! The scenarios that put load on a server, each for a moment and with few members: what they count is exact, and a server that loses
//! or repeats is found out.
//!
//! Needs the program `dormouse` beside `dormouse-loadtest`: `cargo build -p dormouse-server`.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::bench::{assert_numbers, loadtest, report};
use crate::fake::{Fake, Fault};

const FAULTS: [&str; 6] =
    ["lost", "repeated", "reordered", "unknown", "misplaced", "closed_connections"];

/// What every scenario tells, without a fault.
fn assert_exact(report: &Value, scenario: &str, connections: u32) {
    println!("{report}");
    assert_eq!(report["scenario"], scenario);
    assert_eq!(report["system"], "dormouse");
    assert_eq!(report["connections"], connections);
    assert_eq!(report["server_version"], env!("CARGO_PKG_VERSION"));
    for fault in FAULTS {
        assert_eq!(report[fault], 0, "{fault}");
    }
    assert_numbers(
        report,
        &[
            "payload",
            "publishes",
            "deliveries",
            "deliveries_per_s",
            "server_cpu_percent",
            "server_pss_bytes_per_connection",
            "connect_cpu_us_per_connection",
            "connects_per_s",
        ],
    );
}

/// That something was published, and timed.
fn assert_traffic(report: &Value) {
    let number = |name: &str| report[name].as_u64().unwrap_or_default();
    assert!(number("publishes") > 0);
    assert!(number("deliveries") > 0);
    assert!(0 < number("p50_us"));
    assert!(number("p50_us") <= number("p99_us") && number("p99_us") <= number("max_us"));
    assert_numbers(report, &["server_cpu_us_per_delivery"]);
}

#[test]
fn one_room_receives_everything_in_either_encoding_and_as_signals_too() {
    for arguments in [
        &["--publishers=3", "--encoding=msgpack", "--source-addresses=2"][..],
        &["--publishers=2", "--encoding=json", "--in-flight=1"],
        &["--signals", "--encoding=msgpack"],
        &["--signals", "--encoding=json", "--rate=50", "--payload=1000"],
    ] {
        let common = ["fanout", "--connections=20", "--duration=0.3"];
        let report = report(&[&common, arguments].concat());
        assert_exact(&report, "fanout", 20);
        assert_traffic(&report);
    }
}

#[test]
fn many_rooms_receive_everything() {
    let report = report(&["rooms", "--rooms=10", "--members=3", "--rate=200", "--duration=0.5"]);
    assert_exact(&report, "rooms", 30);
    assert_traffic(&report);
    assert_eq!((&report["rooms"], &report["members"]), (&10.into(), &3.into()));
}

#[test]
fn echoes_come_back() {
    let report = report(&["echo", "--connections=8", "--duration=0.3"]);
    assert_exact(&report, "echo", 8);
    assert_traffic(&report);
    assert_eq!((&report["rooms"], &report["in_flight"]), (&8.into(), &1.into()));
}

#[test]
fn echoes_come_back_over_tls() {
    let report = report(&["echo", "--connections=8", "--duration=0.3", "--tls"]);
    assert_exact(&report, "echo", 8);
    assert_traffic(&report);
}

#[test]
fn rosters_are_complete_after_a_storm_of_joins() {
    // More than one page of a roster has.
    let report = report(&["presence", "--connections=600"]);
    assert_exact(&report, "presence", 600);
    assert_numbers(
        &report,
        &["joined_ms", "complete_ms", "messages_per_member", "bytes_per_member"],
    );
}

#[test]
fn members_that_come_back_have_what_they_missed() {
    for encoding in ["--encoding=msgpack", "--encoding=json"] {
        let report = report(&["resume", "--connections=20", "--behind=300", "--live=5", encoding]);
        assert_exact(&report, "resume", 25);
        assert_eq!((&report["resumed"], &report["behind"]), (&20.into(), &300.into()));
        assert!(report["deliveries"].as_u64().unwrap() >= 20 * 300);
        assert_numbers(&report, &["resume_ms", "resumed_events_per_s"]);
    }
}

#[test]
fn slow_members_receive_everything_in_the_end() {
    let report =
        report(&["slow", "--connections=20", "--duration=0.5", "--rate=200", "--payload=2000"]);
    assert_exact(&report, "slow", 20);
    assert_traffic(&report);
    assert_eq!(report["slow_members"], 2);
    assert!(report["slow_behind"].as_u64().unwrap() > 50, "they were slow");
    assert_numbers(
        &report,
        &["p99_us_before", "p99_ratio", "server_pss_bytes_at_start", "server_pss_bytes_at_end"],
    );
}

#[test]
fn a_plot_is_drawn() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("plot.svg");
    let plot = format!("--plot={}", file.display());
    report(&["fanout", "--connections=5", "--duration=0.3", &plot]);
    let drawing = fs::read_to_string(file).unwrap();
    for part in ["<svg", "latency by percentile", "deliveries a second", "<polyline"] {
        assert!(drawing.contains(part), "{part}");
    }
}

/// Runs `fanout` with four members against a server with a fault: some 80 events, or so many that it breaks all connections.
async fn fanout(fault: Fault, rate: &str) -> (bool, Value) {
    let fake = Fake::start(fault).await;
    let arguments = ["fanout", "--connections=4", "--duration=1", "--json", rate, "--url"];
    let arguments = arguments.map(str::to_owned);
    let output = tokio::task::spawn_blocking(move || {
        let arguments = arguments.iter().chain([&fake.url]).map(String::as_str);
        loadtest(&arguments.collect::<Vec<_>>())
    });
    let output = output.await.unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap();
    println!("{report}");
    (output.status.success(), report)
}

#[tokio::test]
async fn a_server_that_keeps_its_promises_passes() {
    let (success, report) = fanout(Fault::None, "--rate=40").await;
    assert!(success);
    assert!(FAULTS.iter().all(|fault| report[fault] == 0));
    for unknown in ["server_cpu_us_per_delivery", "server_pss_bytes_per_connection"] {
        assert!(report[unknown].is_null(), "its process is not known");
    }
}

#[tokio::test]
async fn what_is_lost_or_repeated_is_told_for_every_member() {
    for (fault, name) in [(Fault::Lose(60), "lost"), (Fault::Repeat(60), "repeated")] {
        let (success, report) = fanout(fault, "--rate=40").await;
        assert!(!success);
        assert_eq!(report[name], 4);
        assert!(report["misplaced"].as_u64().unwrap() >= 4, "the offsets show it, too");
    }
}

#[tokio::test]
async fn connections_that_are_cut_are_told() {
    let (success, report) = fanout(Fault::None, "--rate=200").await;
    assert!(!success);
    assert_eq!(report["closed_connections"], 4);
}
