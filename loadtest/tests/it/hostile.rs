//! Hostile peers for a moment each: the members receive everything, and the server refuses or closes those whom it should.
//!
//! Needs the program `dormouse` beside `dormouse-loadtest`: `cargo build -p dormouse-server`.

use serde_json::Value;

use crate::bench::{assert_numbers, report};

fn attacked(arguments: &[&str]) -> Value {
    let common =
        ["hostile", "--rooms=3", "--members=4", "--publish-rate=50", "--rounds=1", "--seconds=0.5"];
    let report = report(&[&common, arguments].concat());
    println!("{report}");
    assert_eq!((&report["scenario"], &report["connections"]), (&"hostile".into(), &12.into()));
    for fault in ["lost", "repeated", "reordered", "unknown", "misplaced", "closed_connections"] {
        assert_eq!(report[fault], 0, "{fault}");
    }
    report
}

#[test]
fn every_attack_is_played_and_nobody_else_loses_anything() {
    let report = attacked(&["--attackers=8"]);
    let attacks = report["attacks"].as_array().unwrap();
    assert_eq!(attacks.len(), 15);
    for line in attacks {
        assert_numbers(
            line,
            &[
                "acts_per_s",
                "attack_cpu_percent",
                "quiet_p99_us",
                "attacked_p99_us",
                "ratio",
                "quiet_server_cpu_percent",
                "attacked_server_cpu_percent",
                "server_memory_growth_bytes",
            ],
        );
        assert_eq!(
            line["acts_per_s"].as_f64().unwrap() > 0.0,
            line["attack"] != "nothing",
            "{line}"
        );
    }
    let of = |attack: &str| attacks.iter().find(|line| line["attack"] == attack).unwrap();
    let number = |attack: &str, name: &str| of(attack)[name].as_u64().unwrap();
    assert!(number("connects", "refused") > 0, "the limit was reached");
    assert!(number("claims", "closed") > 0, "the lengths are forged");
    assert!(number("bombs", "closed") > 0, "they are too long once they are inflated");
}

#[test]
fn one_attack_may_be_chosen_and_its_rate() {
    let report = attacked(&["--attack=pings,pongs", "--attackers=2", "--rate=100"]);
    let attacks = report["attacks"].as_array().unwrap();
    assert_eq!(attacks.len(), 2);
    assert!(attacks.iter().all(|line| line["acts_per_s"].as_f64().unwrap() <= 120.0));
}
