//! Tokens that were checked and are still valid, by a hash: a token itself is kept nowhere.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::access::Access;
use crate::recent_map::RecentMap;

/// Half of the tokens that are kept.
const GENERATION: usize = 4096;

/// The name of a token in the cache.
pub(super) type TokenHash = [u8; 32];

/// The hash of a token.
pub(super) fn hash(token: &str) -> TokenHash {
    Sha256::digest(token).into()
}

/// Checked tokens, at most 8,192: the cache forgets those that were used the longest ago.
#[derive(Debug)]
pub(super) struct Cache {
    tokens: RecentMap<TokenHash, Arc<Access>>,
    /// The version of the keys that all of them were checked with.
    version: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self { tokens: RecentMap::new(GENERATION), version: 0 }
    }
}

impl Cache {
    /// What a token gave when it was checked with these keys.
    pub(super) fn get(&mut self, hash: &TokenHash, version: u64) -> Option<Arc<Access>> {
        self.empty_for(version);
        self.tokens.get(hash)
    }

    /// Remembers a token that was checked with the keys of this version.
    pub(super) fn insert(&mut self, hash: TokenHash, access: Arc<Access>, version: u64) {
        self.empty_for(version);
        if version == self.version {
            self.tokens.insert(hash, access);
        }
    }

    pub(super) fn remove(&mut self, hash: &TokenHash) {
        self.tokens.remove(hash);
    }

    fn empty_for(&mut self, version: u64) {
        if version > self.version {
            self.tokens.clear();
            self.version = version;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_the_keys_empties_it() {
        let access = || Arc::new(Access::anonymous(&[]));
        let mut cache = Cache::default();
        let token = hash("token");
        cache.insert(token, access(), 1);
        assert!(cache.get(&token, 1).is_some());
        assert!(cache.get(&token, 2).is_none());
        // Checked before the change, and stored after it.
        cache.insert(token, access(), 1);
        assert!(cache.get(&token, 2).is_none());
    }
}
