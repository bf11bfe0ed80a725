//! The window in which a publish with a known key is a repeat (promise 4).
//!
//! It is not stored: the keys stand in the events, and a waking instance reads them back from the end of its log.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use dormouse_protocol::Key;

/// Recent keys of one object and where their events stand; bounded by age and count.
pub(super) struct Dedupe {
    known: HashMap<Box<str>, (u64, u64)>,
    /// Oldest first, with the time of the event.
    order: VecDeque<(u64, Box<str>)>,
    window_ms: u64,
    capacity: usize,
}

impl Dedupe {
    pub(super) fn new(window: Duration, capacity: usize) -> Self {
        let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        Self { known: HashMap::new(), order: VecDeque::new(), window_ms, capacity }
    }

    /// The offset and time of the event that `sender` stored under `key`.
    pub(super) fn find(&self, sender: &str, key: &Key) -> Option<(u64, u64)> {
        self.known.get(&*name(sender, key)).copied()
    }

    /// Notes the newest event.
    pub(super) fn insert(&mut self, sender: &str, key: &Key, offset: u64, time: u64) {
        let name = name(sender, key);
        self.known.insert(name.clone(), (offset, time));
        self.order.push_back((time, name));
        if self.order.len() > self.capacity {
            self.forget_oldest();
        }
    }

    /// Notes an event older than all noted ones. False once the window is full.
    pub(super) fn insert_older(&mut self, sender: &str, key: &Key, offset: u64, time: u64) -> bool {
        if self.order.len() >= self.capacity {
            return false;
        }
        let name = name(sender, key);
        // A key that left the window may stand in the log twice: the newer event counts.
        self.known.entry(name.clone()).or_insert((offset, time));
        self.order.push_front((time, name));
        true
    }

    /// Forgets what is older than the window.
    pub(super) fn expire(&mut self, now: u64) {
        while self.order.front().is_some_and(|(time, _)| self.is_expired(*time, now)) {
            self.forget_oldest();
        }
    }

    /// Whether an event of that time is out of the window.
    pub(super) fn is_expired(&self, time: u64, now: u64) -> bool {
        time.saturating_add(self.window_ms) < now
    }

    fn forget_oldest(&mut self) {
        if let Some((time, name)) = self.order.pop_front()
            && self.known.get(&name).is_some_and(|(_, known)| *known == time)
        {
            self.known.remove(&name);
        }
    }
}

/// Keys are a session's own: two senders never meet. Neither part has a line break.
fn name(sender: &str, key: &Key) -> Box<str> {
    format!("{sender}\n{key}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    #[test]
    fn a_key_is_known_within_the_window_and_to_its_sender_only() {
        let mut dedupe = Dedupe::new(Duration::from_secs(10), 100);
        dedupe.insert("ann", &key("a"), 1, 1_000);
        assert_eq!(dedupe.find("ann", &key("a")), Some((1, 1_000)));
        assert_eq!(dedupe.find("bob", &key("a")), None);
        dedupe.expire(11_000);
        assert!(dedupe.find("ann", &key("a")).is_some());
        dedupe.expire(11_001);
        assert_eq!(dedupe.find("ann", &key("a")), None);
    }

    #[test]
    fn the_oldest_key_makes_room() {
        let mut dedupe = Dedupe::new(Duration::from_secs(10), 2);
        for (offset, name) in [(1, "a"), (2, "b"), (3, "c")] {
            dedupe.insert("ann", &key(name), offset, 0);
        }
        assert_eq!(dedupe.find("ann", &key("a")), None);
        assert_eq!(dedupe.find("ann", &key("c")), Some((3, 0)));
    }

    #[test]
    fn reading_back_from_the_end_gives_the_same_window() {
        let mut dedupe = Dedupe::new(Duration::from_secs(10), 2);
        assert!(dedupe.insert_older("ann", &key("c"), 3, 30));
        assert!(dedupe.insert_older("ann", &key("b"), 2, 20));
        assert!(!dedupe.insert_older("ann", &key("a"), 1, 10));
        dedupe.insert("ann", &key("d"), 4, 40);
        assert_eq!(dedupe.find("ann", &key("b")), None);
        assert_eq!(dedupe.find("ann", &key("c")), Some((3, 30)));
    }

    #[test]
    fn a_key_used_again_after_the_window_keeps_its_newer_event() {
        let mut dedupe = Dedupe::new(Duration::from_millis(15), 10);
        dedupe.insert("ann", &key("a"), 1, 10);
        dedupe.expire(26);
        dedupe.insert("ann", &key("a"), 2, 26);
        dedupe.expire(40);
        assert_eq!(dedupe.find("ann", &key("a")), Some((2, 26)));
    }
}
