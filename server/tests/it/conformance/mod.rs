//! What is expected of durable objects that sleep under open sockets, check by check: `CONFORMANCE.md` says which test shows
//! which, and a test here holds that table to the sources.
//!
//! The tests steer an object by the controls and by the hooks of its class, never by waiting for a while.

mod diary;
mod failing;
mod frames;
mod liveness;
mod members;
mod sleeping;
mod table;
mod waking;

use std::sync::Arc;
use std::time::Duration;

use dormouse::config::Config;
use dormouse::object::Classes;
use dormouse_protocol::{ClientMessage, Encoding, Publish};
use serde_json::Value;

use crate::client::{Client, Payload, number};
use crate::server::TestServer;
use diary::{Diary, Hook};

const NEVER: Duration = Duration::from_hours(1);

/// A server whose objects of the class `test` write into the diary, and sleep when they are asked only.
async fn start(diary: &Arc<Diary>) -> TestServer {
    start_with(diary, NEVER, |_| {}).await
}

async fn start_with(
    diary: &Arc<Diary>,
    sleep_after: Duration,
    change: impl FnOnce(&mut Config),
) -> TestServer {
    let classes = Classes::from([("test", diary::class(diary, sleep_after))]);
    TestServer::start_with(classes, |config| {
        config.test_controls = true;
        change(config);
    })
    .await
}

/// Puts an object to sleep, and returns what the server then shows of it.
async fn put_to_sleep(server: &TestServer, name: &str) -> Value {
    let (status, answer) = server.ask(&format!("POST /v1/objects/{name}/sleep")).await;
    assert!(matches!(status, 200 | 202), "{answer}");
    server.object_is(name, "asleep").await
}

async fn crash(server: &TestServer, name: &str) {
    let (status, answer) = server.ask(&format!("POST /v1/objects/{name}/crash")).await;
    assert_eq!(status, 202, "{answer}");
}

async fn join(server: &TestServer, encoding: Encoding, name: &str) -> (Client, u64) {
    let mut client = Client::connect(server.address, encoding).await;
    let object = client.join_now(name).await;
    (client, object)
}

/// Sends a publish of a kind that the class knows: see [`diary`].
async fn say(client: &mut Client, object: u64, kind: &str) -> u32 {
    let (id, data) = (client.id(), Payload::of(&()).unwrap());
    let kind = kind.parse().unwrap();
    client
        .send(&ClientMessage::Publish(Publish { id, object, kind, data, key: None, after: None }))
        .await;
    id
}

/// Which message of its instance this is.
async fn count(client: &mut Client, object: u64) -> u64 {
    let id = say(client, object, "count").await;
    let offset = client.published(id).await.offset;
    number(client.events_until(object, offset).await.last().unwrap())
}
