//! What an object in use is doing, for operators.

use tokio::time::Instant;

use super::handle::Handle;
use super::lifecycle::{LastWake, State, WakeCause};
use crate::clock::now_ms;
use crate::log::Identity;

/// How an object is at one moment. Times are in milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whether it has an instance.
    pub state: State,
    /// Since when it is in that state.
    pub since: u64,
    /// Why it is not asleep.
    pub cause: Option<WakeCause>,
    /// When it is going to sleep if no message comes; `None` where none is awaited, or it is pinned.
    pub sleeps_at: Option<u64>,
    /// Its last wake since it is in use.
    pub last_wake: Option<LastWake>,
    /// How often it woke since it is in use.
    pub wakes: u32,
    /// Whether it is pinned.
    pub is_pinned: bool,
    /// The memory that it takes, roughly: its handle and identity, its name and place in the registry, and while it is
    /// not asleep its instance with the keys of the dedupe window. Left out are its members, which are the sockets'; messages
    /// and events on their way; and what a behaviour holds of its own.
    pub memory_bytes: usize,
}

/// Two counts in front of what an `Arc` holds.
const ARC_BYTES: usize = 2 * size_of::<usize>();

impl Handle {
    /// What the object is doing now.
    pub fn status(&self) -> Status {
        let lifecycle = self.lifecycle.lock();
        let state = lifecycle.state();
        let sleeps =
            lifecycle.last_use().filter(|_| state == State::Awake && !lifecycle.is_pinned());
        Status {
            state,
            since: lifecycle.since(),
            cause: lifecycle.cause(),
            sleeps_at: sleeps.map(|last_use| {
                let deadline = last_use + self.class().sleep_after();
                now_ms() + deadline.saturating_duration_since(Instant::now()).as_millis() as u64
            }),
            last_wake: lifecycle.last_wake(),
            wakes: lifecycle.wakes(),
            is_pinned: lifecycle.is_pinned(),
            memory_bytes: self.own_bytes() + lifecycle.memory_bytes(),
        }
    }

    /// Its name stands in the identity and in the registry.
    fn own_bytes(&self) -> usize {
        let name = self.identity.name.len();
        let slot = size_of::<dormouse_protocol::ObjectName>() + size_of::<usize>() * 4;
        2 * ARC_BYTES + size_of::<Self>() + size_of::<Identity>() + slot + 2 * name
    }
}
