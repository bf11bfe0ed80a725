//! Reads over HTTP, as an operator's tools do them.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::task::spawn_blocking;

use super::faults::Fault;
use super::stage::Stage;
use crate::bench::http;
use crate::bench::metrics::Metrics;

/// Reads one thing after another until the run is over, about so many a second.
pub(super) async fn run(stage: Arc<Stage>, per_second: f64) {
    let mut nth = 0;
    while stage.is_running() {
        let object = stage.any_object();
        // Before the question: what is acknowledged by now it has to tell.
        let head = stage.oracle().head(object);
        let path = format!("/v1/objects/{}", stage.name(object).as_str());
        let address = stage.internal;
        let which = nth % 3;
        let read = spawn_blocking(move || match which {
            0 => list(address),
            1 => one(address, &path, head),
            _ => Metrics::fetch(address).map(drop),
        });
        nth += 1;
        match read.await.context("a read panicked").flatten() {
            Ok(()) => stage.oracle().counts.reads += 1,
            Err(why) => stage.fault(Fault::Refused, || format!("a read failed: {why:#}")),
        }
        stage.pause(0.0..2.0 / per_second).await;
    }
}

fn list(address: SocketAddr) -> Result<()> {
    let list = serde_json::from_str::<Value>(&http::get(address, "/v1/objects?limit=1000")?)?;
    let objects = list["objects"].as_array().context("no list of objects")?;
    let names = objects.iter().map(|object| object["object"].as_str());
    ensure!(names.is_sorted_by(|a, b| a < b), "the objects are not in the order of their names");
    Ok(())
}

fn one(address: SocketAddr, path: &str, head: u64) -> Result<()> {
    // Nobody knows an object to which nobody has published.
    if head == 0 {
        return Ok(());
    }
    let object = serde_json::from_str::<Value>(&http::get(address, path)?)?;
    let told = object["log"]["head"].as_u64().context("no head")?;
    ensure!(told >= head, "{path} has head {told}, and {head} was acknowledged");
    Ok(())
}
