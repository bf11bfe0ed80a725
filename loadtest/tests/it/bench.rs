//! The benchmark scenarios at a tiny size, as programs: their figures mean nothing here, but that they are there.
//!
//! Needs the program `dormouse` beside `dormouse-loadtest`: `cargo build -p dormouse-server`.

use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) fn loadtest(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dormouse-loadtest")).args(arguments).output().unwrap()
}

/// Runs a scenario, which must leave nothing behind, and gives its report.
pub(crate) fn report(arguments: &[&str]) -> Value {
    let data = TempDir::new().unwrap();
    let data_path = data.path().to_str().unwrap();
    let output = loadtest(&[arguments, &["--json", "--data", data_path]].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_eq!(data.path().read_dir().unwrap().count(), 0, "the log is removed");
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) fn assert_numbers(report: &Value, names: &[&str]) {
    for name in names {
        assert!(report[name].is_number(), "{name} in {report}");
    }
}

#[test]
fn idle_connections_are_held_and_measured() {
    let report =
        report(&["idle", "--connections=50", "--rooms=10", "--presence-bytes=32", "--seconds=1"]);
    println!("{report}");
    assert_eq!(report["scenario"], "idle");
    assert_eq!(report["connections"], 50);
    assert_eq!(report["rooms"], 10);
    assert_eq!(report["presence_bytes"], 32);
    assert_eq!(report["unexpected_closes"], 0);
    assert_eq!(report["server_version"], env!("CARGO_PKG_VERSION"));
    assert!(report.get("kernel_bytes_per_connection").is_some());
    assert_numbers(
        &report,
        &[
            "server_pss_bytes_per_connection",
            "server_cpu_percent",
            "connect_cpu_us_per_connection",
            "connects_per_s",
            "pings_sent",
        ],
    );
}

#[test]
fn sleeping_objects_are_woken_and_measured() {
    let report = report(&["wake", "--objects=100", "--samples=20"]);
    println!("{report}");
    assert_eq!(report["scenario"], "wake");
    assert_eq!(report["objects"], 100);
    assert_eq!(report["samples"], 20);
    let memory = report["server_pss_bytes_at"].as_object().unwrap();
    for count in ["10", "50", "100"] {
        assert!(memory[count].as_u64().unwrap() > 0);
    }
    for name in ["asleep_p50_us", "asleep_p99_us", "awake_p50_us", "awake_p99_us"] {
        assert!(report[name].as_f64().unwrap() > 0.0, "{name} in {report}");
    }
    assert_numbers(
        &report,
        &[
            "wake_added_p50_us",
            "wake_added_p99_us",
            "server_wake_p50_us",
            "server_wake_p99_us",
            "server_pss_growth_bytes_per_object",
        ],
    );
}

#[test]
fn a_missing_server_is_named_with_the_remedy() {
    let output = loadtest(&["wake", "--server", "/nowhere/dormouse"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("/nowhere/dormouse") && errors.contains("cargo build"), "{errors}");
}
