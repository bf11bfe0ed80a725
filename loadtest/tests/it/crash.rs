//! The crash scenario, as a program: a good server passes, and one that has lost its log does not.
//!
//! Needs the program `dormouse` beside `dormouse-loadtest`: `cargo build -p dormouse-server`.

use serde_json::Value;
use tempfile::TempDir;

use crate::bench::{assert_numbers, loadtest, report};

#[test]
fn fifteen_kills_lose_nothing() {
    let report = report(&["crash", "--kills=15", "--seed=5"]);
    println!("{report}");
    assert_eq!((&report["scenario"], &report["seed"]), (&"crash".into(), &5.into()));
    assert_eq!((&report["kills"], &report["data"]), (&15.into(), &Value::Null));
    for name in ["lost", "repeated", "reordered", "altered", "violations"] {
        assert_eq!(report[name], 0, "{name} in {report}");
    }
    for name in ["acknowledged", "duplicates", "retries", "delivered", "resumed", "stored"] {
        assert!(report[name].as_u64().unwrap() > 0, "{name} in {report}");
    }
    assert_numbers(&report, &["stops", "signals", "ready_median_ms", "ready_max_ms"]);
}

#[test]
fn a_lost_log_is_found_and_its_directory_kept() {
    let parent = TempDir::new().unwrap();
    let parent_path = parent.path().to_str().unwrap();
    let output = loadtest(&["crash", "--kills=3", "--lose-log", "--json", "--data", parent_path]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for name in ["lost", "epoch", "reset", "violations"] {
        assert!(report[name].as_u64().unwrap() > 0, "{name} in {report}");
    }
    let kept = report["data"].as_str().unwrap();
    assert!(parent.path().join(kept).join("log").is_dir(), "{report}");

    let text = String::from_utf8_lossy(&output.stderr);
    let told = text.lines().find(|line| line.starts_with("VIOLATION")).unwrap();
    let seed = format!("seed {}", report["seed"]);
    for part in [&*seed, "after kill", "room/", "client "] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(text.contains(kept), "{text}");
}
