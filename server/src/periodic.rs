//! Work that a thread of its own does once in each interval, until its owner drops it.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// The thread; dropping this ends it after the work that is under way.
pub(crate) struct Periodic {
    _stop: Sender<()>,
}

impl Periodic {
    /// Starts a thread, which first waits for one interval.
    pub(crate) fn start(
        name: &str,
        interval: Duration,
        mut work: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = channel::<()>();
        thread::Builder::new().name(name.into()).spawn(move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                work();
            }
        })?;
        Ok(Self { _stop: stop })
    }
}
