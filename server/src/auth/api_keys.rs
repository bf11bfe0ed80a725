//! API keys: what back ends present instead of a token of a user. A key has a name and grants, and lasts until it is revoked.
//!
//! Owns the list in memory and its file in the data directory, which holds hashes and no keys.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::durable_file::DurableFile;
use super::grant::{Grant, MAX_GRANTS};

/// The most keys.
pub const MAX_API_KEYS: usize = 1_000;
/// Bytes of a name.
const MAX_NAME_BYTES: usize = 64;
/// The prefix of all keys. It distinguishes keys from tokens, and tools that search for leaked secrets can find it.
const PREFIX: &str = "dormouse_key_";
/// The random bytes of a key: too many to guess, so that a plain hash is enough.
const SECRET_BYTES: usize = 32;

const FILE: &str = "api_keys.json";

type Hash = [u8; 32];

/// A key, without the key itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyInfo {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub grants: Vec<Grant>,
    /// When it was made, in seconds since the Unix epoch.
    pub created: u64,
    /// When it was presented last, likewise; on disk this may be a minute late.
    pub last_used: Option<u64>,
}

/// A key as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    info: ApiKeyInfo,
    /// The SHA-256 of the key, in base64url.
    hash: String,
}

/// Why a key cannot be made or revoked.
#[derive(Debug, thiserror::Error)]
pub enum ApiKeyError {
    /// The name is not one.
    #[error("an API key's name has 1-64 bytes of letters, digits, `-`, `_` and `.`")]
    Name,
    /// Another key has it.
    #[error("there is an API key of this name: revoke it first, or choose another name")]
    Taken,
    /// There are too many grants.
    #[error("an API key has 1-{MAX_GRANTS} grants")]
    Grants,
    /// There are too many keys.
    #[error("there are {MAX_API_KEYS} API keys already: revoke unused keys")]
    Full,
    /// The file cannot be written.
    #[error("the API keys cannot be written to the data directory")]
    Io(#[from] io::Error),
}

/// A key that can be presented.
pub(super) struct ApiKey {
    name: Box<str>,
    hash: Hash,
    grants: Vec<Grant>,
    created: u64,
    /// 0 for never.
    last_used: AtomicU64,
    is_revoked: AtomicBool,
}

/// All keys.
#[derive(Debug)]
pub(super) struct ApiKeys {
    file: DurableFile,
    keys: RwLock<HashMap<Hash, Arc<ApiKey>>>,
    /// Held while the file is written.
    writing: Mutex<Writing>,
}

#[derive(Debug, Default)]
struct Writing {
    /// The last use that is on disk, of all keys.
    last_used: u64,
    /// The directory may belong to another server by now.
    has_ended: bool,
}

/// The file in a data directory.
pub(super) fn file(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// Whether a text is meant as an API key.
pub(super) fn is_api_key(text: &str) -> bool {
    text.starts_with(PREFIX)
}

impl ApiKeys {
    /// Reads the file; without one there are no keys. Blocks.
    pub(super) fn read(dir: &Path) -> io::Result<Self> {
        let file = DurableFile::new(dir, FILE);
        let stored: Vec<Stored> = file.read()?;
        let keys: HashMap<_, _> = stored
            .into_iter()
            .map(|stored| {
                let key = ApiKey::from_stored(stored)?;
                Some((key.hash, Arc::new(key)))
            })
            .collect::<Option<_>>()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a hash is not one"))?;
        Ok(Self { file, keys: RwLock::new(keys), writing: Mutex::default() })
    }

    /// Whether there ever was a key: a server must not become open because its last one is revoked. Blocks.
    pub(super) fn are_used(&self) -> bool {
        self.file.exists()
    }

    /// The key that is presented, and notes that it is.
    pub(super) fn find(&self, text: &str, now: u64) -> Option<Arc<ApiKey>> {
        let key = self.keys.read().get(&hash(text)).cloned()?;
        key.last_used.fetch_max(now, Relaxed);
        Some(key)
    }

    /// All keys, by their names.
    pub(super) fn all(&self) -> Vec<ApiKeyInfo> {
        let mut all: Vec<_> = self.keys.read().values().map(|key| key.info()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Makes a key and returns it. The server keeps only its hash. Blocks.
    pub(super) fn create(
        &self,
        name: &str,
        grants: Vec<Grant>,
        now: u64,
    ) -> Result<String, ApiKeyError> {
        let is_fit = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !(1..=MAX_NAME_BYTES).contains(&name.len()) || !name.chars().all(is_fit) {
            return Err(ApiKeyError::Name);
        }
        if !(1..=MAX_GRANTS).contains(&grants.len()) {
            return Err(ApiKeyError::Grants);
        }
        let secret: [u8; SECRET_BYTES] = rand::random();
        let text = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(secret));
        let (last_used, is_revoked) = Default::default();
        let name = name.into();
        let key = ApiKey { name, hash: hash(&text), grants, created: now, last_used, is_revoked };
        self.change(|keys| {
            if keys.len() >= MAX_API_KEYS {
                return Err(ApiKeyError::Full);
            }
            if keys.values().any(|other| other.name == key.name) {
                return Err(ApiKeyError::Taken);
            }
            keys.insert(key.hash, Arc::new(key));
            Ok(())
        })?;
        Ok(text)
    }

    /// Revokes a key. False if there is none of this name. Blocks.
    pub(super) fn revoke(&self, name: &str) -> Result<bool, ApiKeyError> {
        let mut revoked = None;
        self.change(|keys| {
            let hash = keys.values().find(|key| &*key.name == name).map(|key| key.hash);
            revoked = hash.and_then(|hash| keys.remove(&hash));
            Ok(())
        })?;
        if let Some(key) = &revoked {
            key.is_revoked.store(true, Relaxed);
        }
        Ok(revoked.is_some())
    }

    fn change(
        &self,
        change: impl FnOnce(&mut HashMap<Hash, Arc<ApiKey>>) -> Result<(), ApiKeyError>,
    ) -> Result<(), ApiKeyError> {
        let mut writing = self.writing.lock();
        let mut keys = self.keys.read().clone();
        change(&mut keys)?;
        self.write(&keys, &mut writing)?;
        *self.keys.write() = keys;
        Ok(())
    }

    /// Writes when the keys were used, if they were used since the last time. Blocks.
    pub(super) fn write_use(&self) {
        let mut writing = self.writing.lock();
        let keys = self.keys.read().clone();
        if last_used(&keys) <= writing.last_used || writing.has_ended {
            return;
        }
        if let Err(error) = self.write(&keys, &mut writing) {
            tracing::warn!(%error, "the last use of API keys cannot be written");
        }
    }

    /// The same for the last time. Blocks.
    pub(super) fn end(&self) {
        self.write_use();
        self.writing.lock().has_ended = true;
    }

    fn write(&self, keys: &HashMap<Hash, Arc<ApiKey>>, writing: &mut Writing) -> io::Result<()> {
        if writing.has_ended {
            return Err(io::Error::other("the server stops"));
        }
        let last_used = last_used(keys);
        let mut stored: Vec<_> = keys.values().map(|key| key.stored()).collect();
        stored.sort_by(|a, b| a.info.name.cmp(&b.info.name));
        self.file.write(&stored)?;
        writing.last_used = last_used;
        Ok(())
    }
}

fn last_used(keys: &HashMap<Hash, Arc<ApiKey>>) -> u64 {
    keys.values().map(|key| key.last_used.load(Relaxed)).max().unwrap_or_default()
}

fn hash(text: &str) -> Hash {
    Sha256::digest(text).into()
}

impl ApiKey {
    fn from_stored(stored: Stored) -> Option<Self> {
        let Stored { info: ApiKeyInfo { name, grants, created, last_used }, hash } = stored;
        Some(Self {
            name: name.into(),
            hash: BASE64_URL_SAFE_NO_PAD.decode(hash).ok()?.try_into().ok()?,
            grants,
            created,
            last_used: last_used.unwrap_or_default().into(),
            is_revoked: AtomicBool::new(false),
        })
    }

    fn stored(&self) -> Stored {
        Stored { info: self.info(), hash: BASE64_URL_SAFE_NO_PAD.encode(self.hash) }
    }

    fn info(&self) -> ApiKeyInfo {
        ApiKeyInfo {
            name: self.name.as_ref().into(),
            grants: self.grants.clone(),
            created: self.created,
            last_used: Some(self.last_used.load(Relaxed)).filter(|time| *time > 0),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn grants(&self) -> &[Grant] {
        &self.grants
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.is_revoked.load(Relaxed)
    }
}

impl PartialEq for ApiKey {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for ApiKey {}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("name", &self.name).finish_non_exhaustive()
    }
}
