//! What HTTP hands to the sockets: an upgraded connection, and its permit to be open.
//!
//! A connection counts from the moment at which its upgrade is granted to the moment at which its [`ConnectionPermit`] is
//! dropped, so the bound holds also for upgrades under way. This module knows neither HTTP nor WebSocket frames.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;

use super::wire_format::WireFormat;
use crate::auth::{Admitted, Refusal};
use crate::limits::{Budget, Held, Purpose};
use crate::rates;
use crate::session::{self, BadToken};
use crate::tls::Session;

/// A connection whose WebSocket handshake is done.
#[derive(Debug)]
pub struct Accepted {
    /// The socket, non-blocking.
    pub stream: TcpStream,
    /// The TLS that its bytes are in, if they are: its handshake is done.
    pub tls: Option<Box<Session>>,
    /// What the handshake is still to be answered with, before anything else; nothing if it has its answer.
    pub answer: Bytes,
    /// Bytes that came after the handshake and were read with it: the first frames.
    pub read: Bytes,
    /// How its messages are written.
    pub format: WireFormat,
    /// Every message goes back as it came: for tests of what lies below messages.
    pub echoes: bool,
    /// Whose connection it is. A bad token was upgraded all the same, because browsers see close codes and not the
    /// status of a refused upgrade: it has to be closed with [`dormouse_protocol::CloseCode::BadToken`].
    pub session: Result<session::Session, BadToken>,
    /// What it may do; `None` is everything. A client that is not let in is upgraded all the same, and closed with
    /// [`dormouse_protocol::CloseCode::Unauthorized`].
    pub admitted: Result<Option<Admitted>, Refusal>,
    /// What counts against rate limits; `None` if the client is exempt.
    pub client: Option<rates::Client>,
    /// To be dropped when the connection is closed.
    pub slot: ConnectionPermit,
}

/// Memory of a connection: its entry, what is under way on it, and twice [`Held::FREE`] for what it sends and is sent.
const CONNECTION_BYTES: usize = (1 << 10) + 2 * Held::FREE;

/// There is no permit for another connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoConnectionPermit {
    /// As many are open as may be.
    Full,
    /// The memory budget has no room.
    Memory,
}

/// Counts the WebSocket connections that are open, up to a bound, and takes the memory for them out of the budget.
#[derive(Debug, Clone)]
pub struct ConnectionPermits(Arc<Count>);

#[derive(Debug)]
struct Count {
    open: AtomicUsize,
    granted: AtomicU64,
    limit: usize,
    budget: Budget,
}

/// The permit of an open connection; given back when dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    count: Arc<Count>,
    number: u64,
}

impl ConnectionPermits {
    /// Room for `limit` connections, as far as the budget has room for them.
    pub fn new(limit: usize, budget: Budget) -> Self {
        let (open, granted) = Default::default();
        Self(Arc::new(Count { open, granted, limit, budget }))
    }

    /// A permit, if there is one.
    pub fn take(&self) -> Result<ConnectionPermit, NoConnectionPermit> {
        let count = &self.0;
        let permit = count.budget.try_acquire(Purpose::Connection, CONNECTION_BYTES);
        let permit = permit.ok_or(NoConnectionPermit::Memory)?;
        let free = |open| (open < count.limit).then_some(open + 1);
        let taken = count.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free);
        taken.map_err(|_| NoConnectionPermit::Full)?;
        // The slot gives it back: there are many at rest, and each byte of them counts.
        permit.forget();
        let number = count.granted.fetch_add(1, Ordering::Relaxed);
        Ok(ConnectionPermit { count: Arc::clone(count), number })
    }
}

impl ConnectionPermit {
    /// Grows with every upgrade that is granted: of the connections of one client, one after another, the latest has the
    /// greatest.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.count.open.fetch_sub(1, Ordering::Relaxed);
        self.count.budget.remember(CONNECTION_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_slot_makes_room() {
        let budget = Budget::unlimited();
        let slots = ConnectionPermits::new(2, budget.clone());
        let first = slots.take().unwrap();
        let second = slots.take().unwrap();
        assert_eq!(slots.take().unwrap_err(), NoConnectionPermit::Full);
        drop(first);
        let third = slots.take().unwrap();
        assert_eq!(slots.take().unwrap_err(), NoConnectionPermit::Full);
        assert!(second.number() < third.number(), "the later one is known");
        drop((second, third));
        assert_eq!(budget.in_use(), 0);
    }

    #[test]
    fn a_connection_needs_memory() {
        // Connections leave a part of the budget to what they do.
        let budget = Budget::new(2 * CONNECTION_BYTES, &prometheus::Registry::new()).unwrap();
        let slots = ConnectionPermits::new(2, budget);
        let first = slots.take().unwrap();
        assert_eq!(slots.take().unwrap_err(), NoConnectionPermit::Memory);
        drop(first);
        assert!(slots.take().is_ok());
    }
}
