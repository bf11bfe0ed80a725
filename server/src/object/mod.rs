//! Objects: who they are, their instances, and what they say.
//!
//! Owns the registry (one handle for each object in use, at most one instance behind it) and the tasks that run
//! instances. Knows the log below and nothing of sockets: what an object says goes out through [`Outlet`]s.

mod awake;
mod class;
mod dedupe;
mod handle;
mod instance;
mod metrics;
mod outlet;
pub mod presence;
mod registry;

pub use class::{Class, Classes, Context, Message, Object};
pub use handle::{Busy, Handle};
pub use metrics::Metrics;
pub use outlet::{Address, Answer, Delivery, EventFrames, Outlet, ReplyTo};
pub use registry::{Opened, Registry, Settings};
