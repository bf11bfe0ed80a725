//! A server in this process, on a directory of its own, that can be stopped and started again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dormouse::config::Config;
use dormouse::log::OpenError;
use dormouse::object::Classes;
use dormouse::{Server, StartError, room};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use crate::support::PATIENCE;

pub(crate) struct TestServer {
    /// Of its own, so that a stop ends the objects' instances too.
    running: Option<(Runtime, Server)>,
    pub(crate) config: Config,
    classes: Classes,
    pub(crate) address: SocketAddr,
    /// The one for operators.
    pub(crate) internal: SocketAddr,
    _data: TempDir,
}

impl TestServer {
    pub(crate) async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let (data, config) = configured(change);
        let room = room::class(config.classes.room.sleep_after);
        Self::launch(data, config, Classes::from([(room::CLASS, room)])).await
    }

    pub(crate) async fn start_with(classes: Classes, change: impl FnOnce(&mut Config)) -> Self {
        let (data, config) = configured(change);
        Self::launch(data, config, classes).await
    }

    async fn launch(data: TempDir, mut config: Config, classes: Classes) -> Self {
        let (runtime, server) = run(&config, &classes).await;
        let (address, internal) = (server.address(), server.internal_addresses()[0]);
        config.listen = address.into();
        config.internal = internal.into();
        Self { running: Some((runtime, server)), config, classes, address, internal, _data: data }
    }

    pub(crate) async fn stop(&mut self) {
        let (runtime, server) = self.running.take().unwrap();
        runtime.spawn(server.shutdown()).await.unwrap();
        runtime.shutdown_background();
    }

    /// Stops, and starts again at the same address.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Starts a server that was stopped, with what its configuration is now.
    pub(crate) async fn start_again(&mut self) {
        let (runtime, server) = run(&self.config, &self.classes).await;
        self.address = server.address();
        self.internal = server.internal_addresses()[0];
        self.running = Some((runtime, server));
    }

    pub(crate) async fn metrics(&self) -> String {
        metrics(self.internal).await
    }

    /// Asks with a method and a path; the status and the body.
    pub(crate) async fn ask(&self, request: &str) -> (u16, Value) {
        let answer =
            exchange(self.internal, &format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
                .await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}")))
    }

    /// An object as the server shows it.
    pub(crate) async fn object(&self, name: &str) -> Value {
        let (status, object) = self.ask(&format!("GET /v1/objects/{name}")).await;
        assert_eq!(status, 200, "{object}");
        object
    }

    /// Asks until an object is in a state.
    pub(crate) async fn object_is(&self, name: &str, state: &str) -> Value {
        let since = Instant::now();
        loop {
            let object = self.object(name).await;
            if object["state"] == state {
                return object;
            }
            assert!(since.elapsed() < PATIENCE, "{name} is not {state}: {object}");
        }
    }

    /// The value of a metric, named with its labels as `GET /metrics` prints them.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        metric(self.internal, name).await
    }

    /// Asks until a metric is as wanted.
    pub(crate) async fn metric_is(&self, name: &str, wanted: impl Fn(u64) -> bool) {
        metric_is(self.internal, name, wanted).await;
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some((runtime, _)) = self.running.take() {
            runtime.shutdown_background();
        }
    }
}

fn configured(change: impl FnOnce(&mut Config)) -> (TempDir, Config) {
    let data = TempDir::new().unwrap();
    let mut config = Config::default();
    config.listen.set_port(0);
    config.internal.set_port(0);
    config.data = data.path().join("log");
    config.reactors = 2;
    config.liveness.close_timeout = Duration::from_secs(1);
    change(&mut config);
    (data, config)
}

async fn run(config: &Config, classes: &Classes) -> (Runtime, Server) {
    let since = Instant::now();
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    loop {
        let start = Server::start_with(config.clone(), classes.clone());
        match runtime.spawn(start).await.unwrap() {
            Ok(server) => return (runtime, server),
            // The last tasks of the server before are about to end.
            Err(StartError::Log(OpenError::InUse { .. })) if since.elapsed() < PATIENCE => {}
            Err(error) => panic!("{error}"),
        }
    }
}

pub(crate) async fn metrics(address: SocketAddr) -> String {
    exchange(address, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await
}

/// See [`TestServer::metric`].
pub(crate) async fn metric(address: SocketAddr, name: &str) -> u64 {
    let text = metrics(address).await;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

/// See [`TestServer::metric_is`].
pub(crate) async fn metric_is(address: SocketAddr, name: &str, wanted: impl Fn(u64) -> bool) {
    let since = Instant::now();
    loop {
        let value = metric(address, name).await;
        if wanted(value) {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "{name} stays {value}");
    }
}

/// Sends a request and reads until the server closes.
pub(crate) async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
