//! A map with a bound that forgets the entries that were used the longest ago.
//!
//! It has two generations. When the young one is full, it becomes the old one, and the entries of the old one that were not used in the
//! meantime are dropped. So neither a use nor an insert searches for the entry to drop.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;

/// A map with at most twice as many entries as a generation has.
#[derive(Debug)]
pub(crate) struct RecentMap<K, V> {
    generation: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Copy + Eq + Hash, V: Clone> RecentMap<K, V> {
    /// An empty map with so many entries in each of the two generations.
    pub(crate) fn new(generation: usize) -> Self {
        Self { generation, young: HashMap::new(), old: HashMap::new() }
    }

    /// The value of a key. This is a use.
    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let value = self.old.remove(key)?;
        self.insert(*key, value.clone());
        Some(value)
    }

    /// Sets the value of a key.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.generation && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// Removes a key.
    pub(crate) fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    /// Removes all keys.
    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let mut map = RecentMap::new(100);
        map.insert(0, 0);
        for n in 1..10_000 {
            map.insert(n, n);
            assert_eq!(map.get(&0), Some(0));
            assert!(map.young.len() + map.old.len() <= 200);
        }
        assert_eq!(map.get(&9_999), Some(9_999));
        assert_eq!(map.get(&1), None);
    }

    #[test]
    fn the_last_value_counts_and_a_removed_key_is_gone() {
        let mut map = RecentMap::new(1);
        for value in [1, 2] {
            map.insert("a", value);
            map.insert("b", value);
        }
        assert_eq!((map.get(&"a"), map.get(&"b")), (Some(2), Some(2)));
        map.remove(&"a");
        assert_eq!(map.get(&"a"), None);
        map.clear();
        assert_eq!(map.get(&"b"), None);
    }
}
