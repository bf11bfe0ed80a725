//! The status of an object in use, for operators.

use tokio::time::Instant;

use super::handle::Handle;
use super::lifecycle::{LastWake, State, WakeCause};
use crate::log::Identity;

/// The status of an object at one moment. Times are in milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whether it has an instance.
    pub state: State,
    /// Since when it is in that state.
    pub since: u64,
    /// Why it is not asleep.
    pub cause: Option<WakeCause>,
    /// When it sleeps if no message arrives; `None` unless it is awake and not pinned.
    pub sleeps_at: Option<u64>,
    /// Its last wake since it is in use.
    pub last_wake: Option<LastWake>,
    /// How often it woke since it is in use.
    pub wakes: u32,
    /// Whether it is pinned.
    pub is_pinned: bool,
    /// Approximate bytes of memory: handle, identity, registry entry and, unless asleep, the instance with its dedupe window.
    /// Excluded are members (the sockets own them), messages and events in flight, and the behaviour's own memory.
    pub memory_bytes: usize,
}

/// Two counts in front of what an `Arc` holds.
const ARC_BYTES: usize = 2 * size_of::<usize>();

impl Handle {
    /// The current status.
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
                self.now_ms()
                    + deadline.saturating_duration_since(Instant::now()).as_millis() as u64
            }),
            last_wake: lifecycle.last_wake(),
            wakes: lifecycle.wakes(),
            is_pinned: lifecycle.is_pinned(),
            memory_bytes: self.own_bytes() + lifecycle.memory_bytes(),
        }
    }

    /// The identity and the registry each hold the name.
    fn own_bytes(&self) -> usize {
        let name = self.identity.name.len();
        let entry = size_of::<dormouse_protocol::ObjectName>() + size_of::<usize>() * 4;
        2 * ARC_BYTES + size_of::<Self>() + size_of::<Identity>() + entry + 2 * name
    }
}
