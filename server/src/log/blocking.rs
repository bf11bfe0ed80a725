//! Runs reads of the log on threads of the runtime that may block.

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Runs a read on a thread of the runtime that may block. The read runs even if the returned handle is dropped.
pub fn spawn_blocking_read<T: Send + 'static>(
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
