//! The connections that are in HTTP, in the order in which they came: at most so many.
//!
//! If all permits are taken, a new connection gets that of the oldest one. Honest requests are answered within milliseconds, so a
//! peer that opens idle connections only ends its own. If the newest were rejected, such a peer would keep all others out.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// All of them. Clones share it: there is one for all addresses that the server listens on.
#[derive(Clone)]
pub(super) struct ConnectionLimiter {
    places: Arc<Semaphore>,
    oldest_first: Arc<Mutex<VecDeque<oneshot::Sender<()>>>>,
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

    /// A permit for one more connection; `None` after the end. Waits only until the oldest connection has given its permit up.
    pub(super) async fn enter(&self) -> Option<HttpPermit> {
        let permit = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.make_room().await?,
        };
        let (told, gives_way) = oneshot::channel();
        let mut oldest_first = self.oldest_first.lock();
        oldest_first.push_back(told);
        while oldest_first.front().is_some_and(oneshot::Sender::is_closed) {
            oldest_first.pop_front();
        }
        Some(HttpPermit { gives_way, _permit: permit })
    }

    async fn make_room(&self) -> Option<OwnedSemaphorePermit> {
        {
            let mut oldest_first = self.oldest_first.lock();
            oldest_first.retain(|told| !told.is_closed());
            if let Some(oldest) = oldest_first.pop_front() {
                // It may have ended just now, and left its permit.
                let _ = oldest.send(());
            }
        }
        Arc::clone(&self.places).acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_gives_way_when_all_places_are_taken() {
        let limiter = ConnectionLimiter::new(Arc::new(Semaphore::new(2)));
        let mut first = limiter.enter().await.unwrap();
        let second = limiter.enter().await.unwrap();
        drop(second);
        let mut third = limiter.enter().await.unwrap();
        assert!(first.gives_way.try_recv().is_err(), "there was room");
        let (fourth, ()) = tokio::join!(limiter.enter(), async {
            (&mut first.gives_way).await.unwrap();
            drop(first);
        });
        assert!(third.gives_way.try_recv().is_err() && fourth.is_some());
    }
}
