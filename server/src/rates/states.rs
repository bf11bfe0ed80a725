//! The states of rate limits: one number for each key. The number of keys has a bound.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Arc;
use std::time::Duration;

use governor::nanos::Nanos;
use governor::state::StateStore;
use parking_lot::Mutex;

use crate::recent_map::RecentMap;

/// Each shard has its own lock, so reactors seldom wait for each other.
const SHARDS: usize = 64;
/// Half of the keys of a shard. All shards together have at most 262,144 keys, which take about 8 MiB.
const GENERATION: usize = 2048;

/// All states. Clones share them. When there are too many keys, the states of those that were used the longest ago are dropped.
#[derive(Debug, Clone)]
pub(super) struct States(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// It is random for each process, so clients cannot choose keys that collide.
    hasher: RandomState,
    shards: [Mutex<RecentMap<u64, u64>>; SHARDS],
}

impl States {
    pub(super) fn new() -> Self {
        let shards = std::array::from_fn(|_| Mutex::new(RecentMap::new(GENERATION)));
        Self(Arc::new(Inner { hasher: RandomState::new(), shards }))
    }

    /// The key of a value.
    pub(super) fn key(&self, of: impl Hash) -> u64 {
        self.0.hasher.hash_one(of)
    }

    pub(super) fn get(&self, key: u64) -> Option<Duration> {
        self.shard(key).lock().get(&key).map(Duration::from_nanos)
    }

    pub(super) fn put(&self, key: u64, time: Duration) {
        self.shard(key).lock().insert(key, time.as_nanos() as u64);
    }

    fn shard(&self, key: u64) -> &Mutex<RecentMap<u64, u64>> {
        &self.0.shards[key as usize % SHARDS]
    }
}

impl StateStore for States {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut shard = self.shard(*key).lock();
        let (answer, state) = decide(shard.get(key).map(Nanos::new))?;
        shard.insert(*key, state.as_u64());
        Ok(answer)
    }
}
