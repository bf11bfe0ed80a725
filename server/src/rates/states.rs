//! The states of rate limits: one number for each key, and a bound on how many there are.
//!
//! Two generations: when the young one is full, it becomes the old one, and what was in the old one is forgotten unless it was used
//! meanwhile. So those are forgotten that were used the longest ago, and forgetting costs no search.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Arc;
use std::time::Duration;

use governor::nanos::Nanos;
use governor::state::StateStore;
use parking_lot::Mutex;

/// Each has a lock of its own, so that reactors seldom meet.
const SHARDS: usize = 64;
/// Keys of a generation of a shard. All together: 262,144 keys, which take some 8 MiB.
const GENERATION: usize = 2048;

/// All states. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct States(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// A secret of this process: nobody can choose keys that collide.
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    young: HashMap<u64, u64>,
    old: HashMap<u64, u64>,
}

impl States {
    pub(super) fn new() -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self(Arc::new(Inner { hasher: RandomState::new(), shards }))
    }

    /// The key of anything.
    pub(super) fn key(&self, of: impl Hash) -> u64 {
        self.0.hasher.hash_one(of)
    }

    pub(super) fn get(&self, key: u64) -> Option<Duration> {
        self.shard(key).lock().get(key).map(Duration::from_nanos)
    }

    pub(super) fn put(&self, key: u64, time: Duration) {
        self.shard(key).lock().put(key, time.as_nanos() as u64);
    }

    fn shard(&self, key: u64) -> &Mutex<Shard> {
        &self.0.shards[key as usize % SHARDS]
    }
}

impl Shard {
    fn get(&self, key: u64) -> Option<u64> {
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    fn put(&mut self, key: u64, state: u64) {
        if self.young.len() >= GENERATION && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, state);
    }
}

impl StateStore for States {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut shard = self.shard(*key).lock();
        let (answer, state) = decide(shard.get(*key).map(Nanos::new))?;
        shard.put(*key, state.as_u64());
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_states_are_bounded_and_the_last_ones_are_kept() {
        let states = States::new();
        for key in 0..1_000_000 {
            states.put(key, Duration::from_nanos(key));
        }
        let kept = states.0.shards.iter().map(|shard| {
            let shard = shard.lock();
            shard.young.len() + shard.old.len()
        });
        assert!(kept.sum::<usize>() <= 2 * SHARDS * GENERATION);
        assert_eq!(states.get(999_999), Some(Duration::from_nanos(999_999)));
        assert_eq!(states.get(0), None);
    }
}
