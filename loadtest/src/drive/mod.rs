//! The engine of the load generator: many WebSockets on one thread, so cheap that the server is what saturates.
//!
//! Frames are read where they lie and written by hand; there is one `read` for each socket in a turn of the loop, into one buffer
//! for all, and nothing is allocated for a delivery. What the messages mean is a [`crate::wire`]'s business, and what to send
//! and to make of what comes a scenario's.

pub(crate) mod frame;
pub(crate) mod gaps;
pub(crate) mod ledger;
pub(crate) mod pacer;
pub(crate) mod plan;
mod socket;
pub(crate) mod stamp;
pub(crate) mod swarm;
pub(crate) mod tls;

#[cfg(test)]
mod tests;
