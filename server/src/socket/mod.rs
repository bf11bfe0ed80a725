//! Sockets: the reactors that own them, from bytes to requests and from deliveries to bytes.
//!
//! Owns every WebSocket from its upgrade on. Knows objects by their handles and the log for catch-up; knows neither
//! HTTP nor the rules of any class.

mod accepted;
mod authenticate;
mod bounds;
mod census;
mod close;
mod connections;
mod decoder;
mod deflate;
mod frame;
mod framing;
mod history;
mod inbox;
mod liveness;
mod memberships;
mod memory;
mod metrics;
mod page;
mod reactor;
mod read;
mod requests;
mod shed;
mod survey;
mod wire_format;
mod write;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use dormouse_protocol::{CloseCode, Limits};
use parking_lot::Mutex;

pub use self::accepted::{Accepted, ConnectionPermit, ConnectionPermits, NoConnectionPermit};
pub use self::bounds::Bounds;
#[cfg(any(test, fuzzing))]
pub use self::decoder::fuzz::frames;
pub use self::deflate::WINDOW_BITS;
use self::inbox::{Command, Inbox, ReactorBuilder};
pub use self::metrics::Metrics;
use self::reactor::Reactor;
#[cfg(test)]
pub(crate) use self::reactor::stepped::Stepped;
pub use self::survey::Census;
pub use self::wire_format::WireFormat;
use crate::auth::Auth;
use crate::limits::Budget;
use crate::object::{Registry, Sink};
use crate::rates::Rates;

/// What the operator decides about connections.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// What clients are told that they may do.
    pub limits: Limits,
    /// Bytes of one connection's publishes that may wait for their reply; more wait in its socket.
    pub in_flight_bytes: usize,
    /// Bytes that may wait for one socket before its members read the log instead.
    pub outbound_bytes: usize,
    /// Signals that are kept for one socket that takes nothing.
    pub kept_signals: usize,
    /// How long a connection may be silent before it is pinged.
    pub ping_interval: Duration,
    /// How long it may be silent after that.
    pub pong_timeout: Duration,
    /// How long a socket may take nothing of what waits for it.
    pub stall_timeout: Duration,
    /// The time between `token_expiring` and the expiry of a token.
    pub expiry_notice: Duration,
    /// How long a message may take to arrive, from its first byte to its last.
    pub message_timeout: Duration,
    /// How long the closing handshake may take.
    pub close_timeout: Duration,
    /// What operators do not decide.
    pub bounds: Bounds,
}

/// What all reactors share.
#[derive(Clone)]
struct Common {
    registry: Registry,
    settings: Settings,
    budget: Budget,
    auth: Arc<Auth>,
    rates: Arc<Rates>,
    metrics: Metrics,
}

/// Reactors that are yet to be started: their inboxes exist, so that objects can be given their way out.
pub struct ReactorBuilders(Vec<ReactorBuilder>);

impl ReactorBuilders {
    /// Makes room for `count` reactors, at most 64, which take their memory out of the budget.
    pub fn new(
        count: usize,
        bounds: Bounds,
        budget: &Budget,
        metrics: &Metrics,
    ) -> io::Result<Self> {
        let builder = |_| ReactorBuilder::new(bounds.inbox_bytes, budget, &metrics.signals_dropped);
        (0..count).map(builder).collect::<io::Result<_>>().map(Self)
    }

    /// The ways out for objects, one for each reactor.
    pub fn sinks(&self) -> Box<[Arc<dyn Sink>]> {
        self.0.iter().map(|builder| builder.inbox.clone() as Arc<dyn Sink>).collect()
    }
}

struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

/// The running reactors.
pub struct Reactors {
    inboxes: Arc<[Arc<Inbox>]>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    metrics: Metrics,
    next: AtomicUsize,
}

impl Reactors {
    /// Starts a thread for each builder, or none.
    pub fn start(
        builders: ReactorBuilders,
        registry: Registry,
        settings: Settings,
        budget: Budget,
        auth: Arc<Auth>,
        rates: Arc<Rates>,
        metrics: Metrics,
    ) -> io::Result<Self> {
        let inboxes: Arc<[_]> = builders.0.iter().map(|builder| builder.inbox.clone()).collect();
        let common = Common { registry, settings, budget, auth, rates, metrics: metrics.clone() };
        let threads = Mutex::default();
        let reactors = Self { inboxes, threads, metrics, next: AtomicUsize::new(0) };
        for (index, builder) in builders.0.into_iter().enumerate() {
            let reactor = Reactor::new(index, builder, common.clone());
            let thread = thread::Builder::new().name(format!("reactor-{index}")).spawn(move || {
                // Without its reactor a connection would hang for ever; after a restart it resumes.
                let _abort = AbortOnPanic;
                if let Err(error) = reactor.run() {
                    panic!("a reactor can't wait for its sockets: {error}");
                }
            });
            match thread {
                Ok(thread) => reactors.threads.lock().push(thread),
                Err(error) => {
                    reactors.drain(CloseCode::GoingAway, Duration::ZERO);
                    return Err(error);
                }
            }
        }
        Ok(reactors)
    }

    /// Gives a socket to one of the reactors, in turn.
    pub fn accept(&self, accepted: Accepted) {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.inboxes.len();
        self.inboxes[next].push(Command::Accepted(Box::new(accepted)));
    }

    /// Takes no more requests, answers those in flight, closes every connection with `code`, and ends. Whatever
    /// is open after `patience` is dropped. Blocking.
    pub fn drain(&self, code: CloseCode, patience: Duration) {
        let threads = std::mem::take(&mut *self.threads.lock());
        for inbox in &*self.inboxes {
            inbox.push(Command::Drain(code));
        }
        let deadline = std::time::Instant::now() + patience;
        while threads.iter().any(|thread| !thread.is_finished()) {
            if std::time::Instant::now() >= deadline {
                self.inboxes.iter().for_each(|inbox| inbox.push(Command::Stop));
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a reactor has panicked");
            }
        }
    }
}
