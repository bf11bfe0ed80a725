//! Which objects the limit asks to sleep, and when.

use std::pin::pin;

use futures_util::FutureExt;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::coop::consume_budget;

use super::*;
use crate::log::{self, Log, Options};
use crate::object::lifecycle::WakeCause;
use crate::object::presence::StoredRosters;
use crate::object::{Registry, metrics, registry};

/// Waking objects without a task.
struct World {
    registry: Registry,
    _data: TempDir,
}

impl World {
    fn start(max_awake: usize) -> Self {
        let data = TempDir::new().unwrap();
        let prometheus = prometheus::Registry::new();
        let log_metrics = log::Metrics::register(&prometheus).unwrap();
        let log = Log::open(data.path(), Options::default(), log_metrics).unwrap();
        let settings = registry::Settings { max_awake, ..registry::Settings::least() };
        let metrics = metrics::Metrics::register(&prometheus).unwrap();
        Self {
            registry: Registry::new(
                log,
                [].into(),
                [].into(),
                settings,
                StoredRosters::default(),
                metrics,
            ),
            _data: data,
        }
    }

    async fn waking(&self, name: &str) -> Arc<Handle> {
        let (done, opened) = oneshot::channel();
        self.registry.open(&name.parse().unwrap(), move |opened| drop(done.send(opened)));
        let handle = opened.await.unwrap().unwrap();
        handle.lifecycle.lock().wake(WakeCause::Publish, 1, 1);
        handle
    }
}

fn asked(handle: &Handle) -> Option<SleepReason> {
    handle.lifecycle.lock().asked_to_sleep()
}

/// The next task of an object may have its place before the last one has given back the one before.
#[tokio::test]
async fn an_object_that_has_a_place_anew_can_be_asked_for_it() {
    let world = World::start(2);
    let (old, young) = (world.waking("room/old").await, world.waking("room/young").await);
    let third = world.waking("room/third").await;
    let awake = &old.shared.awake;
    let before = awake.acquire(&old).await;
    let _now = awake.acquire(&old).await;
    drop(before);
    let _young = awake.acquire(&young).await;
    assert!(awake.acquire(&third).now_or_never().is_none());
    assert_eq!((asked(&old), asked(&young)), (Some(SleepReason::Evicted), None));
}

#[tokio::test]
async fn who_finds_a_free_place_is_in_nobodys_way() {
    let world = World::start(1);
    let handle = world.waking("room/a").await;
    let awake = &handle.shared.awake;
    // Even where the task has used up its time.
    while consume_budget().now_or_never().is_some() {}
    let mut entering = pin!(awake.acquire(&handle));
    let entered = entering.as_mut().now_or_never();
    assert!(!awake.is_contended());
    assert!(entered.is_some());
}
