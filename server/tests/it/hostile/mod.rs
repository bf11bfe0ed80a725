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

use std::net::SocketAddr;

use crate::client::{Client, ENCODINGS};

/// Somebody well-behaved, for whom everything works.
async fn bystander(address: SocketAddr) {
    for encoding in ENCODINGS {
        let mut client = Client::connect(address, encoding).await;
        let object = client.join_now(&format!("room/bystander-{encoding:?}")).await;
        let offset = client.publish(object, 1).await.offset;
        client.events_until(object, offset).await;
        client.nothing_more().await;
    }
}
