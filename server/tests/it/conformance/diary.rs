//! A class whose instances write down what becomes of them, and do what the kind of a message says: `count` has the event
//! carry how many messages the instance has had, `panic` ends it, `drop` is forgotten, any other is published as it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use dormouse::object::{Class, Context, Object, PublishRequest};
use parking_lot::{Condvar, Mutex};
use tokio::time::timeout;

use crate::client::Payload;
use crate::support::PATIENCE;

/// What became of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    Made,
    Wake,
    Message,
    Sleep,
    Gone,
}

/// What all instances of a server wrote, and what they are told.
#[derive(Default)]
pub(super) struct Diary {
    hooks: Mutex<Vec<Hook>>,
    pub(super) wakes: Gate,
    pub(super) messages: Gate,
    pub(super) sleeps: Gate,
    /// So many wakes and sleeps panic.
    pub(super) bad_wakes: AtomicUsize,
    pub(super) bad_sleeps: AtomicUsize,
}

/// Holds up whoever passes while it is shut, and counts them.
#[derive(Default)]
pub(super) struct Gate {
    is_shut: Mutex<bool>,
    opened: Condvar,
    entered: AtomicUsize,
    inside: AtomicUsize,
    most_inside: AtomicUsize,
}

impl Diary {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// All that was written since it was last read.
    pub(super) fn read(&self) -> Vec<Hook> {
        std::mem::take(&mut self.hooks.lock())
    }

    fn write(&self, hook: Hook) {
        self.hooks.lock().push(hook);
    }
}

impl Gate {
    pub(super) fn shut(&self) {
        *self.is_shut.lock() = true;
    }

    pub(super) fn open(&self) {
        *self.is_shut.lock() = false;
        self.opened.notify_all();
    }

    /// Waits until so many have come to it.
    pub(super) async fn entered(&self, count: usize) {
        let entered = timeout(PATIENCE, async {
            while self.entered.load(SeqCst) < count {
                tokio::task::yield_now().await;
            }
        });
        entered
            .await
            .unwrap_or_else(|_| panic!("{} instead of {count}", self.entered.load(SeqCst)));
    }

    /// How many were in it at one time.
    pub(super) fn most_inside(&self) -> usize {
        self.most_inside.load(SeqCst)
    }

    fn pass(&self) {
        let inside = self.inside.fetch_add(1, SeqCst) + 1;
        self.most_inside.fetch_max(inside, SeqCst);
        self.entered.fetch_add(1, SeqCst);
        // The server goes on with all else meanwhile, however many are held up.
        tokio::task::block_in_place(|| {
            self.opened.wait_while(&mut self.is_shut.lock(), |is_shut| *is_shut);
        });
        self.inside.fetch_sub(1, SeqCst);
    }
}

struct Instance {
    diary: Arc<Diary>,
    count: u64,
}

pub(super) fn class(diary: &Arc<Diary>, sleep_after: Duration) -> Class {
    let diary = diary.clone();
    let maker = move |_: &_| {
        diary.write(Hook::Made);
        Box::new(Instance { diary: diary.clone(), count: 0 }) as Box<dyn Object>
    };
    Class::new(maker, sleep_after)
}

/// Takes one of what is left, if there is any.
fn take_one(left: &AtomicUsize) -> bool {
    left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl Object for Instance {
    fn wake(&mut self, _context: &mut Context<'_>) {
        self.diary.write(Hook::Wake);
        self.diary.wakes.pass();
        assert!(!take_one(&self.diary.bad_wakes), "on purpose");
    }

    fn publish(&mut self, context: &mut Context<'_>, mut request: PublishRequest) {
        self.diary.write(Hook::Message);
        self.diary.messages.pass();
        self.count += 1;
        match &*request.publish.kind {
            "panic" => panic!("on purpose"),
            "drop" => {}
            "count" => {
                request.publish.data = Payload::of(&self.count).unwrap();
                context.publish(request);
            }
            _ => context.publish(request),
        }
    }

    fn sleep(&mut self) {
        self.diary.write(Hook::Sleep);
        self.diary.sleeps.pass();
        assert!(!take_one(&self.diary.bad_sleeps), "on purpose");
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.diary.write(Hook::Gone);
    }
}
