//! The file that names the version of the whole database.

use std::fs;
use std::path::Path;

use super::Trouble;

/// The first bytes of the version file, and the first three of the four bytes that end each batch in a journal.
pub(super) const MAGIC: [u8; 3] = *b"FJL";

/// The version of the database's format that this program knows.
pub(super) const KNOWN: u8 = 3;

pub(super) fn check(database: &Path) -> Result<(), Trouble> {
    let file = database.join("version");
    let marker = fs::read(&file)?;
    match marker.strip_prefix(&MAGIC).and_then(<[u8]>::first) {
        Some(&KNOWN) => Ok(()),
        Some(&found) => Err(Trouble::Version { file, found, known: KNOWN }),
        None => {
            let what = "it does not name the version of the database".into();
            Err(Trouble::Damage { file, what })
        }
    }
}
