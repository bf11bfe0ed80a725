//! Checks the database's files before the database opens them. The database does not notice some kinds of damage, or does not
//! report them, and then goes on with less data than it had.
//!
//! Knows how fjall 3.1 lays out these files, and nothing about what they store. Files of another version are never changed.

mod journal;
mod manifest;
mod version;

use std::io;
use std::path::{Path, PathBuf};

/// Why the files can't be used.
#[derive(Debug)]
pub(super) enum Trouble {
    Io(io::Error),
    /// A file has a format that this program does not know.
    Version {
        file: PathBuf,
        found: u8,
        known: u8,
    },
    /// A file has lost data, or holds something that no known version writes.
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

/// Checks versions first, then that everything synced is present; then cuts off a batch that a power loss left incomplete.
/// Changes nothing where it fails. Blocks.
pub(super) fn settle(database: &Path) -> Result<(), Trouble> {
    version::check(database)?;
    manifest::check(database)?;
    journal::settle(database)
}
