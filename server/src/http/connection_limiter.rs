//! The connections that are in HTTP, in the order in which they came: at most so many.
//!
//! If all permits are taken, a new connection gets that of the oldest one. Honest requests are answered within milliseconds, so a
//! peer that opens idle connections only ends its own. If the newest were rejected, such a peer would keep all others out.
//!
//! A TLS handshake costs the server much CPU time. If many clients connect at once and each new connection closed the oldest, no handshake
//! would end. So a connection keeps its permit for a time after its handshake has begun. New connections wait in the kernel's queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep_until};

/// How long a connection keeps its permit after its TLS handshake has begun.
const HANDSHAKE_GRACE: Duration = Duration::from_secs(1);

/// All of them. Clones share it: there is one for all addresses that the server listens on.
#[derive(Debug, Clone)]
pub(super) struct ConnectionLimiter {
    places: Arc<Semaphore>,
    oldest_first: Arc<Mutex<VecDeque<Inside>>>,
}

/// A connection with a permit, which the limiter may take back.
#[derive(Debug)]
struct Inside {
    told: oneshot::Sender<()>,
    /// The limiter does not take it back before this time.
    stays_until: Option<Instant>,
}

/// A connection's permit.
pub(super) struct HttpPermit {
    /// Told when it has to give way.
    pub(super) gives_way: oneshot::Receiver<()>,
    _permit: OwnedSemaphorePermit,
}

impl ConnectionLimiter {
    /// Room for as many as the semaphore has permits.
    pub(super) fn new(places: Arc<Semaphore>) -> Self {
        Self { places, oldest_first: Arc::default() }
    }

    /// A permit for one more connection; `None` after the end. Waits only until the oldest connection that may be closed has closed.
    pub(super) async fn enter(&self, begins_tls: bool) -> Option<HttpPermit> {
        let permit = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.make_room().await?,
        };
        let (told, gives_way) = oneshot::channel();
        let mut oldest_first = self.oldest_first.lock();
        let stays_until = begins_tls.then(|| Instant::now() + HANDSHAKE_GRACE);
        oldest_first.push_back(Inside { told, stays_until });
        while oldest_first.front().is_some_and(|inside| inside.told.is_closed()) {
            oldest_first.pop_front();
        }
        Some(HttpPermit { gives_way, _permit: permit })
    }

    async fn make_room(&self) -> Option<OwnedSemaphorePermit> {
        let freed = Arc::clone(&self.places).acquire_owned();
        tokio::pin!(freed);
        while let Some(until) = self.tell_oldest() {
            tokio::select! {
                biased;
                permit = &mut freed => return permit.ok(),
                () = sleep_until(until) => {}
            }
        }
        freed.await.ok()
    }

    /// Tells the oldest connection that may be closed to close. If there is none, returns the time when there is one.
    fn tell_oldest(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut oldest_first = self.oldest_first.lock();
        oldest_first.retain(|inside| !inside.told.is_closed());
        let may_go = |inside: &Inside| inside.stays_until.is_none_or(|until| until <= now);
        if let Some(oldest) = oldest_first.iter().position(may_go) {
            if let Some(oldest) = oldest_first.remove(oldest) {
                // It may have ended just now, and left its permit.
                let _ = oldest.told.send(());
            }
            return None;
        }
        oldest_first.iter().filter_map(|inside| inside.stays_until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_gives_way_when_all_places_are_taken() {
        let limiter = ConnectionLimiter::new(Arc::new(Semaphore::new(2)));
        let mut first = limiter.enter(false).await.unwrap();
        let second = limiter.enter(false).await.unwrap();
        drop(second);
        let mut third = limiter.enter(false).await.unwrap();
        assert!(first.gives_way.try_recv().is_err(), "there was room");
        let (fourth, ()) = tokio::join!(limiter.enter(false), async {
            (&mut first.gives_way).await.unwrap();
            drop(first);
        });
        assert!(third.gives_way.try_recv().is_err() && fourth.is_some());
    }

    /// Otherwise no handshake of a storm would ever be finished.
    #[tokio::test(start_paused = true)]
    async fn a_handshake_of_tls_gives_way_only_after_a_while() {
        let limiter = ConnectionLimiter::new(Arc::new(Semaphore::new(2)));
        let mut handshake = limiter.enter(true).await.unwrap();
        let mut idle = limiter.enter(false).await.unwrap();
        let (third, ()) = tokio::join!(limiter.enter(true), async {
            (&mut idle.gives_way).await.unwrap();
            drop(idle);
        });
        assert!(handshake.gives_way.try_recv().is_err(), "the idle one went, although it is newer");
        let begun = Instant::now();
        let (fourth, ()) = tokio::join!(limiter.enter(true), async {
            (&mut handshake.gives_way).await.unwrap();
            drop(handshake);
        });
        assert!(third.is_some() && fourth.is_some());
        assert_eq!(begun.elapsed(), HANDSHAKE_GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_becomes_free_is_taken_at_once() {
        let limiter = ConnectionLimiter::new(Arc::new(Semaphore::new(1)));
        let first = limiter.enter(true).await.unwrap();
        let begun = Instant::now();
        let (second, ()) = tokio::join!(limiter.enter(true), async { drop(first) });
        assert!(second.is_some() && begun.elapsed() < HANDSHAKE_GRACE);
    }
}
