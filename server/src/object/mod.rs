//! Objects: who they are, their instances, and what they say.
//!
//! Owns the registry (one handle for each object in use, at most one instance behind it) and the tasks that run
//! instances. Knows the log below and nothing of sockets: what an object says goes out through [`Outlet`]s.

mod awake;
mod class;
mod control;
mod dedupe;
mod encoded;
mod handle;
mod instance;
mod life;
mod metrics;
mod outlet;
pub mod presence;
mod registry;
mod run;
mod status;

pub use class::{Class, Classes, Context, Message, Object};
pub use control::Busy;
pub use encoded::Encoded;
pub use handle::Handle;
pub use life::{LastWake, SleepAnswer, State, WakeCause};
pub use metrics::Metrics;
pub use outlet::{Address, Answer, Answered, Delivery, EventFrames, Outlet, ReplyTo};
pub use registry::{InUse, Opened, Registry, Settings};
pub use status::Status;
