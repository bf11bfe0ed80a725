//! Dormouse: a self-hosted server of durable objects for WebSockets.
//!
//! [`Server`] is the whole of it, for the `dormouse` program, for embedding and for tests. Imports point one way:
//! `http` → `socket` → `object` → `log`, and `dormouse_protocol` below them all.

pub mod auth;
pub mod clock;
pub mod config;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod http;
pub mod limits;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod object;
pub mod rates;
pub mod room;
pub mod session;
pub mod socket;
pub mod tls;

mod descriptors;
mod periodic;
mod probe;
mod recent_map;
mod server;
#[cfg(test)]
mod sim;

pub use server::{Server, StartError};
