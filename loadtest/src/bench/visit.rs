//! Publishes one small event to each of many objects, joining before and leaving after, so that each wakes once and
//! nobody stays.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::{Result, bail};
use dormouse_protocol::{
    ClientMessage, Encoding, Join, Kind, Leave, ObjectName, Payload, Publish, ServerMessage, Start,
};
use futures_util::future::try_join_all;

use crate::link::Link;

/// Connections that share the objects.
const CONNECTIONS: u64 = 4;
/// Objects that one connection visits at a time: below the server's `limits.joins` and `limits.in_flight`.
const AT_ONCE: usize = 64;

/// The nth object of a scenario.
pub(crate) fn object(nth: u64) -> ObjectName {
    format!("room/{nth}").parse().expect("a number is a name")
}

/// A request to become a member from now on.
pub(crate) fn join(id: u32, object: ObjectName) -> ClientMessage {
    ClientMessage::Join(Join::new(id, object, Start::Now))
}

/// A small publish.
pub(crate) fn publish(id: u32, object: u64) -> ClientMessage {
    let data = Payload::of(&"hello").expect("text is a payload");
    ClientMessage::Publish(Publish {
        id,
        object,
        kind: Kind::default(),
        data,
        key: None,
        after: None,
    })
}

/// Connects to a server.
pub(crate) async fn connect(url: &str) -> Result<Link> {
    let url = format!("{url}/v1/connect");
    Link::connect(url, Encoding::Msgpack).await.map_err(Into::into)
}

/// Visits the objects with these numbers, over a few connections.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn visit(url: &str, objects: Range<u64>) -> Result<()> {
    let Range { start, end } = objects;
    let shares = (0..CONNECTIONS).map(|nth| {
        let share = (start + nth..end).step_by(CONNECTIONS as usize);
        visit_share(url, share)
    });
    try_join_all(shares).await?;
    Ok(())
}

async fn visit_share(url: &str, objects: impl Iterator<Item = u64>) -> Result<()> {
    let mut link = connect(url).await?;
    let mut requests = (1..).zip(objects.map(object)).map(|(id, object)| join(id, object));
    let mut under_way = 0;
    for request in requests.by_ref().take(AT_ONCE) {
        link.send(&request);
        under_way += 1;
    }
    // The ids that the server gave to objects, by the id of all requests of one visit.
    let mut objects = HashMap::new();
    while under_way > 0 {
        match link.receive().await? {
            ServerMessage::Joined(joined) => {
                objects.insert(joined.id, joined.object);
                link.send(&publish(joined.id, joined.object));
            }
            ServerMessage::Published(published) => {
                if let Some(object) = objects.remove(&published.id) {
                    link.send(&ClientMessage::Leave(Leave { id: published.id, object }));
                }
            }
            ServerMessage::Done(_) => match requests.next() {
                Some(request) => link.send(&request),
                None => under_way -= 1,
            },
            ServerMessage::Error(error) => {
                bail!("the server refused: {}: {}", error.code.as_str(), error.message)
            }
            _ => {}
        }
    }
    Ok(())
}
