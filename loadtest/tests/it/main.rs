//! Tests of the load generator: the recordings, the judgement, and the replay against servers good and bad.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod bench;
mod check;
mod compare;
mod crash;
mod e2e;
mod fake;
mod faulty_server;
mod hostile;
mod load;
mod merge;
mod server;
mod soak;
mod trace;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser as _;
use dormouse_loadtest::cli::{Cli, Command, ReplayOptions};
use dormouse_loadtest::replay::trace::Trace;

/// The small recording that the repository holds.
pub(crate) fn duet_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("traces/duet.json.gz")
}

pub(crate) fn duet() -> Arc<Trace> {
    Arc::new(Trace::read(&duet_path()).unwrap())
}

/// The large recording, which lies beside the repository where it is present.
pub(crate) fn clownschool_path() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/clownschool.json.gz");
    if !path.exists() {
        skipped(&format!("{} is absent", path.display()));
        return None;
    }
    Some(path)
}

/// Tells that a part of the tests does not run here.
pub(crate) fn skipped(why: &str) {
    #[expect(
        clippy::explicit_write,
        reason = "the harness keeps what `eprintln` writes to itself"
    )]
    writeln!(std::io::stderr(), "SKIPPED: {why}").unwrap();
}

/// The options of `dormouse-loadtest replay` with these arguments.
pub(crate) fn options(trace: &Path, url: &str, more: &[&str]) -> ReplayOptions {
    let trace = trace.to_str().unwrap();
    let arguments = ["dormouse-loadtest", "replay", "--trace", trace, "--url", url];
    match Cli::parse_from(arguments.iter().chain(more)).command {
        Command::Replay(options) => options,
        other => panic!("{other:?}"),
    }
}
