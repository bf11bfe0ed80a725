//! The soak for a few seconds: trends mean nothing then, but every delivery is checked, and nothing may be left over.
//!
//! Needs the program `dormouse` beside `dormouse-loadtest`: `cargo build -p dormouse-server`.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::bench::{assert_numbers, loadtest, report};

#[test]
fn everything_at_once_is_exact_and_leaves_nothing_behind() {
    let drawing = TempDir::new().unwrap();
    let file = drawing.path().join("soak.svg");
    let plot = format!("--plot={}", file.display());
    let report = report(&[
        "soak",
        "--minutes=0.13",
        "--objects=80",
        "--long-lived=6",
        "--rate=500",
        "--visitors=20",
        "--slow=2",
        "--malformed=6",
        "--reads=10",
        &plot,
    ]);
    println!("{report:#}");
    assert_eq!(report["scenario"], "soak");
    for fault in ["lost", "repeated", "reordered", "altered", "misplaced", "wrong_resets"] {
        assert_eq!(report[fault], 0, "{fault}");
    }
    assert_eq!(report["described_faults"], Value::Array(Vec::new()));
    assert_eq!(report["left_over"], Value::Array(Vec::new()));
    // What was to be mixed was mixed.
    for happened in [
        "deliveries",
        "publishes",
        "connects",
        "resumes",
        "signals",
        "presence_changes",
        "reads",
        "malformed_clients",
        "wakes",
        "trimmed_events",
    ] {
        assert!(report[happened].as_u64().unwrap() > 0, "{happened}");
    }
    assert_numbers(&report, &["minutes", "resets", "presence_returns", "fell_behind"]);
    let series = report["series"].as_array().unwrap();
    let named = |name: &str| series.iter().find(|series| series["name"] == name).unwrap();
    for name in ["pss_bytes", "open_others", "tasks", "instances", "connections", "data_files"] {
        assert_numbers(named(name), &["before", "start", "end", "per_hour"]);
        assert_eq!(named(name)["verdict"], "too short to tell");
    }
    let drawing = fs::read_to_string(file).unwrap();
    assert!(drawing.starts_with("<svg") && drawing.contains("memory (PSS), MiB"), "{drawing}");
}

#[test]
fn a_server_that_runs_needs_its_process() {
    let output = loadtest(&["soak", "--url", "ws://127.0.0.1:1"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(errors.contains("--pid"), "{errors}");
}
