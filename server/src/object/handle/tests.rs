//! What can be seen of a commit while it is delivered.

use std::sync::{OnceLock, Weak, mpsc};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::oneshot;

use super::*;
use crate::log::{self, Log, Options};
use crate::object::presence::StoredRosters;
use crate::object::{Registry, Sink, metrics, registry};

/// An sink that looks at the head from another thread while it is given something.
#[derive(Default)]
struct Onlooker {
    handle: OnceLock<Weak<Handle>>,
    seen: Mutex<Vec<mpsc::Receiver<u64>>>,
}

impl Onlooker {
    /// The heads that were seen before the delivery was over, and then those that are seen after it.
    fn look(&self, patience: Duration) -> Vec<u64> {
        self.seen.lock().iter().filter_map(|seen| seen.recv_timeout(patience).ok()).collect()
    }
}

impl Sink for Onlooker {
    fn deliver(&self, _: Delivery) {
        let handle = self.handle.get().and_then(Weak::upgrade).unwrap();
        let (tell, seen) = mpsc::channel();
        thread::spawn(move || tell.send(handle.head()));
        self.seen.lock().push(seen);
        // Long enough for a thread that does not wait.
        let early = self.look(Duration::from_millis(50));
        assert!(early.is_empty(), "a page could overtake the delivery: {early:?}");
    }
}

/// Who reads the log up to the new head must find the delivery in its sink: else a publisher that catches up gets its event
/// before the answer.
#[tokio::test]
async fn the_new_head_is_not_seen_before_the_delivery() {
    let data = TempDir::new().unwrap();
    let prometheus = prometheus::Registry::new();
    let log_metrics = log::Metrics::register(&prometheus).unwrap();
    let log = Log::open(data.path(), Options::default(), log_metrics).unwrap();
    let settings = registry::Settings::least();
    let sink = Arc::new(Onlooker::default());
    let metrics = metrics::Metrics::register(&prometheus).unwrap();
    let registry = Registry::new(
        log,
        [].into(),
        [sink.clone() as _].into(),
        settings,
        StoredRosters::default(),
        metrics,
    );
    let (done, opened) = oneshot::channel();
    registry.open(&"room/a".parse().unwrap(), move |opened| drop(done.send(opened)));
    let handle = opened.await.unwrap().unwrap();
    sink.handle.set(Arc::downgrade(&handle)).unwrap();

    handle.subscribe(0, Encoding::Json);
    handle.release(&Arc::new(EventFrames::new(handle.id(), 7, Vec::new(), None)), Vec::new());
    assert_eq!(sink.look(Duration::from_secs(10)), [7]);
}
