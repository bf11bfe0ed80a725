//! Hostile peers: whatever one of them does meets a bound with a name, a code and a metric (promise 9), and the others don't feel
//! it (promise 7).

mod crowds;
mod descriptors;
mod fairness;
mod floods;
mod handshakes;
mod memory;
mod messages;
mod questions;
mod silence;
mod tls;
