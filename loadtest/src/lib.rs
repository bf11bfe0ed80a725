//! Load generator and end-to-end checks for Dormouse.
//!
//! Each scenario is a module that plays its clients against a server and gives a [`report`]. The
//! program `dormouse-loadtest` runs them; the tests run the same code. `replay` is given a running server; the
//! benchmarks `idle` and `wake` start one of their own, whose process they measure, and `crash` starts one after another;
//! those that put [`load`] on a server do either.

mod bench;
pub mod cli;
pub mod client;
pub mod compare;
pub mod crash;
mod drive;
pub mod echo;
pub mod fanout;
pub mod hold;
pub mod hostile;
pub mod idle;
mod link;
pub mod load;
pub mod presence;
pub mod replay;
pub mod report;
pub mod resume;
pub mod rooms;
pub mod slow;
pub mod soak;
pub mod wake;
mod wire;
