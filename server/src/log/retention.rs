//! Retention: a background thread that finds what is no longer to be kept, and has the writer trim it in small steps.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use dormouse_protocol::ObjectName;
use parking_lot::Mutex;

use super::shared::{Shared, Unavailable};
use super::{Identity, ObjectId, ReadError, trim};

/// How long the events of a class are kept: as long as no limit is exceeded. Limits are met some time after they are
/// exceeded, at the next sweep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// The newest so many events of each object.
    pub max_events: Option<u64>,
    /// Events that are not older.
    pub max_age: Option<Duration>,
    /// The newest events of each object up to this size, in bytes of their wire form.
    pub max_bytes: Option<u64>,
}

/// How many names are read at once where all objects are looked at.
const NAMES: usize = 1000;

/// How many objects are noted between two sweeps; beyond that the next sweep looks at all.
const NOTED_OBJECTS: usize = 100_000;

/// The objects that were appended to since the last sweep, of classes whose limits an append can exceed.
#[derive(Default)]
pub(super) struct Noted(Mutex<Changed>);

enum Changed {
    Some(HashMap<ObjectId, Arc<Identity>>),
    TooMany,
}

impl Default for Changed {
    fn default() -> Self {
        Self::Some(HashMap::new())
    }
}

impl Shared {
    /// Remembers that the object was appended to.
    pub(super) fn note(&self, object: &Arc<Identity>) {
        let limits = self.retention.get(object.name.class());
        if !limits.is_some_and(|l| l.max_events.is_some() || l.max_bytes.is_some()) {
            return;
        }
        let mut changed = self.noted.0.lock();
        match &mut *changed {
            Changed::TooMany => {}
            Changed::Some(objects) if objects.len() >= NOTED_OBJECTS => *changed = Changed::TooMany,
            Changed::Some(objects) => {
                objects.entry(object.id).or_insert_with(|| Arc::clone(object));
            }
        }
    }
}

/// Why an object is not trimmed.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrimError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Sweeps until `stop` is dropped or the log takes no more.
pub(super) fn run(shared: &Shared, sweep_every: Duration, stop: &Receiver<()>) {
    let aging = aging_period(shared.retention.values());
    // At the start all objects are looked at: limits may have changed, and a crash may have cut a sweep short.
    let mut next_full = Some(Instant::now());
    loop {
        let sweep = if next_full.is_some_and(|at| at <= Instant::now()) {
            next_full = aging.map(|period| Instant::now() + period);
            shared.sweep_all()
        } else {
            shared.sweep_noted()
        };
        if sweep.is_err() {
            return;
        }
        if let Err(error) = shared.store.check() {
            shared.fail(format!("the database's background work failed: {error}"));
            return;
        }
        let until_full = next_full.map(|at| at.saturating_duration_since(Instant::now()));
        match stop.recv_timeout(until_full.map_or(sweep_every, |wait| wait.min(sweep_every))) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// How often time alone can make an event too old: a tenth of the shortest limit, between a second and an hour.
fn aging_period<'a>(limits: impl Iterator<Item = &'a Retention>) -> Option<Duration> {
    let shortest = limits.filter_map(|limits| limits.max_age).min()?;
    Some((shortest / 10).clamp(Duration::from_secs(1), Duration::from_hours(1)))
}

impl Shared {
    pub(super) fn sweep_noted(&self) -> Result<(), Unavailable> {
        // Unlocked first: the writer notes what it stores, and a sweep waits for the writer.
        let changed = mem::take(&mut *self.noted.0.lock());
        match changed {
            Changed::TooMany => self.sweep_all(),
            Changed::Some(objects) => {
                objects.values().try_for_each(|object| self.sweep(&object.name))
            }
        }
    }

    pub(super) fn sweep_all(&self) -> Result<(), Unavailable> {
        if self.retention.is_empty() {
            return Ok(());
        }
        let mut last = None;
        loop {
            let names = match self.store.objects_after(last.as_ref(), NAMES) {
                Ok(names) => names,
                Err(error) => {
                    tracing::error!(%error, "retention could not read the objects' names");
                    return Ok(());
                }
            };
            names.iter().try_for_each(|name| self.sweep(name))?;
            last = names.into_iter().next_back();
            if last.is_none() {
                return Ok(());
            }
        }
    }

    /// Holds one object to the limits of its class. An object that can't be read keeps no other from its sweep.
    fn sweep(&self, name: &ObjectName) -> Result<(), Unavailable> {
        let Some(limits) = self.retention.get(name.class()) else { return Ok(()) };
        match self.trim(name, limits, self.clock.now_ms()) {
            Ok(()) => Ok(()),
            Err(TrimError::Unavailable(unavailable)) => Err(unavailable),
            Err(TrimError::Read(error)) => {
                tracing::error!(%error, object = %name, "retention could not read an object");
                Ok(())
            }
        }
    }

    /// Trims an object in small steps until the limits are met.
    pub(super) fn trim(
        &self,
        name: &ObjectName,
        limits: &Retention,
        now_ms: u64,
    ) -> Result<(), TrimError> {
        loop {
            let Some(stored) = self.store.find(name)? else { return Ok(()) };
            let Some(trim) = trim::next(&self.store, &stored, limits, now_ms)? else {
                return Ok(());
            };
            let (done, waiting) = mpsc::sync_channel(1);
            let tell = move |result| {
                let _ = done.send(result);
            };
            self.queue.trim(trim, Box::new(tell));
            waiting.recv().unwrap_or(Err(Unavailable))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_looked_at_ten_times_in_the_shortest_limit() {
        let age =
            |secs| Retention { max_age: Some(Duration::from_secs(secs)), ..Retention::default() };
        assert_eq!(aging_period([Retention::default()].iter()), None);
        assert_eq!(aging_period([age(600), age(60)].iter()), Some(Duration::from_secs(6)));
        assert_eq!(aging_period([age(1)].iter()), Some(Duration::from_secs(1)));
        assert_eq!(aging_period([age(1 << 40)].iter()), Some(Duration::from_hours(1)));
    }
}
