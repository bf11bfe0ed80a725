//! What several topics need: the program, a front with a place for what it hands over, and HTTP by hand.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use dormouse::config::Config;
use dormouse::http::{Front, Health};
use dormouse::metrics::Metrics;
use dormouse::socket::Accepted;
use parking_lot::Mutex;
use tokio::runtime::Runtime;

/// No test waits this long unless it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The program, without any configuration from the environment of the tests.
pub(crate) fn dormouse(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("DORMOUSE_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG").args(args);
    command
}

/// A front whose upgraded connections are kept for the test.
pub(crate) struct TestFront {
    pub(crate) runtime: Runtime,
    pub(crate) front: Option<Front>,
    pub(crate) address: SocketAddr,
    pub(crate) health: Health,
    pub(crate) accepted: Receiver<Accepted>,
}

impl TestFront {
    pub(crate) fn start(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.listen.set_port(0);
        change(&mut config);
        let runtime = Runtime::new().unwrap();
        let health = Health::new();
        let (sender, accepted) = channel();
        let sender = Mutex::new(sender);
        let hand_over = Arc::new(move |accepted| {
            // The test has ended when nobody receives it.
            let _ = sender.lock().send(accepted);
        });
        let front = {
            let _guard = runtime.enter();
            let metrics = Metrics::new().unwrap();
            Front::start(&config, &metrics, health.clone(), hand_over).unwrap()
        };
        Self { runtime, address: front.address(), front: Some(front), health, accepted }
    }

    pub(crate) fn accepted(&self) -> Accepted {
        self.accepted.recv_timeout(PATIENCE).unwrap()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes and reads until the server closes.
    pub(crate) fn exchange(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub(crate) fn get(&self, path: &str) -> String {
        self.exchange(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))
    }
}

/// A handshake in order, with further header lines.
pub(crate) fn handshake(query: &str, headers: &str) -> String {
    format!(
        "GET /v1/connect{query} HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// Reads an answer up to the end of its head.
pub(crate) fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Returns when nobody listens there any more.
pub(crate) fn wait_until_refused(address: SocketAddr) {
    let since = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(since.elapsed() < PATIENCE, "{address} still accepts connections");
        std::thread::yield_now();
    }
}
