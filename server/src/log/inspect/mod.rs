//! A look at the database's files before the database opens them. It would not see, or not say, what is wrong with some of them,
//! and go on with less than it had.
//!
//! Knows how fjall 3 lays out these files (it looks itself whether they are of its version), and nothing of what is stored in them.

mod journal;
mod manifest;

use std::io;
use std::path::{Path, PathBuf};

/// Why the files can't be used.
#[derive(Debug)]
pub(super) enum Trouble {
    Io(io::Error),
    /// A file has lost what it had.
    Damage {
        file: PathBuf,
        what: String,
    },
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Makes sure that all is there that was synced, and cuts off what a power loss has left half written. Blocks.
pub(super) fn settle(database: &Path) -> Result<(), Trouble> {
    manifest::check(database)?;
    journal::settle(database)
}
