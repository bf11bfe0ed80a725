//! What the scenarios share that put load on a server: whom they aim at, the traffic, and what is told of it.

pub mod outcome;
pub(crate) mod pin;
mod plot;
pub(crate) mod session;
pub mod steady;
pub(crate) mod target;
pub(crate) mod traffic;
