//! Tests of the server from outside: as a program, over sockets, or through its public parts.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod api_keys;
mod architecture;
mod checked_client;
mod client;
mod config;
mod conformance;
mod dashboard;
#[cfg(target_os = "linux")]
mod disk;
mod encrypted;
mod guarded;
mod handshakes;
mod hostile;
mod http;
mod import_cycles;
mod interests;
mod jwks_tls;
mod lifetime;
mod objects;
mod process;
mod program;
mod promise_10_crash;
mod promise_11_access;
mod promise_11_tokens;
mod promise_1_one_instance;
mod promise_2_large_audience;
mod promise_2_one_order;
mod promise_3_durable_first;
mod promise_4_once;
mod promise_5_resume;
mod promise_6_sleep;
mod promise_7_slow_reader;
mod promise_8_absence;
mod promise_8_any_order;
mod promise_8_presence;
mod promise_8_reading;
mod promise_8_storm;
mod promise_9_bounds;
mod promise_9_rates;
mod raw;
mod restart;
mod rfc6455;
mod server;
mod sim;
mod support;
mod table;
mod tls;
mod tokens;
mod unix_socket;
mod upgrade;
mod websocket;
