//! Limits how many objects are awake, and how many of them wake at one time. Without a free permit, the limit asks the
//! least recently used objects to sleep, and the waking object waits.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::handle::Handle;
use super::lifecycle::SleepReason;

/// Without a free permit, the limit asks 1/64 of the awake objects to sleep.
const EVICTED_SHARE: usize = 64;
/// When memory is short, the limit asks 1/4 of the objects unused for [`IDLE`] to sleep.
const IDLE_SHARE: usize = 4;
const IDLE: Duration = Duration::from_millis(100);

/// The permits of awake objects, and the queue of those that wake.
pub(super) struct AwakeLimit {
    /// First come, first served, so every waiting object gets a permit.
    awake_permits: Semaphore,
    waking_permits: Semaphore,
    /// The objects that may be asked to sleep. An object may have two entries while its old task ends.
    objects: Mutex<Slab<Weak<Handle>>>,
    /// Objects that wait for a permit.
    waiting: AtomicUsize,
}

/// The permit of an awake object; returned on drop.
pub(super) struct AwakePermit<'a> {
    _permit: SemaphorePermit<'a>,
    awake: &'a AwakeLimit,
    /// Its key, unless the object is pinned.
    key: Option<usize>,
}

impl AwakeLimit {
    /// A limit of `most` awake objects, of which `waking` may wake at one time.
    pub(super) fn new(most: usize, waking: usize) -> Self {
        Self {
            awake_permits: Semaphore::new(most.min(Semaphore::MAX_PERMITS)),
            waking_permits: Semaphore::new(waking.min(Semaphore::MAX_PERMITS)),
            objects: Mutex::default(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Waits for a permit, and evicts objects if none is free.
    pub(super) async fn acquire(&self, handle: &Arc<Handle>) -> AwakePermit<'_> {
        let permit = match self.awake_permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) => self.wait_for_permit().await,
        };
        let key = (!handle.is_pinned()).then(|| self.objects.lock().insert(Arc::downgrade(handle)));
        AwakePermit { _permit: permit, awake: self, key }
    }

    async fn wait_for_permit(&self) -> SemaphorePermit<'_> {
        // `make_room` asks the present permit holders; a later holder sees `waiting`.
        self.waiting.fetch_add(1, SeqCst);
        self.make_room();
        let permit = self.awake_permits.acquire().await;
        self.waiting.fetch_sub(1, SeqCst);
        permit.expect("the semaphore is never closed")
    }

    /// Waits for a waking permit. A waiting object already has an awake permit, and a waking one waits for no other object.
    pub(super) async fn waking_permit(&self) -> SemaphorePermit<'_> {
        self.waking_permits.acquire().await.expect("the semaphore is never closed")
    }

    /// Whether objects wait for a permit. An idle object then gives its permit up.
    pub(super) fn is_contended(&self) -> bool {
        self.waiting.load(SeqCst) > 0
    }

    /// Asks the least recently used objects to sleep: more than one, because each search visits all objects.
    fn make_room(&self) {
        self.ask_oldest(EVICTED_SHARE, SleepReason::Evicted, |_| true);
    }

    /// Asks idle objects to sleep early, because memory is short.
    pub(super) fn relieve(&self) {
        let now = Instant::now();
        self.ask_oldest(IDLE_SHARE, SleepReason::Memory, |last_use| now - last_use >= IDLE);
    }

    /// Asks 1/`one_of` of the objects to sleep, least recently used first.
    fn ask_oldest(&self, one_of: usize, reason: SleepReason, may_sleep: impl Fn(Instant) -> bool) {
        let awake: Vec<_> =
            self.objects.lock().iter().filter_map(|(_, handle)| handle.upgrade()).collect();
        let unasked = awake.iter().filter_map(|handle| Some((handle.evictable_since()?, handle)));
        let mut by_use: Vec<_> = unasked.filter(|(last_use, _)| may_sleep(*last_use)).collect();
        if by_use.is_empty() {
            return;
        }
        let count = by_use.len().div_ceil(one_of);
        by_use.select_nth_unstable_by_key(count - 1, |(last_use, _)| *last_use);
        for (_, handle) in &by_use[..count] {
            handle.ask_to_sleep(reason);
        }
    }
}

impl Drop for AwakePermit<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.awake.objects.lock().remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
