//! Readers that read nothing for a while, so that what is meant for them stays with the server, and then read on.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use dormouse_protocol::{Encoding, Join, Start, Watch};
use tokio::time::Instant;

use super::checked_client::CheckedClient;
use super::faults::Fault;
use super::oracle::Reader;
use super::stage::{HOT, Phase, Stage, random};

/// What the system takes in for it: the least that Linux gives.
const RECEIVE_BUFFER: u32 = 2 << 10;
/// How long it may take to catch up in the end.
const PATIENCE: Duration = Duration::from_mins(1);

/// Falls behind and catches up until the run is over, and then has to be given everything.
pub(super) async fn run(stage: Arc<Stage>, number: usize, encoding: Encoding) {
    if let Err(why) = read(&stage, number % HOT, encoding).await {
        stage.fault(Fault::Refused, || format!("slow reader {number} failed: {why:#}"));
    }
}

async fn read(stage: &Arc<Stage>, object: usize, encoding: Encoding) -> Result<()> {
    let mut client = CheckedClient::connect(stage, None, encoding, Some(RECEIVE_BUFFER)).await?;
    let mut join = Join::new(0, stage.name(object).clone(), Start::Now);
    join.watch = Watch::Roster;
    client.join(Reader::new(object), join).await?;
    while stage.is_running() {
        stage.pause(2.0..20.0).await;
        client.listen(Instant::now() + random(1.0..6.0)).await?;
    }
    let until = Instant::now() + PATIENCE;
    while stage.phase() < Phase::Draining || !client.is_complete() {
        ensure!(Instant::now() < until, "it did not catch up in a minute");
        client.listen(Instant::now() + Duration::from_millis(100)).await?;
    }
    if let Some((reader, _)) = client.take_reader() {
        reader.close(&mut stage.oracle());
    }
    client.close().await
}
