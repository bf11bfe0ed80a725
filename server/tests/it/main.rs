//! Tests of the server from outside: as a program, over sockets, or through its public parts.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod config;
mod http;
mod program;
mod support;
