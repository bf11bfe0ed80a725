//! The server's own key: a file in the data directory that `dormouse key create` makes.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;

use super::settings::{KeySetting, KeySource};

const FILE: &str = "auth.key";

/// The file in a data directory.
pub fn own_key_file(data: &Path) -> PathBuf {
    data.join(FILE)
}

/// Makes the file, for its owner only; fails where there is one. The key is 64 characters of text, which other programs can use too.
pub fn create_own_key(data: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(data)?;
    let path = own_key_file(data);
    let random: [u8; 48] = rand::random();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(URL_SAFE_NO_PAD.encode(random).as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    Ok(path)
}

/// The setting that it stands for.
pub(super) fn setting(path: PathBuf) -> KeySetting {
    KeySetting { id: "own".into(), algorithm: Algorithm::HS256, source: KeySource::File(path) }
}
