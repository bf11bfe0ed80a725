//! Retention: a background thread that finds the events beyond the limits of their class, and asks the writer to remove them in small
//! steps.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use dormouse_protocol::ObjectName;
use parking_lot::Mutex;

use super::shared::{Shared, Unavailable};
use super::{Identity, ObjectId, ReadError, trim};

/// The limits of a class. The log removes the oldest events of an object that exceeds one of them. It does so at the next sweep, so
/// an object may exceed its limits for some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// The number of events that an object keeps.
    pub max_events: Option<u64>,
    /// The age up to which an object keeps its events.
    pub max_age: Option<Duration>,
    /// The size of the events that an object keeps, in bytes of their wire form.
    pub max_bytes: Option<u64>,
}

/// The number of names in one read, during a sweep of all objects.
const NAMES: usize = 1000;

/// The number of objects that are noted between two sweeps. With more, the next sweep checks all objects.
const NOTED_OBJECTS: usize = 100_000;

/// The objects with appends since the last sweep, if their class has a limit that an append can exceed.
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
    /// Notes an append to the object.
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

/// Sweeps until `stop` is dropped or the log accepts no more tasks.
pub(super) fn run(shared: &Shared, sweep_every: Duration, stop: &Receiver<()>) {
    let aging = aging_period(shared.retention.values());
    // The first sweep checks all objects: limits may have changed, and a crash may have interrupted a sweep.
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

/// The time between two sweeps of all objects, because events also get too old without appends: 1/10 of the shortest limit of age,
/// between 1 second and 1 hour.
fn aging_period<'a>(limits: impl Iterator<Item = &'a Retention>) -> Option<Duration> {
    let shortest = limits.filter_map(|limits| limits.max_age).min()?;
    Some((shortest / 10).clamp(Duration::from_secs(1), Duration::from_hours(1)))
}

impl Shared {
    pub(super) fn sweep_noted(&self) -> Result<(), Unavailable> {
        // Unlock first: the writer notes appends here, and a sweep waits for the writer.
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

    /// Applies the limits of its class to one object. If the object cannot be read, the sweep continues with the next one.
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

    /// Removes events in small steps until the object is within its limits.
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
