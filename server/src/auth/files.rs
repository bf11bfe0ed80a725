//! Keys in files and variables: read at start, and files again when they change.

use std::env;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::key::{InvalidKey, Key};
use super::keyring::{Keyring, SourceId};
use super::settings::{KeySetting, KeySource};

/// Bytes of a file with a key.
const MAX_BYTES: u64 = 64 << 10;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read {file}")]
    File {
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The environment variable is not there.
    #[error("the environment variable `{0}` is not set")]
    Variable(String),
    /// It holds something else.
    #[error(transparent)]
    Invalid(#[from] InvalidKey),
}

/// A key that may change, as it was when it was read last.
pub(super) struct KeyFile {
    setting: KeySetting,
    source: SourceId,
    bytes: Vec<u8>,
    has_failed: bool,
}

impl KeyFile {
    /// Reads a key into the keyring.
    pub(super) fn open(setting: KeySetting, keyring: &Keyring) -> Result<Self, ReadError> {
        let bytes = read(&setting.source)?;
        let key = Key::read(&setting.id, setting.algorithm, &bytes)?;
        let source = keyring.add_source();
        keyring.set(source, vec![key]);
        Ok(Self { setting, source, bytes, has_failed: false })
    }

    /// Reads it again. A file that is gone, or is no key at present, leaves the key that was read before: it may be being written.
    pub(super) fn reload(&mut self, keyring: &Keyring) {
        let id = &self.setting.id;
        let read = read(&self.setting.source).and_then(|bytes| {
            let is_new = bytes != self.bytes;
            let key = is_new.then(|| Key::read(id, self.setting.algorithm, &bytes)).transpose()?;
            Ok((bytes, key))
        });
        match read {
            Ok((bytes, key)) => {
                if let Some(key) = key {
                    keyring.set(self.source, vec![key]);
                    self.bytes = bytes;
                    tracing::info!(id, "a key of tokens has changed");
                }
                self.has_failed = false;
            }
            Err(error) => {
                if !self.has_failed {
                    tracing::warn!(id, %error, "a key of tokens cannot be read again: the one from before stays");
                }
                self.has_failed = true;
            }
        }
    }
}

fn read(source: &KeySource) -> Result<Vec<u8>, ReadError> {
    match source {
        KeySource::File(path) => read_file(path)
            .map_err(|source| ReadError::File { file: path.display().to_string(), source }),
        KeySource::Variable(name) => {
            env::var(name).map(String::into_bytes).map_err(|_| ReadError::Variable(name.clone()))
        }
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a key has at most 64KiB"));
    }
    Ok(bytes)
}
