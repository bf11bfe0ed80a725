//! The HTTP server: routes, and the handshake after which a connection belongs to the sockets.
//!
//! [`HttpServer`] owns the listener and the connections that are still in HTTP. It knows nothing of what happens on a
//! WebSocket: an upgraded connection is handed over as [`Accepted`] and forgotten.

mod api_keys;
mod compression;
mod connection;
mod connection_limiter;
mod controls;
mod credentials;
mod fast_path;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod gate;
mod handshake;
mod headers;
mod health;
mod host;
mod listener;
mod log_throttle;
mod metrics;
mod objects;
mod opening;
mod origin;
mod page;
mod peer;
mod problem;
mod proxy_header;
mod reject;
mod reserve_descriptor;
mod revocations;
mod routes;
mod shared;
mod transport;
mod unix;
mod upgrade;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use self::connection_limiter::ConnectionLimiter;
use self::log_throttle::LogThrottle;
use self::reserve_descriptor::ReserveDescriptor;
use self::unix::UnixSocket;
use crate::auth::Auth;
use crate::config::{Config, ListenAddress, OperatorsAddress};
use crate::limits::{Budget, Pressure};
use crate::log::Log;
use crate::metrics::Metrics;
use crate::object::Registry;
use crate::rates::Rates;
use crate::session::Sessions;
use crate::socket::{Accepted, ConnectionPermits, Reactors};
use crate::tls::Tls;

#[cfg(any(test, fuzzing))]
pub use fuzz::{handshake, proxy_header, query};
pub use health::{Health, NotReady};

/// Takes the connections that have become WebSockets. It is called on a worker of the runtime and must not block.
pub type HandOver = Arc<dyn Fn(Accepted) + Send + Sync>;

/// The other parts of the server, as far as HTTP shows them to operators.
pub struct Inside {
    /// The objects.
    pub registry: Registry,
    /// The sockets.
    pub reactors: Arc<Reactors>,
    /// The log.
    pub log: Log,
    /// Whether memory is short.
    pub pressure: Pressure,
    /// The memory that may be held for clients.
    pub budget: Budget,
    /// Checks tokens of access.
    pub auth: Arc<Auth>,
    /// Issues sessions.
    pub sessions: Sessions,
    /// Rate limits.
    pub rates: Arc<Rates>,
    /// The TLS of the public address, if it has any.
    pub tls: Option<Arc<Tls>>,
}

/// Each connection watches the deadline itself; this only covers the time that it needs to end.
const LAST_TURN: Duration = Duration::from_secs(1);

/// Connections of operators that may be in HTTP at once. They are apart from those of clients, so that a flood of clients does not
/// keep operators out.
const INTERNAL_CONNECTIONS: usize = 64;

/// The HTTP server, until it is stopped.
#[derive(Debug)]
pub struct HttpServer {
    /// For clients.
    public: Entrance,
    /// For operators.
    internal: Entrance,
    unix_path: Option<PathBuf>,
    uses_tls: bool,
    /// Set to the moment by which everything has to be closed.
    closing: watch::Sender<Option<Instant>>,
}

/// Where the HTTP server listens for one kind of user.
#[derive(Debug)]
struct Entrance {
    addresses: Vec<SocketAddr>,
    /// A permit for each connection that may be in HTTP, and how many there are.
    in_http: (Arc<Semaphore>, u32),
    limiter: ConnectionLimiter,
    accepting: Vec<JoinHandle<()>>,
}

/// The HTTP server can't be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is in use, not one of this machine, or not allowed.
    #[error("cannot listen on {address}: free it, or choose another one with --{key}")]
    Listen {
        /// The key of the configuration.
        key: &'static str,
        /// The address that was asked for.
        address: ListenAddress,
        /// What the system said.
        source: io::Error,
    },
    /// The Unix socket cannot be made: another server has it, or the directory is not there.
    #[error("cannot listen on unix:{}: free it, or choose another one with --internal", .path.display())]
    ListenUnix {
        /// The path that was asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Two parts want metrics of one name.
    #[error("cannot register the metrics of HTTP")]
    Metrics(#[from] prometheus::Error),
}

impl HttpServer {
    /// Listens and serves. Has to be called within a tokio runtime.
    pub fn start(
        config: &Config,
        metrics: &Metrics,
        health: Health,
        inside: Inside,
        hand_over: &HandOver,
    ) -> Result<Self, Error> {
        let counts = metrics::Counts::register(metrics.registry())?;
        let public = bind(&config.listen, "listen")?;
        let internal = match &config.internal {
            OperatorsAddress::Tcp(address) => (bind(address, "internal")?, None),
            OperatorsAddress::Unix(path) => (Vec::new(), Some(bind_unix(path)?)),
        };
        counts.connections_limit.set(config.limits.connections.cast_signed() as i64);
        let (closing, closed) = watch::channel(None);
        let shared = Arc::new(shared::Shared {
            slots: ConnectionPermits::new(config.limits.connections, inside.budget.clone()),
            hosts: host::Hosts::new(&config.allowed_hosts),
            origins: origin::Origins::new(&config.allowed_origins),
            health,
            inside,
            test_controls: config.test_controls,
            offers: handshake::Offers {
                compression: config.compression,
                echo: config.test_controls,
            },
            cookie: config.auth.cookie.clone(),
            auth_time: config.limits.handshake_timeout,
            counts,
            full: LogThrottle::default(),
            unknown_proxy: LogThrottle::default(),
            metrics: metrics.clone(),
        });
        let server = |routes, opening| {
            let (shared, hand_over) = (shared.clone(), HandOver::clone(hand_over));
            let head_time = config.limits.handshake_timeout;
            connection::Server::new(shared, routes, opening, hand_over, head_time)
        };
        let closed = Closing(closed);
        let opening = opening::Opening {
            tls: shared.inside.tls.clone(),
            proxy_header: config.rates.proxy_protocol,
        };
        let clients = server(routes::public(&shared), opening);
        let public = Entrance::open(public, &clients, &closed, config.limits.http_connections);
        let (listeners, unix) = internal;
        let plain = opening::Opening::default;
        let operators = server(routes::internal(&shared), plain());
        let mut internal = Entrance::open(listeners, &operators, &closed, INTERNAL_CONNECTIONS);
        let unix_path = unix.as_ref().map(|unix| unix.path().to_owned());
        if let Some(unix) = unix {
            internal.accept_unix(unix, server(routes::internal_unix(&shared), plain()), closed);
        }
        Ok(Self { public, internal, unix_path, uses_tls: shared.inside.tls.is_some(), closing })
    }

    /// The addresses for clients, at least one, with the real port where port 0 was asked for.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.public.addresses
    }

    /// Whether clients have to use TLS.
    pub fn uses_tls(&self) -> bool {
        self.uses_tls
    }

    /// The path of the Unix socket for operators, if it listens there.
    pub fn internal_socket(&self) -> Option<&Path> {
        self.unix_path.as_deref()
    }

    /// The addresses for operators, likewise; none if they have a Unix socket.
    pub fn internal_addresses(&self) -> &[SocketAddr] {
        &self.internal.addresses
    }

    /// Stops listening, lets requests under way finish until the deadline, and cuts off what is left. After this
    /// nothing is handed over any more.
    pub async fn stop(self, deadline: Instant) {
        self.closing.send_replace(Some(deadline));
        let ended = async { tokio::join!(self.public.ended(), self.internal.ended()) };
        if timeout_at(deadline + LAST_TURN, ended).await.is_err() {
            tracing::warn!("HTTP connections were still open after the deadline");
        }
    }
}

fn bind_unix(path: &Path) -> Result<UnixSocket, Error> {
    UnixSocket::bind(path).map_err(|source| Error::ListenUnix { path: path.to_owned(), source })
}

fn bind(
    address: &ListenAddress,
    key: &'static str,
) -> Result<Vec<(listener::Listener, SocketAddr)>, Error> {
    listener::bind_all(address).map_err(|source| Error::Listen {
        key,
        address: address.clone(),
        source,
    })
}

impl Entrance {
    /// Accepts connections, of which `most` may be in HTTP at once.
    fn open(
        listeners: Vec<(listener::Listener, SocketAddr)>,
        server: &connection::Server,
        closing: &Closing,
        most: usize,
    ) -> Self {
        let most = most.min(Semaphore::MAX_PERMITS);
        let in_http = Arc::new(Semaphore::new(most));
        let limiter = ConnectionLimiter::new(Arc::clone(&in_http));
        let (mut addresses, mut accepting) = (Vec::new(), Vec::new());
        for (listener, address) in listeners {
            addresses.push(address);
            let acceptor = listener::Acceptor {
                listener,
                server: server.clone(),
                limiter: limiter.clone(),
                reserve: ReserveDescriptor::new(),
                closing: closing.clone(),
            };
            accepting.push(tokio::spawn(acceptor.run()));
        }
        Self { addresses, in_http: (in_http, most as u32), limiter, accepting }
    }

    fn accept_unix(&mut self, socket: UnixSocket, server: connection::Server, closing: Closing) {
        let running = socket.run(server, self.limiter.clone(), closing);
        self.accepting.push(tokio::spawn(running));
    }

    /// Waits until nothing is accepted any more and every connection has left HTTP.
    async fn ended(self) {
        for accepting in self.accepting {
            if let Err(error) = accepting.await {
                tracing::error!(%error, "the accept loop ended early");
            }
        }
        let (in_http, most) = self.in_http;
        // It fails if the semaphore was closed, which nothing does.
        let _ = in_http.acquire_many(most).await;
    }
}

/// Tells connections that the HTTP server closes, and by when.
#[derive(Debug, Clone)]
struct Closing(watch::Receiver<Option<Instant>>);

impl Closing {
    /// Waits for the HTTP server to close. An HTTP server that was dropped closes at once.
    async fn deadline(&mut self) -> Instant {
        let deadline = self.0.wait_for(Option::is_some).await.ok().and_then(|at| *at);
        deadline.unwrap_or_else(Instant::now)
    }
}
