//! What the benchmark scenarios share: a server of their own, what the system and the server's metrics tell of it, and a
//! way to wake many objects.

pub(crate) mod http;
pub(crate) mod metrics;
pub(crate) mod proc;
pub(crate) mod server;
pub(crate) mod visit;
