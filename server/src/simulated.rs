//! What a simulation decides instead of the machine: the time of day, chance, when a read of the log runs, and what other
//! threads do in a moment that matters. All of it for the current thread only; without a simulation on it everything is as
//! it is.
//!
//! Everything else a simulation moves from outside: see `sim/`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A read of the log that waits to be run.
type Job = Box<dyn FnOnce()>;

thread_local! {
    static NOW_MS: Cell<Option<u64>> = const { Cell::new(None) };
    /// Where chance is in its sequence.
    static RANDOM: Cell<Option<u64>> = const { Cell::new(None) };
    static JOBS: RefCell<Vec<Job>> = const { RefCell::new(Vec::new()) };
    static MEANWHILE: RefCell<Option<Rc<dyn Fn()>>> = const { RefCell::new(None) };
}

/// From now on this thread is simulated.
pub(crate) fn begin(now_ms: u64) {
    NOW_MS.set(Some(now_ms));
    seed(0);
}

/// This thread is not simulated any more, and what waited is dropped.
pub(crate) fn end() {
    NOW_MS.set(None);
    RANDOM.set(None);
    MEANWHILE.set(None);
    drop(JOBS.take());
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> Option<u64> {
    NOW_MS.get()
}

pub(crate) fn set_now_ms(now_ms: u64) {
    NOW_MS.set(Some(now_ms));
}

/// All chance comes from this seed until the next one.
pub(crate) fn seed(seed: u64) {
    RANDOM.set(Some(seed));
}

pub(crate) fn random() -> Option<u32> {
    // SplitMix64.
    let state = RANDOM.get()?.wrapping_add(0x9E37_79B9_7F4A_7C15);
    RANDOM.set(Some(state));
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    Some((mixed >> 32) as u32)
}

/// What other threads do from now on where they may come between.
pub(crate) fn on_meanwhile(others: Rc<dyn Fn()>) {
    MEANWHILE.set(Some(others));
}

/// Here other threads may do something.
pub(crate) fn meanwhile() {
    // Taken out: what others do meanwhile is not interrupted itself.
    if let Some(others) = MEANWHILE.take() {
        others();
        MEANWHILE.set(Some(others));
    }
}

/// Lets a read wait until the simulation runs it; gives it back where there is none.
pub(crate) fn later<T, F>(runtime: &Handle, read: F) -> Result<JoinHandle<T>, F>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    if NOW_MS.get().is_none() {
        return Err(read);
    }
    let (tell, told) = oneshot::channel();
    JOBS.with_borrow_mut(|jobs| jobs.push(Box::new(move || _ = tell.send(read()))));
    Ok(runtime.spawn(async { told.await.expect("a simulated read does not panic") }))
}

/// How many reads wait.
pub(crate) fn jobs() -> usize {
    JOBS.with_borrow(Vec::len)
}

/// Runs one of the reads that wait.
pub(crate) fn run_job(index: usize) {
    let job = JOBS.with_borrow_mut(|jobs| jobs.remove(index));
    job();
}

/// The machine is switched off: no read of it runs any more.
pub(crate) fn drop_jobs() {
    drop(JOBS.take());
}
