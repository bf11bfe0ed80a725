//! The whole server: starts its parts in order, and stops them in the reverse order.
//!
//! Knows every part and none of their work.

mod open;
mod settings;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use dormouse_protocol::{CloseCode, ObjectName};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use crate::auth::{self, Auth};
use crate::clock::BeforeEpoch;
use crate::config::{Config, ListenAddress};
use crate::http::{HandOver, Health, HttpServer, Inside};
use crate::limits::{Budget, Level, Pressure, Watch};
use crate::log::{Log, OpenError, ReadError};
use crate::metrics::Metrics;
use crate::object::{Classes, Registry};
use crate::rates::Rates;
use crate::session::KeyError;
use crate::socket::{ReactorBuilders, Reactors};
use crate::tls;
use crate::{clock, descriptors, http, log, object, probe, room, socket};

/// For requests under way when the server stops. All that it answers over HTTP it answers at once.
const HTTP_GRACE: Duration = Duration::from_secs(2);

/// For the reactors to end after the deadline: they are told to, and wait for nothing.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// How often a server whose log has failed looks whether a full disk has room again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A running server.
pub struct Server {
    /// Keeps the keys of tokens up to date.
    auth: Arc<Auth>,
    health: Health,
    http: HttpServer,
    core: Core,
    log: Log,
    metrics: Metrics,
    data: PathBuf,
    /// Keeps the memory below its limit.
    _memory: AbortOnDropHandle<()>,
    shutdown_timeout: Duration,
}

/// The server can't be started; what had been started is stopped again.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The time of day is one that cannot be stored.
    #[error(transparent)]
    Clock(#[from] BeforeEpoch),
    /// The log can't be opened.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// The rosters can't be read.
    #[error("cannot read the rosters")]
    Rosters(#[from] ReadError),
    /// The key of the sessions can't be read or created.
    #[error(transparent)]
    SessionKey(#[from] KeyError),
    /// The system refuses a poller or a thread.
    #[error("cannot start the reactors")]
    Reactors(#[from] io::Error),
    /// The HTTP server can't be started.
    #[error(transparent)]
    HttpServer(#[from] http::Error),
    /// An object is pinned that can't be.
    #[error("objects.pinned names `{0}`, and there is no such class")]
    Pinned(ObjectName),
    /// Other machines could reach the server, and without a key it would let every client do everything.
    #[error(
        "{0} can be reached from other machines, and no key of tokens is configured: make one with `dormouse key create`, \
         or listen on the loopback interface, or start with --insecure"
    )]
    Open(ListenAddress),
    /// The keys of tokens can't be used.
    #[error(transparent)]
    Auth(#[from] auth::StartError),
    /// The certificates can't be used.
    #[error(transparent)]
    Tls(#[from] tls::StartError),
    /// Two metrics have one name.
    #[error("cannot register the metrics")]
    Metrics(#[from] prometheus::Error),
}

/// What serves clients, without the way in and the log.
struct Core {
    reactors: Arc<Reactors>,
    registry: Registry,
}

impl Core {
    /// Answers what is in flight, and closes every connection with `code`; all of it until the deadline.
    async fn stop(self, code: CloseCode, deadline: Instant) {
        let Self { reactors, registry } = self;
        // On threads of their own: those of the runtime may all wait for a disk that hangs.
        let drained = on_own_thread("drain", move || {
            reactors.drain(code, deadline.saturating_duration_since(Instant::now()));
        });
        if timeout_at(deadline + STOP_GRACE, drained).await.is_err() {
            tracing::warn!("the reactors were still busy after the deadline");
        }
        if timeout_at(deadline, registry.end()).await.is_err() {
            tracing::warn!("objects were still busy after the deadline");
        }
    }
}

/// Closes the log, as far as that ends before the deadline.
async fn close(log: Log, deadline: Instant) {
    // A failed log may hang in the database; what it has not stored was never acknowledged.
    if log.has_failed() {
        return;
    }
    if timeout_at(deadline, on_own_thread("close-log", move || log.close())).await.is_err() {
        tracing::warn!("the log was still writing after the deadline");
    }
}

/// Runs something that blocks; ends when it has ended, by a panic too.
async fn on_own_thread(name: &str, work: impl FnOnce() + Send + 'static) {
    let (done, ended) = oneshot::channel::<()>();
    let thread = thread::Builder::new().name(name.into()).spawn(move || {
        let _done = done;
        work();
    });
    match thread {
        Ok(_) => _ = ended.await,
        Err(error) => tracing::error!(%error, name, "the system refuses a thread"),
    }
}

impl Server {
    /// Starts a server, which then accepts clients. Has to be called within a tokio runtime.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let room = room::class(config.classes.room.sleep_after);
        Self::start_with(config, Classes::from([(room::CLASS, room)])).await
    }

    /// Starts a server of objects of other classes.
    pub async fn start_with(mut config: Config, classes: Classes) -> Result<Self, StartError> {
        clock::check()?;
        let is_unknown = |name: &&ObjectName| !classes.contains_key(name.class());
        if let Some(name) = config.objects.pinned.iter().find(is_unknown) {
            return Err(StartError::Pinned(name.clone()));
        }
        let metrics = Metrics::new()?;
        let tables = descriptors::share_out(&mut config);
        let (log_memory, budget) = open::share_memory(&config, metrics.registry())?;
        let log_metrics = log::Metrics::register(metrics.registry())?;
        let log = open::log(&config, tables, log_memory, log_metrics).await?;
        let timeout = config.shutdown_timeout;
        let started = Self::start_on(log.clone(), config, classes, metrics, budget).await;
        if started.is_err() {
            // A program that goes on can start another server on the directory.
            close(log, Instant::now() + timeout).await;
        }
        started
    }

    /// Starts all but the log. If that fails, no thread stays behind.
    async fn start_on(
        log: Log,
        config: Config,
        classes: Classes,
        metrics: Metrics,
        budget: Budget,
    ) -> Result<Self, StartError> {
        let sessions = open::sessions(&config).await?;
        let rosters = open::rosters(log.clone()).await?;
        let auth = Arc::new(open::auth(&config).await?);
        if auth.is_open() && !config.insecure && is_public(&config.listen) {
            return Err(StartError::Open(config.listen));
        }
        let tls = open::tls(&config).await?;
        let health = Health::new(log.clone());
        let socket_metrics = socket::Metrics::register(metrics.registry())?;
        let sockets = settings::sockets(&config);
        let builders = ReactorBuilders::new(
            settings::reactor_count(&config),
            sockets.bounds,
            &budget,
            &socket_metrics,
        )?;
        let registry = Registry::new(
            log.clone(),
            classes,
            builders.sinks(),
            settings::objects(&config, budget.clone()),
            rosters,
            object::Metrics::register(metrics.registry())?,
        );
        let limits = &config.limits;
        let rates =
            config.rates.settings(limits.connections_by_address, limits.connections_by_user);
        let rates = Arc::new(Rates::new(rates, metrics.registry())?);
        let (pressure, limit) = (Pressure::default(), config.limits.memory);
        let watch = Watch::new(budget.clone(), limit, pressure.clone(), metrics.registry())?;
        let reactors = Arc::new(Reactors::start(
            builders,
            registry.clone(),
            sockets,
            budget.clone(),
            auth.clone(),
            rates.clone(),
            socket_metrics,
        )?);
        let hand_over: HandOver = Arc::new({
            let reactors = reactors.clone();
            move |accepted| reactors.accept(accepted)
        });
        let memory = watch_memory(watch, &registry, &reactors);
        let inside = Inside {
            registry: registry.clone(),
            reactors: reactors.clone(),
            log: log.clone(),
            pressure,
            budget,
            auth: auth.clone(),
            sessions,
            rates,
            tls,
        };
        let core = Core { reactors, registry };
        let http = match HttpServer::start(&config, &metrics, health.clone(), inside, &hand_over) {
            Ok(http) => http,
            Err(error) => {
                drop(memory);
                core.stop(CloseCode::GoingAway, Instant::now() + config.shutdown_timeout).await;
                return Err(error.into());
            }
        };
        core.registry.wake_pinned();
        let Config { data, shutdown_timeout, .. } = config;
        Ok(Self { auth, health, http, core, log, metrics, data, _memory: memory, shutdown_timeout })
    }

    /// The registry of what `GET /metrics` prints, for the metrics of an embedding program.
    pub fn metrics(&self) -> &prometheus::Registry {
        self.metrics.registry()
    }

    /// The first address that it listens on, with the real port where port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.http.addresses()[0]
    }

    /// All addresses that it listens on, at least one.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.http.addresses()
    }

    /// Whether clients have to use TLS.
    pub fn uses_tls(&self) -> bool {
        self.http.uses_tls()
    }

    /// The path of the Unix socket for operators, if they have one.
    pub fn internal_socket(&self) -> Option<&Path> {
        self.http.internal_socket()
    }

    /// All addresses that it listens on for operators; none if they have a Unix socket.
    pub fn internal_addresses(&self) -> &[SocketAddr] {
        self.http.internal_addresses()
    }

    /// What checks the tokens of clients.
    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// Waits until the log has failed and its disk works again: then the server should be shut down and started anew. Until
    /// then it serves all but publishes. Only a new start finds out what is on the disk after a failed write or fsync.
    pub async fn wants_restart(&self) {
        self.log.failed().await;
        loop {
            probe::disk_works(&self.data).await;
            if !self.log.is_full() {
                return;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Stops within `shutdown_timeout`: accepts nobody any more, answers what is in flight, tells clients to come
    /// again, and closes the log.
    pub async fn shutdown(self) {
        let deadline = Instant::now() + self.shutdown_timeout;
        self.health.drain();
        let has_failed = self.log.has_failed();
        let code = if has_failed { CloseCode::LogFailed } else { CloseCode::GoingAway };
        // Together: a slow HTTP request must not use up the time that clients have for their replies.
        let http_deadline = deadline.min(Instant::now() + HTTP_GRACE);
        tokio::join!(self.http.stop(http_deadline), self.core.stop(code, deadline));
        let auth = self.auth;
        // Before another server may have the directory.
        let ended = on_own_thread("end-auth", move || auth.end());
        if timeout_at(deadline, ended).await.is_err() {
            tracing::warn!("the use of API keys was still being written after the deadline");
        }
        close(self.log, deadline).await;
    }
}

/// Whether other machines may reach an address. One that cannot be resolved is refused later.
fn is_public(address: &ListenAddress) -> bool {
    let found = address.resolve().unwrap_or_default();
    found.iter().any(|address| !address.ip().is_loopback())
}

/// Lets the parts give up what they can do without while memory is short.
fn watch_memory(
    memory: Watch,
    registry: &Registry,
    reactors: &Arc<Reactors>,
) -> AbortOnDropHandle<()> {
    let (registry, reactors) = (registry.clone(), reactors.clone());
    AbortOnDropHandle::new(tokio::spawn(memory.run(move |level, excess| {
        if level >= Level::NoIdlers {
            registry.relieve();
            reactors.shed(if level >= Level::NoHoarders { excess } else { 0 });
        }
    })))
}
