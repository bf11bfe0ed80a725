//! Objects: their identities, instances, inputs and deliveries.
//!
//! Owns the registry (one handle for each object in use, at most one instance behind it) and the tasks that run
//! instances. Knows the log, but no sockets: an object takes [`Input`]s and sends [`Delivery`]s to [`Sink`]s.

mod awake_limit;
mod class;
mod dedupe;
mod delivery;
mod encoded;
mod handle;
pub mod input;
mod instance;
mod lifecycle;
mod mailbox;
mod metrics;
mod post;
pub mod presence;
mod registry;
mod reply;
mod status;
mod task;

pub use class::{Class, Classes, Context, Object, PublishRequest};
pub use delivery::{
    Address, Answer, Answered, Delivery, EventFrames, EventsRead, ReadReply, Refusal, SignalFrames,
    Sink,
};
pub use encoded::Encoded;
pub use handle::Handle;
pub use input::{Input, Source, Verb};
pub use lifecycle::{LastWake, SleepAnswer, State, WakeCause};
pub use metrics::Metrics;
pub use post::Busy;
pub use registry::{InUse, Opened, Registry, Settings};
pub use status::Status;
