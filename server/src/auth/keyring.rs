//! All keys that are valid at present, by their source. Readers and the threads that reload sources share it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jsonwebtoken::Algorithm;
use parking_lot::RwLock;

use super::key::Key;
use super::refusal::Refusal;

/// The keys of all sources.
#[derive(Debug, Default)]
pub(super) struct Keyring {
    sources: RwLock<Vec<Source>>,
    /// Grows with each change of the keys.
    version: AtomicU64,
}

#[derive(Debug)]
enum Source {
    Keys(Vec<Arc<Key>>),
    /// The keys could not be fetched yet, or they are too old.
    Unavailable,
}

/// A source's place in the keyring.
#[derive(Debug, Clone, Copy)]
pub(super) struct SourceId(usize);

impl Keyring {
    /// Makes a place for a source, without keys until they come.
    pub(super) fn add_source(&self) -> SourceId {
        let mut sources = self.sources.write();
        sources.push(Source::Unavailable);
        SourceId(sources.len() - 1)
    }

    /// Replaces the keys of a source.
    pub(super) fn set(&self, source: SourceId, keys: Vec<Key>) {
        self.replace(source, Source::Keys(keys.into_iter().map(Arc::new).collect()));
    }

    /// Takes the keys of a source out of use.
    pub(super) fn withdraw(&self, source: SourceId) {
        self.replace(source, Source::Unavailable);
    }

    fn replace(&self, source: SourceId, keys: Source) {
        self.sources.write()[source.0] = keys;
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Changes whenever keys change: what was checked with an earlier one has to be checked again.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The key that a token names; where it names none, the only one that could have signed it.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Arc<Key>, Refusal> {
        let sources = self.sources.read();
        let keys = || sources.iter().flat_map(Source::keys);
        let mut named = keys().filter(|key| id.is_none() || key.id.as_deref() == id);
        let mut usable = named.clone().filter(|key| key.is_for(algorithm));
        match (usable.next(), usable.next(), named.next()) {
            (Some(key), None, _) => Ok(key.clone()),
            (Some(key), Some(_), _) if id.is_some() => Ok(key.clone()),
            (Some(_), Some(_), _) => Err(Refusal::NoKeyId),
            (None, _, Some(_)) if id.is_some() => Err(Refusal::OtherAlgorithm),
            (None, ..) if sources.iter().any(|source| matches!(source, Source::Unavailable)) => {
                Err(Refusal::KeysUnavailable)
            }
            (None, _, Some(_)) => Err(Refusal::OtherAlgorithm),
            (None, _, None) => Err(Refusal::UnknownKey),
        }
    }

    /// The key that tokens are made with: that of an id, or the first with a secret.
    pub(super) fn signer(&self, id: Option<&str>) -> Option<Arc<Key>> {
        let sources = self.sources.read();
        let mut keys = sources.iter().flat_map(Source::keys);
        let is_wanted = |key: &&Arc<Key>| id.is_none() || key.id.as_deref() == id;
        keys.find(|key| key.signs_with().is_some() && is_wanted(key)).cloned()
    }
}

impl Source {
    fn keys(&self) -> &[Arc<Key>] {
        match self {
            Self::Keys(keys) => keys,
            Self::Unavailable => &[],
        }
    }
}
