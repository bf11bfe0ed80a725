//! The wake flag of a reactor: of all commands that arrive while the reactor sleeps, only the first one wakes it.
//!
//! `atomic` belongs to the parent module, so that a model can replace the atomics of the standard library.

use super::atomic::{AtomicBool, Ordering::AcqRel};

/// Senders of commands set it; the reactor clears it.
pub(super) struct WakeFlag {
    /// The reactor is awake, or is being woken.
    is_set: AtomicBool,
}

impl WakeFlag {
    pub(super) fn new() -> Self {
        Self { is_set: AtomicBool::new(false) }
    }

    /// To be called after a command was sent. Returns whether the caller has to wake the reactor.
    pub(super) fn set(&self) -> bool {
        !self.is_set.swap(true, AcqRel)
    }

    /// Makes the next [`WakeFlag::set`] wake the reactor. The reactor calls this before it looks for commands.
    ///
    /// A swap and not a store: a sender that did not wake the reactor has set the flag earlier in the flag's modification order. The swap
    /// reads that value or a later one, so it synchronizes with the sender, and the reactor sees the command.
    pub(super) fn clear(&self) {
        self.is_set.swap(false, AcqRel);
    }
}
