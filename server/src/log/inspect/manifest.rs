//! The manifests, which name the tables of each keyspace. The database has a checksum of the current one and does not look at
//! it; and it removes the tables that a damaged one does not name.

use std::fs;
use std::io;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use super::Trouble;

/// Compares the manifests with their checksums.
pub(super) fn check(database: &Path) -> Result<(), Trouble> {
    let keyspaces = match fs::read_dir(database.join("keyspaces")) {
        // This is no database.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        keyspaces => keyspaces?,
    };
    for keyspace in keyspaces {
        let keyspace = keyspace?.path();
        let pointer = keyspace.join("current");
        let current = match fs::read(&pointer) {
            // It was being made when the program was killed, and nothing is in it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            current => current?,
        };
        let Some((number, checksum)) = parse(&current) else {
            return Err(Trouble::Damage { file: pointer, what: "it is too short".into() });
        };
        let file = keyspace.join(format!("v{number}"));
        match fs::read(&file) {
            Ok(manifest) if xxh3_128(&manifest) == checksum => {}
            Ok(_) => {
                let what = format!("it is not what {} says", pointer.display());
                return Err(Trouble::Damage { file, what });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Trouble::Damage { file: pointer, what: "it names no manifest".into() });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The number of the manifest, and its checksum.
fn parse(current: &[u8]) -> Option<(u64, u128)> {
    let (number, rest) = current.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), u128::from_le_bytes(*rest.first_chunk()?)))
}
