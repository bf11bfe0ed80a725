//! The key of the sessions: a file of 32 random bytes in the data directory, which only its owner can read.
//!
//! A copy of the data directory keeps it, so sessions survive a move to another machine.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::KEY_BYTES;

const FILE: &str = "session.key";
/// The key while it is being written.
const DRAFT: &str = "session.key.new";

/// Why there is no session key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("cannot read or create the session key {}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not a key.
    #[error("the session key {} does not have 32 bytes: restore it from a backup, or remove it to end all sessions", .file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
    },
}

/// The key in a data directory. Creates and syncs it where there is none. The caller holds the directory's lock. Blocks.
pub fn read_or_create(dir: &Path) -> Result<[u8; KEY_BYTES], KeyError> {
    let file = dir.join(FILE);
    let failed = |source| KeyError::Io { file: file.clone(), source };
    let mut bytes = Vec::new();
    match File::open(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return create(dir).map_err(failed);
        }
        // One byte more shows that the file is too long.
        Ok(key) => key.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?,
        Err(error) => return Err(failed(error)),
    };
    bytes.try_into().map_err(|_| KeyError::Damaged { file })
}

/// Writes the key beside its place and moves it there, so that a crash leaves no part of a key.
fn create(dir: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let key: [u8; KEY_BYTES] = rand::random();
    let draft = dir.join(DRAFT);
    if draft.try_exists()? {
        fs::remove_file(&draft)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(&key)?;
    file.sync_all()?;
    fs::rename(&draft, dir.join(FILE))?;
    File::open(dir)?.sync_all()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_created_once_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(DRAFT), "of a start that was killed").unwrap();
        let key = read_or_create(dir.path()).unwrap();
        assert_eq!(read_or_create(dir.path()).unwrap(), key);
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(read_or_create(other.path()).unwrap(), key);
    }

    #[test]
    fn a_key_of_another_length_is_refused_and_not_changed() {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [&[][..], &[1; 31], &[1; 33]] {
            fs::write(dir.path().join(FILE), bytes).unwrap();
            let error = read_or_create(dir.path()).unwrap_err();
            assert!(matches!(error, KeyError::Damaged { .. }), "{error}");
            assert_eq!(fs::read(dir.path().join(FILE)).unwrap(), bytes);
        }
    }
}
