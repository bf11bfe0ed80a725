//! A file descriptor that is kept for bad times: a connection that can't be accepted for want of one can be sent away with it.
//!
//! Without it such a connection would hang in the listener's backlog, and the accept loop would go round for it.

use std::fs::File;

/// Open in good times.
pub(super) struct ReserveDescriptor(Option<File>);

impl ReserveDescriptor {
    pub(super) fn new() -> Self {
        Self(open())
    }

    /// Does something that has a descriptor open and closes it again. `None` if there is none to lend.
    pub(super) fn lend<T>(&mut self, with: impl FnOnce() -> T) -> Option<T> {
        drop(self.0.take().or_else(open)?);
        let result = with();
        self.0 = open();
        Some(result)
    }
}

fn open() -> Option<File> {
    File::open("/dev/null").ok()
}
