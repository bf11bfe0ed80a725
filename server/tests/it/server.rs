//! A server in this process, on a directory of its own, that can be stopped and started again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dormouse::Server;
use dormouse::config::Config;
use dormouse::object::Classes;
use dormouse::room;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::PATIENCE;

pub(crate) struct TestServer {
    server: Option<Server>,
    pub(crate) config: Config,
    classes: Classes,
    pub(crate) address: SocketAddr,
    _data: TempDir,
}

impl TestServer {
    pub(crate) async fn start(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_with(Classes::from([(room::CLASS, room::class())]), change).await
    }

    pub(crate) async fn start_with(classes: Classes, change: impl FnOnce(&mut Config)) -> Self {
        let data = TempDir::new().unwrap();
        let mut config = Config::default();
        config.listen.set_port(0);
        config.data = data.path().join("log");
        config.reactors = 2;
        config.liveness.close_timeout = Duration::from_secs(1);
        change(&mut config);
        let server = Server::start_with(config.clone(), classes.clone()).await.unwrap();
        let address = server.address();
        config.listen = address;
        Self { server: Some(server), config, classes, address, _data: data }
    }

    pub(crate) async fn stop(&mut self) {
        self.server.take().unwrap().shutdown().await;
    }

    /// Stops, and starts again at the same address.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    pub(crate) async fn start_again(&mut self) {
        let server = Server::start_with(self.config.clone(), self.classes.clone()).await.unwrap();
        self.server = Some(server);
    }

    pub(crate) async fn metrics(&self) -> String {
        metrics(self.address).await
    }

    /// The value of a metric, named with its labels as `GET /metrics` prints them.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let text = self.metrics().await;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse::<f64>().unwrap() as u64)
    }

    /// Asks until a metric is as wanted.
    pub(crate) async fn metric_is(&self, name: &str, wanted: impl Fn(u64) -> bool) {
        let since = Instant::now();
        loop {
            let value = self.metric(name).await;
            if wanted(value) {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "{name} stays {value}");
        }
    }
}

pub(crate) async fn metrics(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
