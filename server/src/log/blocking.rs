//! Runs reads of the log on threads that may block. Reactors and tasks must not block.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// A read that has not run yet.
pub type Job = Box<dyn FnOnce() + Send>;

/// Runs reads of the log. Clones are the same pool.
#[derive(Clone)]
pub struct ReadPool(Arc<dyn Fn(Job) + Send + Sync>);

/// A read under way; its output is what the read returns. The read runs even if this is dropped.
pub struct Reading<T>(oneshot::Receiver<T>);

impl ReadPool {
    /// A pool that hands each read to `run`, which must not block.
    pub fn new(run: impl Fn(Job) + Send + Sync + 'static) -> Self {
        Self(Arc::new(run))
    }

    /// The threads of the current tokio runtime that may block.
    pub fn current() -> Self {
        let runtime = Handle::current();
        Self::new(move |job| drop(runtime.spawn_blocking(job)))
    }

    /// Runs a read.
    pub fn spawn<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Reading<T> {
        let (sender, receiver) = oneshot::channel();
        (self.0)(Box::new(move || {
            // It fails if the receiver was dropped.
            let _ = sender.send(read());
        }));
        Reading(receiver)
    }
}

impl<T> Future for Reading<T> {
    type Output = T;

    /// Panics if the read panicked.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let read = ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(read.expect("a read of the log does not panic"))
    }
}
