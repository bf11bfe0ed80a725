//! The wake flag in a model of all orders in which threads and their memory may move.

use loom::sync::Arc;
use loom::thread;

/// What the wake flag is made of here.
mod atomic {
    pub(super) use loom::sync::atomic::{AtomicBool, Ordering};
}

#[path = "wake_flag.rs"]
#[expect(clippy::duplicate_mod, reason = "the same code on other atomics")]
mod wake_flag;

use loom::sync::atomic::{AtomicUsize, Ordering};
use wake_flag::WakeFlag;

/// Commands, and wake-ups as the poller keeps them: one that nobody waits for yet is not lost.
struct Inbox {
    wake_flag: WakeFlag,
    commands: AtomicUsize,
    wakes: AtomicUsize,
}

/// Whoever puts a command in does not know of the reactor; the reactor looks once, and again whenever it is woken.
#[test]
fn no_letter_stays_where_nobody_looks() {
    loom::model(|| {
        let inbox = Inbox {
            wake_flag: WakeFlag::new(),
            commands: AtomicUsize::new(0),
            wakes: AtomicUsize::new(0),
        };
        let inbox = Arc::new(inbox);
        let senders = [(); 2].map(|()| {
            let inbox = inbox.clone();
            thread::spawn(move || {
                // As weak as a channel may be.
                inbox.commands.fetch_add(1, Ordering::Release);
                if inbox.wake_flag.set() {
                    inbox.wakes.fetch_add(1, Ordering::AcqRel);
                }
            })
        });
        let mut seen = 0;
        let mut look = || {
            if inbox.wakes.swap(0, Ordering::AcqRel) > 0 {
                inbox.wake_flag.clear();
                seen = inbox.commands.load(Ordering::Acquire);
            }
        };
        look();
        look();
        for sender in senders {
            sender.join().unwrap();
        }
        // All is quiet: it is woken, or it has seen everything.
        look();
        assert_eq!(seen, 2);
    });
}
