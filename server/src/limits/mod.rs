//! Limits that hold for the whole process: how much memory the bytes of clients may take.
//!
//! Owns the [`Budget`] and the watch that reacts when it is nearly used up. Knows nothing of sockets, objects or the log: they take
//! permits here before they take memory.

mod budget;
mod machine;
mod pressure;

pub use budget::{Budget, Held, Permit, Purpose};
pub(crate) use pressure::Watch;
pub use pressure::{Level, Pressure};

/// Fixed costs that no permit covers: the program, its threads, the poller's and the reactors' buffers.
const FIXED_BYTES: u64 = 24 << 20;
/// Of what is left, 1/6 is for what the allocator adds to the bytes that are asked for.
const ALLOCATOR_SHARE: u64 = 6;
/// A limit leaves at least this budget, whatever the log takes.
const LEAST_BUDGET: u64 = 8 << 20;

/// The bytes that clients may make the server hold, where the process may use `limit` bytes and the log keeps `log_bytes` in
/// memory. Without a limit (0) it is half of the memory of the machine or of the container.
pub fn budget_bytes(limit: u64, log_bytes: u64) -> usize {
    let bytes = if limit == 0 {
        machine::memory_bytes() / 2
    } else {
        let rest = limit.saturating_sub(log_bytes + FIXED_BYTES);
        (rest - rest / ALLOCATOR_SHARE).max(LEAST_BUDGET)
    };
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
