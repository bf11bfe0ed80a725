//! The window in which a publish with a known key is a repeat (promise 4).
//!
//! The window is not stored: events contain the keys, and a waking instance reads them from the end of its log. The window
//! counts events with and without keys, so the cost to wake does not grow with the log.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use dormouse_protocol::Key;

/// The offset and time of a stored event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoredAt {
    pub(super) offset: u64,
    pub(super) time: u64,
}

/// The keys of one object's last events; bounded by their age and number.
pub(super) struct Dedupe {
    known: HashMap<Box<str>, StoredAt>,
    /// Oldest first.
    order: VecDeque<(StoredAt, Box<str>)>,
    /// Bytes of the names in `order`.
    name_bytes: usize,
    age_ms: u64,
    events: u64,
    /// The keys of events up to this offset may be missing; 0 if none is.
    forgotten: u64,
}

impl Dedupe {
    /// A window of at most `events` events, none older than `age`.
    pub(super) fn new(age: Duration, events: u64) -> Self {
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        Self {
            known: HashMap::new(),
            order: VecDeque::new(),
            name_bytes: 0,
            age_ms,
            events,
            forgotten: 0,
        }
    }

    /// The event that `sender` stored under `key`.
    pub(super) fn find(&self, sender: &str, key: &Key) -> Option<StoredAt> {
        self.known.get(&*name(sender, key)).copied()
    }

    /// Adds the newest event.
    pub(super) fn insert(&mut self, sender: &str, key: &Key, stored_at: StoredAt) {
        let name = name(sender, key);
        self.name_bytes += name.len();
        self.known.insert(name.clone(), stored_at);
        self.order.push_back((stored_at, name));
    }

    /// Adds an event older than all others.
    pub(super) fn insert_older(&mut self, sender: &str, key: &Key, stored_at: StoredAt) {
        let name = name(sender, key);
        self.name_bytes += name.len();
        // The log may contain an expired key twice: the newer event counts.
        self.known.entry(name.clone()).or_insert(stored_at);
        self.order.push_front((stored_at, name));
    }

    /// Records that the keys of events up to an offset are unknown.
    pub(super) fn forget_up_to(&mut self, offset: u64) {
        self.forgotten = self.forgotten.max(offset);
    }

    /// Whether every key after an offset is known, so a missing key was not stored there.
    pub(super) fn reaches_back_to(&self, offset: u64) -> bool {
        offset >= self.forgotten
    }

    /// Whether an event is within the window of a log that ends at `head`.
    pub(super) fn holds(&self, stored_at: StoredAt, head: u64, now: u64) -> bool {
        stored_at.offset.saturating_add(self.events) > head
            && stored_at.time.saturating_add(self.age_ms) >= now
    }

    /// Approximate bytes of memory; each name is held twice.
    pub(super) fn memory_bytes(&self) -> usize {
        self.known.capacity() * size_of::<(Box<str>, StoredAt)>()
            + self.order.capacity() * size_of::<(StoredAt, Box<str>)>()
            + 2 * self.name_bytes
    }

    /// Removes events outside the window of a log that ends at `head`.
    pub(super) fn expire(&mut self, head: u64, now: u64) {
        while let Some((stored_at, _)) = self.order.front()
            && !self.holds(*stored_at, head, now)
            && let Some((stored_at, name)) = self.order.pop_front()
        {
            self.name_bytes -= name.len();
            self.forget_up_to(stored_at.offset);
            if self.known.get(&name) == Some(&stored_at) {
                self.known.remove(&name);
            }
        }
    }
}

/// The name of a key within its session. Neither part has a line break, so names of two senders differ.
fn name(sender: &str, key: &Key) -> Box<str> {
    format!("{sender}\n{key}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    fn place(offset: u64, time: u64) -> StoredAt {
        StoredAt { offset, time }
    }

    #[test]
    fn a_key_is_known_for_a_time_and_to_its_sender_only() {
        let mut dedupe = Dedupe::new(Duration::from_secs(10), 100);
        dedupe.insert("ann", &key("a"), place(1, 1_000));
        assert_eq!(dedupe.find("ann", &key("a")), Some(place(1, 1_000)));
        assert_eq!(dedupe.find("bob", &key("a")), None);
        dedupe.expire(1, 11_000);
        assert!(dedupe.find("ann", &key("a")).is_some());
        dedupe.expire(1, 11_001);
        assert_eq!(dedupe.find("ann", &key("a")), None);
    }

    #[test]
    fn a_key_is_known_for_a_number_of_events_whether_they_have_keys_or_not() {
        let mut dedupe = Dedupe::new(Duration::from_secs(10), 3);
        dedupe.insert("ann", &key("a"), place(1, 0));
        dedupe.insert("ann", &key("b"), place(3, 0));
        dedupe.expire(3, 0);
        assert!(dedupe.find("ann", &key("a")).is_some());
        dedupe.expire(4, 0);
        assert_eq!(dedupe.find("ann", &key("a")), None);
        assert_eq!(dedupe.find("ann", &key("b")), Some(place(3, 0)));
    }

    /// Each window size and each number of events: the boundary is exact.
    #[test]
    fn a_window_reaches_back_to_the_newest_key_that_left_it_by_number() {
        for events in 1..6 {
            let mut dedupe = Dedupe::new(Duration::from_secs(10), events);
            for head in 1..20 {
                dedupe.insert("ann", &key(&head.to_string()), place(head, 0));
                dedupe.expire(head, 0);
                for offset in 0..=head {
                    let all_known = (offset + 1..=head)
                        .all(|kept| dedupe.find("ann", &key(&kept.to_string())).is_some());
                    assert_eq!(
                        dedupe.reaches_back_to(offset),
                        all_known,
                        "{events} {head} {offset}"
                    );
                }
                assert!(dedupe.reaches_back_to(head.saturating_sub(events)));
            }
        }
    }

    #[test]
    fn a_window_reaches_back_to_the_newest_key_that_left_it_by_time() {
        let mut dedupe = Dedupe::new(Duration::from_secs(10), 100);
        for offset in 1..=5 {
            dedupe.insert("ann", &key(&offset.to_string()), place(offset, offset * 1_000));
        }
        for now in (5_000..17_000).step_by(100) {
            dedupe.expire(5, now);
            let forgotten =
                (1..=5).filter(|offset| offset * 1_000 + 10_000 < now).max().unwrap_or(0);
            for offset in 0..=5 {
                assert_eq!(dedupe.reaches_back_to(offset), offset >= forgotten, "{now} {offset}");
            }
        }
    }

    /// An event without a key can't be that of a retry.
    #[test]
    fn events_without_keys_leave_the_window_unnoticed() {
        let mut dedupe = Dedupe::new(Duration::from_secs(10), 2);
        dedupe.insert("ann", &key("a"), place(3, 0));
        dedupe.expire(9, 0);
        assert!(!dedupe.reaches_back_to(2));
        assert!(dedupe.reaches_back_to(3));
    }

    #[test]
    fn what_was_not_read_back_is_not_known() {
        let mut dedupe = Dedupe::new(Duration::from_secs(10), 3);
        dedupe.insert_older("ann", &key("c"), place(7, 30));
        assert!(dedupe.reaches_back_to(0));
        dedupe.forget_up_to(6);
        dedupe.forget_up_to(2);
        assert!(!dedupe.reaches_back_to(5));
        assert!(dedupe.reaches_back_to(6));
    }

    #[test]
    fn reading_back_from_the_end_gives_the_same_window() {
        let mut dedupe = Dedupe::new(Duration::from_secs(10), 3);
        dedupe.insert_older("ann", &key("c"), place(3, 30));
        dedupe.insert_older("ann", &key("b"), place(2, 20));
        assert!(!dedupe.holds(place(1, 10), 4, 40));
        dedupe.insert("ann", &key("d"), place(4, 40));
        dedupe.expire(5, 50);
        assert_eq!(dedupe.find("ann", &key("b")), None);
        assert_eq!(dedupe.find("ann", &key("c")), Some(place(3, 30)));
    }

    #[test]
    fn a_key_used_again_after_the_window_keeps_its_newer_event() {
        let mut dedupe = Dedupe::new(Duration::from_secs(10), 2);
        dedupe.insert_older("ann", &key("a"), place(5, 0));
        dedupe.insert_older("ann", &key("a"), place(4, 0));
        assert_eq!(dedupe.find("ann", &key("a")), Some(place(5, 0)));
        dedupe.expire(6, 0);
        assert_eq!(dedupe.find("ann", &key("a")), Some(place(5, 0)));
    }
}
