//! Whether a reactor has to be woken for a command: once for all commands that come while it does not look.
//!
//! `atomic` is the parent's, so that a model can put its own in the place of the standard library's.

use super::atomic::{AtomicBool, Ordering::AcqRel};

/// Rung by those who put commands in, listened to by the reactor.
pub(super) struct WakeFlag {
    /// A wake-up is on its way, so none is needed.
    is_set: AtomicBool,
}

impl WakeFlag {
    pub(super) fn new() -> Self {
        Self { is_set: AtomicBool::new(false) }
    }

    /// After a command was put in. Whether whoever rings has to wake the reactor.
    pub(super) fn set(&self) -> bool {
        !self.is_set.swap(true, AcqRel)
    }

    /// Makes the next ring wake the reactor, before it looks for commands.
    ///
    /// A swap and no store: whoever was told that a wake-up is on its way has set the flag before this in the flag's order, and what is
    /// read here is that ring or a later one, so the command is there to be seen.
    pub(super) fn clear(&self) {
        self.is_set.swap(false, AcqRel);
    }
}
