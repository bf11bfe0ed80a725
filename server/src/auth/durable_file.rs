//! A small file of JSON in the data directory that is replaced as a whole.
//!
//! A write makes a new file, syncs it and moves it into place before it returns. So after a crash the file holds what it held before the
//! write or after it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The file, which only the owner of the directory may read.
#[derive(Debug)]
pub(super) struct DurableFile {
    path: PathBuf,
}

impl DurableFile {
    pub(super) fn new(dir: &Path, name: &str) -> Self {
        Self { path: dir.join(name) }
    }

    /// Whether there is one. Blocks.
    pub(super) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Reads the content; the default if there is no file. Blocks.
    pub(super) fn read<T: DeserializeOwned + Default>(&self) -> io::Result<T> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
            Err(error) => Err(error),
        }
    }

    /// Replaces the content. Blocks.
    pub(super) fn write(&self, content: &impl Serialize) -> io::Result<()> {
        let draft = self.path.with_extension("json.new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&serde_json::to_vec_pretty(content)?)?;
        file.sync_all()?;
        fs::rename(&draft, &self.path)?;
        match self.path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    }
}
