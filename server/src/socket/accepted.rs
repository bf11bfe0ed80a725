//! What HTTP hands to the sockets: an upgraded connection, and its place among those that may be open.
//!
//! A connection counts from the moment at which its upgrade is granted to the moment at which its [`Slot`] is
//! dropped, so the bound holds also for upgrades under way. This module knows neither HTTP nor WebSocket frames.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;

use super::form::Form;
use crate::session::{BadToken, Session};

/// A connection whose WebSocket handshake is done.
#[derive(Debug)]
pub struct Accepted {
    /// The socket, non-blocking.
    pub stream: TcpStream,
    /// What the handshake is still to be answered with, before anything else; nothing if it has its answer.
    pub answer: Bytes,
    /// Bytes that came after the handshake and were read with it: the first frames.
    pub read: Bytes,
    /// How its messages are written.
    pub form: Form,
    /// Every message goes back as it came: for tests of what lies below messages.
    pub echoes: bool,
    /// Whose connection it is. A bad token was upgraded all the same, because browsers see close codes and not the
    /// status of a refused upgrade: it has to be closed with [`dormouse_protocol::CloseCode::BadToken`].
    pub session: Result<Session, BadToken>,
    /// To be dropped when the connection is closed.
    pub slot: Slot,
}

/// Counts the WebSocket connections that are open, up to a bound.
#[derive(Debug, Clone)]
pub struct Slots(Arc<Count>);

#[derive(Debug)]
struct Count {
    open: AtomicUsize,
    granted: AtomicU64,
    limit: usize,
}

/// One open connection's place; dropping it makes room for another.
#[derive(Debug)]
pub struct Slot {
    count: Arc<Count>,
    number: u64,
}

impl Slots {
    /// Room for `limit` connections.
    pub fn new(limit: usize) -> Self {
        let (open, granted) = Default::default();
        Self(Arc::new(Count { open, granted, limit }))
    }

    /// A place, or `None` when all are taken.
    pub fn take(&self) -> Option<Slot> {
        let count = &self.0;
        let free = |open| (open < count.limit).then_some(open + 1);
        count.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).ok()?;
        let number = count.granted.fetch_add(1, Ordering::Relaxed);
        Some(Slot { count: Arc::clone(count), number })
    }
}

impl Slot {
    /// Grows with every upgrade that is granted: of the connections of one client, one after another, the latest has the
    /// greatest.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.count.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_slot_makes_room() {
        let slots = Slots::new(2);
        let first = slots.take().unwrap();
        let second = slots.take().unwrap();
        assert!(slots.take().is_none());
        drop(first);
        let third = slots.take().unwrap();
        assert!(slots.take().is_none());
        assert!(second.number() < third.number(), "the later one is known");
    }
}
