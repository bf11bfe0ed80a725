//! The keys of an issuer: fetched at start, again when their lifetime ends, and when a token names a key that is not among them.
//!
//! A separate thread fetches the keys. So there is one request at a time, and no other thread waits for the network.

mod fetch;
mod schedule;
mod set;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use std::{fmt, io};

use parking_lot::{Condvar, Mutex};

use self::fetch::Fetcher;
use self::schedule::Schedule;
use super::keyring::{Keyring, SourceId};
use super::settings::Endpoint;

/// How long one request may take, from the resolution of the name to the last byte.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the keys are.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// At this URL.
    Set(Endpoint),
    /// Where the discovery document of this issuer says.
    Issuer(Endpoint),
}

/// Keeps the keys of an issuer up to date until it is dropped.
pub(super) struct Jwks {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    schedule: Schedule,
    /// Fetches that have ended, well or not.
    fetches: u64,
    is_stopped: bool,
}

impl Jwks {
    /// Starts the thread. The keys come later.
    pub(super) fn start(place: Place, keyring: Arc<Keyring>) -> io::Result<Self> {
        let source = keyring.add_source();
        let schedule = Schedule::new(Instant::now());
        let state = Mutex::new(State { schedule, fetches: 0, is_stopped: false });
        let shared = Arc::new(Shared { state, changed: Condvar::new() });
        let worker = Worker {
            fetcher: Fetcher::new(&place, REQUEST_TIMEOUT),
            place,
            keyring,
            source,
            shared: shared.clone(),
        };
        thread::Builder::new().name("auth-jwks".into()).spawn(move || worker.run())?;
        Ok(Self { shared })
    }

    /// A token names an unknown key: the issuer may have a new one.
    pub(super) fn look_for_new_keys(&self) {
        let mut state = self.shared.state.lock();
        if state.schedule.want_new_keys() {
            self.shared.changed.notify_all();
        }
    }

    /// Waits until so many fetches have ended; says whether they have. Blocks.
    pub(super) fn wait_for_fetches(&self, count: u64, deadline: Instant) -> bool {
        let mut state = self.shared.state.lock();
        self.shared.changed.wait_while_until(&mut state, |state| state.fetches < count, deadline);
        state.fetches >= count
    }
}

impl Drop for Jwks {
    /// The thread ends by itself, after a request that is under way.
    fn drop(&mut self) {
        self.shared.state.lock().is_stopped = true;
        self.shared.changed.notify_all();
    }
}

struct Worker {
    fetcher: Fetcher,
    place: Place,
    keyring: Arc<Keyring>,
    source: SourceId,
    shared: Arc<Shared>,
}

impl Worker {
    fn run(self) {
        while self.wait_until_due() {
            let fetched = self.fetcher.fetch(&self.place);
            let mut state = self.shared.state.lock();
            let now = Instant::now();
            match fetched {
                Ok((keys, max_age)) => {
                    tracing::info!(place = %self.place, keys = keys.len(), "fetched the issuer's keys");
                    self.keyring.set(self.source, keys);
                    state.schedule.succeeded(now, max_age);
                }
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(place = %self.place, error, "cannot fetch the issuer's keys");
                    if state.schedule.failed(now) {
                        self.keyring.withdraw(self.source);
                    }
                }
            }
            state.fetches += 1;
            self.shared.changed.notify_all();
        }
    }

    /// Waits for the time of the next fetch; false says that there is none.
    fn wait_until_due(&self) -> bool {
        let mut state = self.shared.state.lock();
        while !state.is_stopped {
            let due = state.schedule.due();
            if due <= Instant::now() {
                return true;
            }
            self.shared.changed.wait_until(&mut state, due);
        }
        false
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Set(url) | Self::Issuer(url)) = self;
        f.write_str(url.as_str())
    }
}

#[cfg(test)]
mod tests;
