//! Recordings are read as they are, and damaged ones are refused.

use std::io::Write as _;
use std::time::Duration;

use dormouse_loadtest::replay::trace::{Patch, Trace};
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::NamedTempFile;

fn read(json: &str) -> anyhow::Result<Trace> {
    let file = NamedTempFile::new().unwrap();
    let mut gzip = GzEncoder::new(&file, Compression::fast());
    gzip.write_all(json.as_bytes()).unwrap();
    gzip.finish().unwrap();
    Trace::read(file.path())
}

fn with_second(parents: &str, agent: usize) -> String {
    format!(
        r#"{{"kind":"concurrent","endContent":"né","numAgents":2,"txns":[
            {{"parents":[],"numChildren":1,"agent":0,"time":"2023-11-22T03:57:32+00:00","patches":[[0,0,"n"]]}},
            {{"parents":{parents},"numChildren":0,"agent":{agent},"time":"2023-11-22T03:57:33.250+00:00",
              "patches":[[1,0,"x"],[1,1,"é"]]}}]}}"#
    )
}

#[test]
fn a_recording_is_read_as_it_is() {
    let trace = read(&with_second("[0]", 1)).unwrap();
    assert_eq!((trace.num_agents, trace.end_content.as_str()), (2, "né"));
    let change = trace.change(1);
    assert_eq!((change.i, change.agent, change.parents), (1, 1, vec![0]));
    assert_eq!(change.patches, [Patch(1, 0, "x".to_owned()), Patch(1, 1, "é".to_owned())]);
    assert_eq!(trace.elapsed(1), Duration::from_millis(1250));
    assert_eq!(trace.of_agent(1).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_damaged_recording_is_refused() {
    for (damaged, expected) in [
        (with_second("[1]", 1), "transaction 1 has a later parent"),
        (with_second("[0]", 2), "transaction 1 is by an unknown agent"),
        (r#"{"endContent":"","numAgents":1,"txns":[]}"#.to_owned(), "it holds no transaction"),
        (r#"{"endContent":""}"#.to_owned(), "missing field"),
    ] {
        let error = format!("{:#}", read(&damaged).unwrap_err());
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn our_own_recording_has_what_it_is_for() {
    let trace = crate::duet();
    assert_eq!(trace.num_agents, 2);
    assert!(trace.txns.iter().filter(|txn| txn.parents.len() > 1).count() > 50, "merges");
    assert!(trace.txns.iter().any(|txn| txn.patches.len() > 1), "several patches at once");
    assert!(trace.end_content.contains("👩‍👩‍👧") && trace.end_content.contains("e\u{301}"));
}
