//! Pairs of publishes, the first to an object asleep, the second to the same object awake. They alternate, so that
//! what the disk does hits both alike, and one is in flight at a time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use dormouse_protocol::ServerMessage;
use hdrhistogram::Histogram;

use crate::bench::visit::{connect, join, object, publish};
use crate::link::Link;

/// Joins that wait for their reply at one time: below the server's `limits.in_flight`.
const AT_ONCE: usize = 64;

/// Times from publish to `published`, in nanoseconds.
pub(super) struct Times {
    pub(super) asleep: Histogram<u64>,
    pub(super) awake: Histogram<u64>,
}

/// Joins the objects with these numbers, which wakes none, and publishes twice to each.
#[tokio::main(flavor = "current_thread")]
pub(super) async fn publish_pairs(url: &str, objects: &[u64]) -> Result<Times> {
    let mut link = connect(url).await?;
    let ids = join_all(&mut link, objects).await?;
    let hour = Duration::from_hours(1).as_nanos() as u64;
    let empty = Histogram::new_with_max(hour, 3)?;
    let mut times = Times { asleep: empty.clone(), awake: empty };
    for object in ids {
        times.asleep.record(time_publish(&mut link, object).await?.as_nanos() as u64)?;
        times.awake.record(time_publish(&mut link, object).await?.as_nanos() as u64)?;
    }
    Ok(times)
}

/// Joins and tells the objects' ids, in order.
async fn join_all(link: &mut Link, objects: &[u64]) -> Result<Vec<u64>> {
    let mut requests = (0..).zip(objects).map(|(id, &nth)| join(id, object(nth)));
    for request in requests.by_ref().take(AT_ONCE) {
        link.send(&request);
    }
    let mut ids = HashMap::with_capacity(objects.len());
    while ids.len() < objects.len() {
        if let ServerMessage::Joined(joined) = receive(link).await? {
            ids.insert(joined.id, joined.object);
            if let Some(request) = requests.next() {
                link.send(&request);
            }
        }
    }
    Ok((0..).map_while(|id| ids.get(&id).copied()).collect())
}

/// The time until a publish is acknowledged. Waits for the event itself, too, so that its delivery is not in the way
/// of the next publish.
async fn time_publish(link: &mut Link, object: u64) -> Result<Duration> {
    let start = Instant::now();
    link.send(&publish(1, object));
    let (mut acknowledged, mut is_delivered) = (None, false);
    loop {
        match receive(link).await? {
            ServerMessage::Published(_) => acknowledged = Some(start.elapsed()),
            ServerMessage::Events(_) => is_delivered = true,
            _ => continue,
        }
        if let (Some(time), true) = (acknowledged, is_delivered) {
            return Ok(time);
        }
    }
}

async fn receive(link: &mut Link) -> Result<ServerMessage> {
    match link.receive().await? {
        ServerMessage::Error(error) => {
            bail!("the server refused: {}: {}", error.code.as_str(), error.message)
        }
        message => Ok(message),
    }
}
