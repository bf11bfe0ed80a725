//! Tokens that were checked and are still valid, by a hash: a token itself is kept nowhere.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::access::Access;

/// Tokens in each of the two generations.
const GENERATION: usize = 4096;

/// The name of a token in the cache.
pub(super) type TokenHash = [u8; 32];

/// The hash of a token.
pub(super) fn hash(token: &str) -> TokenHash {
    Sha256::digest(token).into()
}

/// Checked tokens in two generations. When the young one is full, it becomes the old one, and what stood there and was not used
/// since is forgotten.
#[derive(Debug, Default)]
pub(super) struct Cache {
    young: HashMap<TokenHash, Arc<Access>>,
    old: HashMap<TokenHash, Arc<Access>>,
    /// The version of the keys that all of them were checked with.
    version: u64,
}

impl Cache {
    /// What a token gave when it was checked with these keys.
    pub(super) fn get(&mut self, hash: &TokenHash, version: u64) -> Option<Arc<Access>> {
        self.empty_for(version);
        if let Some(access) = self.young.get(hash) {
            return Some(access.clone());
        }
        let access = self.old.remove(hash)?;
        self.insert(*hash, access.clone(), version);
        Some(access)
    }

    /// Remembers a token that was checked with the keys of this version.
    pub(super) fn insert(&mut self, hash: TokenHash, access: Arc<Access>, version: u64) {
        self.empty_for(version);
        if version < self.version {
            return;
        }
        if self.young.len() == GENERATION {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(hash, access);
    }

    pub(super) fn remove(&mut self, hash: &TokenHash) {
        self.young.remove(hash);
        self.old.remove(hash);
    }

    fn empty_for(&mut self, version: u64) {
        if version > self.version {
            *self = Self { version, ..Self::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> Arc<Access> {
        Arc::new(Access::anonymous(&[]))
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let mut cache = Cache::default();
        let kept = hash("kept");
        cache.insert(kept, any(), 0);
        for n in 0..10 * GENERATION {
            cache.insert(hash(&n.to_string()), any(), 0);
            assert!(cache.get(&kept, 0).is_some());
            assert!(cache.young.len() + cache.old.len() <= 2 * GENERATION);
        }
        assert!(cache.get(&hash("0"), 0).is_none());
    }

    #[test]
    fn a_change_of_the_keys_empties_it() {
        let mut cache = Cache::default();
        let token = hash("token");
        cache.insert(token, any(), 1);
        assert!(cache.get(&token, 1).is_some());
        assert!(cache.get(&token, 2).is_none());
        // Checked before the change, and stored after it.
        cache.insert(token, any(), 1);
        assert!(cache.get(&token, 2).is_none());
    }
}
