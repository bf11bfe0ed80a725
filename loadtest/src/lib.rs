//! Load generator and end-to-end checks for Dormouse.
//!
//! Each scenario is a module that plays its clients against a running server and gives a [`report`]. The
//! program `dormouse-loadtest` runs them; the tests run the same code.

pub mod cli;
pub mod client;
mod link;
pub mod replay;
pub mod report;
