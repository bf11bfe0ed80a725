//! A server that was stopped has let go of everything: the next one can start in the same process at once.

use std::time::{Duration, Instant};

use dormouse::Server;
use dormouse::config::Config;
use dormouse::log::OpenError;
use dormouse_protocol::{Encoding, Start};

use crate::client::Client;
use crate::support::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_leaves_its_directory_though_objects_were_awake() {
    let data = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.listen.set_port(0);
    config.internal.set_port(0);
    config.data = data.path().join("log");
    config.classes.room.sleep_after = Duration::from_hours(1);
    config.liveness.close_timeout = Duration::from_millis(100);
    let server = Server::start(config.clone()).await.unwrap();
    let mut client = Client::connect(server.address(), Encoding::Json).await;
    let joined = client.join("room/a", Start::Now).await;
    client.publish(joined.object, "one").await;
    server.shutdown().await;

    // The last of the database's own threads may still be ending.
    let since = Instant::now();
    let again = loop {
        match Server::start(config.clone()).await {
            Err(dormouse::StartError::Log(OpenError::InUse { .. }))
                if since.elapsed() < PATIENCE =>
            {
                tokio::task::yield_now().await;
            }
            started => break started.unwrap(),
        }
    };
    let mut client = Client::connect(again.address(), Encoding::Json).await;
    assert_eq!(client.join("room/a", Start::Now).await.head, 1);
    again.shutdown().await;
}
