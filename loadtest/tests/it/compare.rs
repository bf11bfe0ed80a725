//! The comparison at a tiny size, as a program: that every system is started, spoken to and ended, and what is told of it.
//!
//! Needs the program `dormouse` beside `dormouse-loadtest`: `cargo build -p dormouse-server`. Systems that are not installed are
//! skipped.

use std::path::Path;
use std::process::{Command, Output};
use std::thread::available_parallelism;

use serde_json::Value;

use crate::skipped;

fn compare(peers: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dormouse-loadtest"))
        .args(["compare", "--rounds=1", "--seconds=0.2", "--divide=50", "--json", "--peers"])
        .arg(peers)
        .args(arguments)
        .output()
        .unwrap()
}

fn peers() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/peers"))
}

/// Server and generator have a core each.
fn has_cores() -> bool {
    let has = available_parallelism().unwrap().get() > 1;
    if !has {
        skipped("a comparison needs two cores");
    }
    has
}

/// Runs systems at each kind of row. What is told of those that are installed is exact.
fn assert_exact(systems: &[&str]) {
    let list = format!("--systems={}", systems.join(","));
    let output = compare(peers(), &[&list, "--only=fanout,rooms,echo,connect"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let absent = report["skipped"].as_array().unwrap();
    for text in absent {
        skipped(text.as_str().unwrap());
    }
    let table = report["table"].as_array().unwrap();
    assert_eq!(table.len(), (systems.len() - absent.len()) * 4, "{report}");
    for line in table {
        let median = &line["median"];
        assert!(line["failure"].is_null(), "{line}");
        assert_eq!(median["lost"], 0.0, "{line}");
        assert_eq!((&median["misdelivered"], &median["closed"]), (&0.into(), &0.into()), "{line}");
        for figure in ["cpu_us", "per_s"] {
            assert!(median[figure].as_f64().unwrap() > 0.0, "{figure} in {line}");
        }
    }
}

#[test]
fn dormouse_and_bun_are_compared() {
    if has_cores() {
        assert_exact(&["dormouse", "bun"]);
    }
}

#[test]
fn nats_nchan_and_socket_io_are_spoken_to() {
    // One system that is always there, since without any there is nothing to tell.
    if has_cores() {
        assert_exact(&["dormouse", "nats", "nchan", "socket-io"]);
    }
}

#[test]
fn a_missing_system_is_skipped_with_the_remedy() {
    if !has_cores() {
        return;
    }
    let output = compare(Path::new("/nowhere"), &["--systems=dormouse,bun", "--only=connect"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("Bun is skipped") && errors.contains("npm --prefix"), "{errors}");
    let output = compare(Path::new("/nowhere"), &["--systems=bun"]);
    assert_eq!(output.status.code(), Some(1), "nothing is left");
}
