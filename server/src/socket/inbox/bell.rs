//! Whether a reactor has to be woken for a letter: once for all letters that come while it does not look.
//!
//! `atomic` is the parent's, so that a model can put its own in the place of the standard library's.

use super::atomic::{AtomicBool, Ordering::AcqRel};

/// Rung by those who put letters in, listened to by the reactor.
pub(super) struct Bell {
    /// A wake-up is on its way, so none is needed.
    rung: AtomicBool,
}

impl Bell {
    pub(super) fn new() -> Self {
        Self { rung: AtomicBool::new(false) }
    }

    /// After a letter was put in. Whether whoever rings has to wake the reactor.
    pub(super) fn ring(&self) -> bool {
        !self.rung.swap(true, AcqRel)
    }

    /// Makes the next ring wake the reactor, before it looks for letters.
    ///
    /// A swap and no store: whoever was told that a wake-up is on its way has rung before this in the flag's order, and what is
    /// read here is that ring or a later one, so the letter is there to be seen.
    pub(super) fn listen(&self) {
        self.rung.swap(false, AcqRel);
    }
}
