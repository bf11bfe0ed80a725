//! Where the log is read: a read blocks, so it runs on a thread that may.

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Runs a read on a thread of the runtime that may block. It runs even if nobody waits for what it returns.
pub fn elsewhere<T: Send + 'static>(
    runtime: &Handle,
    read: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    #[cfg(test)]
    let read = match crate::simulated::later(runtime, read) {
        Ok(later) => return later,
        Err(read) => read,
    };
    runtime.spawn_blocking(read)
}
