//! The task of an object that is not asleep: runs its instances one after another until the object sleeps.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use dormouse_protocol::ErrorCode;
use tokio::sync::{Notify, mpsc};
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error};

use super::handle::Handle;
use super::instance::{Instance, settled};
use super::lifecycle::{InstanceStart, SleepReason, SleepRefusal};
use super::mailbox::Message;

/// Maximum messages in one batch.
const BATCH_MESSAGES: usize = 256;

/// The error sent for each message in the mailbox when the object fails to wake.
type Refusal = (ErrorCode, &'static str);

/// Runs instances until one has ended and the mailbox is empty. The mailbox stays open between instances, so a message that
/// arrives while an instance ends waits for the next one (promise 1).
pub(super) async fn run(handle: Arc<Handle>, start: InstanceStart, wanted: Instant) {
    let InstanceStart { mut mailbox, asked } = start;
    let mut wanted = wanted;
    loop {
        let _awake = handle.shared.awake.acquire(&handle).await;
        handle.used(Instant::now(), 0);
        let instance = match wake(&handle).await {
            Ok(instance) => instance,
            Err((code, why)) => {
                for message in handle.wake_failed(&mut mailbox) {
                    message.refuse(code, why);
                }
                return;
            }
        };
        handle.woke(wanted.elapsed());
        let lived = caught(live(&handle, instance, &mut mailbox, &asked)).await;
        wanted = Instant::now();
        let reason = lived.unwrap_or_else(|| {
            handle.shared.metrics.failures.inc();
            error!(object = %handle.identity.name, "the instance has panicked");
            SleepReason::Failed
        });
        if !handle.instance_ended(&mailbox, reason) {
            debug!(object = %handle.identity.name, reason = reason.as_str(), "asleep");
            return;
        }
    }
}

/// Waits for a waking permit, then wakes.
async fn wake(handle: &Arc<Handle>) -> Result<Instance, Refusal> {
    let _waking = handle.shared.awake.waking_permit().await;
    match caught(Instance::wake(handle)).await {
        Some(Ok(instance)) => Ok(instance),
        Some(Err(error)) => {
            error!(object = %handle.identity.name, %error, "the object cannot wake");
            Err((ErrorCode::Unavailable, "the log can't be read at present; try again later"))
        }
        None => {
            handle.shared.metrics.failures.inc();
            error!(object = %handle.identity.name, "the object panics when it wakes");
            Err((ErrorCode::Internal, "the object fails when it wakes; try again later"))
        }
    }
}

/// Runs an instance until it sleeps; returns the reason.
async fn live(
    handle: &Arc<Handle>,
    mut instance: Instance,
    mailbox: &mut mpsc::Receiver<Message>,
    asked: &Notify,
) -> SleepReason {
    let reason = loop {
        let reason = serve(handle, &mut instance, mailbox, asked).await;
        if falls_asleep(handle, mailbox, asked).await {
            break reason;
        }
    };
    instance.sleep();
    reason
}

/// Takes messages until it is time to sleep and there are none.
async fn serve(
    handle: &Arc<Handle>,
    instance: &mut Instance,
    mailbox: &mut mpsc::Receiver<Message>,
    asked: &Notify,
) -> SleepReason {
    let (mut messages, mut last_use) = (Vec::new(), Instant::now());
    let (sleep_after, is_pinned) = (handle.class().sleep_after(), handle.is_pinned());
    loop {
        handle.crash_if_asked();
        if handle.must_yield() {
            return SleepReason::Evicted;
        }
        let should_sleep = handle.should_sleep();
        tokio::select! {
            // Requests first, because the loop checks them above; then messages, because only an idle object sleeps.
            biased;
            () = asked.notified() => {}
            count = mailbox.recv_many(&mut messages, BATCH_MESSAGES) => {
                if count == 0 {
                    return SleepReason::Ended;
                }
                instance.handle_batch(handle, messages.drain(..)).await;
                last_use = Instant::now();
                handle.used(last_use, instance.memory_bytes());
            }
            reason = idle(should_sleep, last_use + sleep_after, is_pinned) => return reason,
        }
    }
}

/// Waits until it is time to sleep.
async fn idle(
    should_sleep: Option<SleepReason>,
    deadline: Instant,
    is_pinned: bool,
) -> SleepReason {
    match should_sleep {
        Some(reason) => {
            // Yields when the task's budget is used up; without a budget the channel reports no message.
            consume_budget().await;
            reason
        }
        None if is_pinned => std::future::pending().await,
        None => {
            sleep_until(deadline).await;
            SleepReason::Idle
        }
    }
}

/// Waits until all appends are on disk. Returns false and stays awake if a message arrives first, unless the object must give
/// up its permit.
async fn falls_asleep(
    handle: &Arc<Handle>,
    mailbox: &mpsc::Receiver<Message>,
    asked: &Notify,
) -> bool {
    handle.fall_asleep();
    if handle.has_unfinished_appends() {
        handle.refuse_sleep(SleepRefusal::Commit);
        let mut last_commit = pin!(settled(handle));
        while mailbox.is_empty() || handle.must_yield() {
            tokio::select! {
                biased;
                // A message or a request has arrived.
                () = asked.notified() => handle.crash_if_asked(),
                // Also completes when the log has failed.
                () = &mut last_commit => break,
            }
        }
    }
    let sleeps = mailbox.is_empty() || handle.must_yield();
    if !sleeps {
        handle.stay_awake();
    }
    sleeps
}

/// The outcome of a future; `None` if it panicked, after dropping what it owned.
async fn caught<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| {
        let poll = AssertUnwindSafe(|| future.as_mut().poll(context));
        catch_unwind(poll).map_or(Poll::Ready(None), |poll| poll.map(Some))
    })
    .await
}
