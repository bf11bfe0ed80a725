//! Every case of the Autobahn|Testsuite's sections 1 to 7, 9 and 10, and 12 and 13: RFC 6455 and RFC 7692 at the level of bytes,
//! against the echo of the real reactors.
//!
//! Ids, what is sent and what is expected are the suite's (<https://github.com/crossbario/autobahn-testsuite>). Where it calls
//! something strict and something else tolerable, the strict is demanded; where it only looks what happens (7.1.6, 7.13), what
//! happens is written down. Cases of up to 2 KiB are also played octet by octet. `scripts/autobahn` runs the original.

mod case;
mod close;
mod compressed;
mod compression;
mod data;
mod fragments;
mod frames;
mod ids;
mod limits;
mod runner;
mod tungstenite;
mod utf8;

use runner::play_all;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn section_1_framing() {
    play_all(frames::messages()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn section_2_pings_and_pongs() {
    play_all(frames::pings()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn section_3_reserved_bits() {
    play_all(frames::reserved_bits()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn section_4_opcodes() {
    play_all(frames::opcodes()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn section_5_fragmentation() {
    play_all(fragments::cases()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn section_6_utf8() {
    play_all(utf8::cases()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn section_7_close() {
    play_all(close::cases()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn section_9_large_messages() {
    play_all(limits::messages()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn section_9_fragments() {
    play_all(limits::fragments()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn section_9_chops_and_round_trips() {
    play_all(limits::chops_and_round_trips()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn section_10_auto_fragmentation() {
    play_all(limits::auto_fragmentation()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn section_12_compression() {
    compression::play_section(12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn section_13_parameters_of_compression() {
    compression::play_section(13).await;
}
