//! What several topics need: the program, a HTTP server with a place for what it hands over, and HTTP by hand.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dormouse::auth::Auth;
use dormouse::clock::Clock;
use dormouse::config::Config;
use dormouse::http::{HandOver, Health, HttpServer, Inside};
use dormouse::limits::{Budget, Pressure};
use dormouse::log::{self, Log, ReadPool};
use dormouse::metrics::Metrics;
use dormouse::object::presence::StoredRosters;
use dormouse::object::{self, Classes, Registry};
use dormouse::rates::{self, Rates};
use dormouse::session::Sessions;
use dormouse::socket::{self, Accepted, ReactorBuilders, Reactors};
use dormouse_protocol::Limits;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// No test waits this long unless it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The time in seconds since the Unix epoch, as tokens have it.
pub(crate) fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The program's file.
pub(crate) const DORMOUSE: &str = env!("CARGO_BIN_EXE_dormouse");

/// The program, without any configuration from the environment of the tests.
pub(crate) fn dormouse(args: &[&str]) -> Command {
    dormouse_at(Path::new(DORMOUSE), args)
}

/// The same of a copy of the program's file.
pub(crate) fn dormouse_at(file: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(file);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("DORMOUSE_") {
            command.env_remove(name);
        }
    }
    // Many programs run at the same time.
    command.env("DORMOUSE_INTERNAL", "127.0.0.1:0").env_remove("RUST_LOG").args(args);
    command
}

/// An HTTP server whose upgraded connections are kept for the test.
pub(crate) struct TestHttpServer {
    pub(crate) runtime: Runtime,
    pub(crate) http_server: Option<HttpServer>,
    pub(crate) address: SocketAddr,
    pub(crate) internal: SocketAddr,
    pub(crate) health: Health,
    pub(crate) accepted: Receiver<Accepted>,
    _data: TempDir,
}

impl TestHttpServer {
    pub(crate) fn start(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_on(Runtime::new().unwrap(), change)
    }

    pub(crate) fn start_on(runtime: Runtime, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.listen.set_port(0);
        config.internal.set_port(0);
        change(&mut config);
        let data = TempDir::new().unwrap();
        let (sender, accepted) = channel();
        let sender = Mutex::new(sender);
        let hand_over: HandOver = Arc::new(move |accepted: Accepted| {
            // As a reactor does. It fails where the client is gone already.
            let _ = (&accepted.stream).write_all(&accepted.answer);
            // The test has ended when nobody receives it.
            let _ = sender.lock().send(accepted);
        });
        let (http_server, health) = {
            let _guard = runtime.enter();
            let metrics = Metrics::new().unwrap();
            let inside = inside(data.path(), &metrics);
            let health = Health::new(inside.log.clone());
            let http_server =
                HttpServer::start(&config, &metrics, health.clone(), inside, &hand_over).unwrap();
            (http_server, health)
        };
        Self {
            runtime,
            address: http_server.addresses()[0],
            internal: http_server.internal_addresses()[0],
            http_server: Some(http_server),
            health,
            accepted,
            _data: data,
        }
    }

    pub(crate) fn accepted(&self) -> Accepted {
        self.accepted.recv_timeout(PATIENCE).unwrap()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    /// Sends bytes and reads until the server closes.
    pub(crate) fn exchange(&self, request: &str) -> String {
        exchange(self.address, request)
    }

    pub(crate) fn get(&self, path: &str) -> String {
        self.exchange(&get(path))
    }

    /// Asks at the address for operators.
    pub(crate) fn get_internal(&self, path: &str) -> String {
        exchange(self.internal, &get(path))
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends bytes and reads until the server closes.
pub(crate) fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// A log, no objects and no reactors.
fn inside(data: &Path, metrics: &Metrics) -> Inside {
    let counts = log::Metrics::register(metrics.registry()).unwrap();
    let log = Log::open(data, log::Options::default(), counts).unwrap();
    let budget = Budget::unlimited();
    let sockets = socket::Metrics::register(metrics.registry()).unwrap();
    let builders = ReactorBuilders::new(0, socket::Bounds::default(), &budget, &sockets).unwrap();
    let settings = object::Settings {
        mailbox: 1,
        max_awake: 1,
        max_waking: 1,
        pinned: HashSet::new(),
        dedupe_window: PATIENCE,
        dedupe_events: 1,
        presence: object::presence::Settings {
            interval: PATIENCE,
            grace: PATIENCE,
            max_members: 1,
            page_members: 1,
        },
        budget: budget.clone(),
        clock: Clock::default(),
        reads: ReadPool::current(),
    };
    let counts = object::Metrics::register(metrics.registry()).unwrap();
    let registry = Registry::new(
        log.clone(),
        Classes::new(),
        builders.sinks(),
        settings,
        StoredRosters::default(),
        counts,
    );
    let settings = socket::Settings {
        limits: Limits {
            message_bytes: 1,
            joins: 1,
            in_flight: 1,
            history_events: 1,
            presence_bytes: 1,
            roster_members: 1,
        },
        in_flight_bytes: 1,
        outbound_bytes: 1,
        kept_signals: 1,
        ping_interval: PATIENCE,
        pong_timeout: PATIENCE,
        stall_timeout: PATIENCE,
        message_timeout: PATIENCE,
        expiry_notice: PATIENCE,
        close_timeout: PATIENCE,
        bounds: socket::Bounds::default(),
    };
    let rates = Rates::new(rates::Settings::default(), metrics.registry()).unwrap();
    let rates = Arc::new(rates);
    let auth = auth(data);
    let reactors = Reactors::start(
        builders,
        registry.clone(),
        settings,
        budget.clone(),
        auth.clone(),
        rates.clone(),
        sockets,
    )
    .unwrap();
    let (reactors, pressure) = (Arc::new(reactors), Pressure::default());
    let (sessions, tls) = (sessions(), None);
    Inside { registry, reactors, log, pressure, budget, auth, sessions, rates, tls }
}

/// Without any key: everybody may do everything.
fn auth(data: &Path) -> Arc<Auth> {
    Arc::new(Auth::start(Config::default().auth.settings(data)).unwrap())
}

/// The sessions of every [`TestHttpServer`].
pub(crate) fn sessions() -> Sessions {
    Sessions::new(&[7; 32])
}

/// A handshake in order, with further header lines.
pub(crate) fn handshake(query: &str, headers: &str) -> String {
    format!(
        "GET /v1/connect{query} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
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
