//! The life of an instance: a tokio task from the first message until there has been none for a while.
//!
//! A turn takes the messages that wait, lets the behaviour decide, and gives the log one append. The events are
//! encoded for the members here, while earlier commits are under way; the commit then only has to release them.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use dormouse_protocol::{Encoding, ErrorCode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tracing::{debug, error};

use super::class::{Context, Effects, Message, Object};
use super::dedupe::{Dedupe, Place};
use super::handle::Handle;
use super::outlet::{Answer, EventFrames, ReplyTo};
use super::registry::Shared;
use crate::clock::now_ms;
use crate::log::{Append, Identity, PageLimit, ReadError, Tail};

/// Messages that one turn takes at most.
const TURN_MESSAGES: usize = 256;
/// An append is not made larger than this by a further message.
const APPEND_BYTES: usize = 64 * 1024;
/// How soon an instance that was asked to sleep looks whether its last commit is done.
const LAST_COMMIT: Duration = Duration::from_millis(2);
/// Entries read at once when the dedupe window is read back.
const WINDOW_PAGE: PageLimit = PageLimit { events: 1_000, bytes: 1 << 20 };

/// Runs the object's instances, one after another, until one sleeps and nothing has arrived meanwhile. The mailbox stays
/// open in between, so a message that arrives while an instance ends waits for the next one (promise 1).
pub(super) async fn run(handle: Arc<Handle>, mut mailbox: mpsc::Receiver<Message>) {
    loop {
        let _place = handle.shared.awake.enter(&handle).await;
        let refusal = match caught(Instance::wake(&handle)).await {
            Some(Ok(instance)) => match caught(instance.live(&handle, &mut mailbox)).await {
                Some(()) if handle.retire(&mailbox) => return,
                Some(()) => continue,
                None => {
                    error!(object = %handle.identity.name, "the instance has panicked");
                    continue;
                }
            },
            Some(Err(error)) => {
                error!(object = %handle.identity.name, %error, "the object can't wake");
                (ErrorCode::Unavailable, "the log can't be read at present; try again later")
            }
            None => {
                handle.shared.metrics.failures.inc();
                error!(object = %handle.identity.name, "the object panics when it wakes");
                (ErrorCode::Internal, "the object fails when it wakes; try again later")
            }
        };
        for message in handle.refuse_all(&mut mailbox) {
            message.reply.refuse(refusal.0, refusal.1);
        }
        return;
    }
}

/// The outcome of a future; `None` if it panicked, and then what it owned is dropped already.
async fn caught<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| {
        let poll = AssertUnwindSafe(|| future.as_mut().poll(context));
        catch_unwind(poll).map_or(Poll::Ready(None), |poll| poll.map(Some))
    })
    .await
}

struct Instance {
    behaviour: Box<dyn Object>,
    tail: Tail,
    dedupe: Dedupe,
}

impl Instance {
    async fn wake(handle: &Arc<Handle>) -> Result<Self, ReadError> {
        let shared = &handle.shared;
        shared.metrics.wakes.inc();
        let woken = Instant::now();
        // An instance before this one may have failed with appends under way: they count.
        if handle.has_unfinished_appends() {
            settled(handle).await;
        }
        let (tail, dedupe) = tokio::task::spawn_blocking({
            let (shared, identity) = (shared.clone(), handle.identity.clone());
            move || read_back(&shared, &identity)
        })
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        handle.note_appended(tail.offset);
        let class = shared.classes.get(handle.identity.name.class());
        let class = class.expect("joins name known classes only");
        let mut instance = Self { behaviour: class(&handle.identity), tail, dedupe };
        let mut effects = Effects::default();
        let (behaviour, mut context) = instance.context(handle, &mut effects);
        behaviour.wake(&mut context);
        instance.carry_out(handle, effects).await;
        shared.metrics.wake_seconds.observe(woken.elapsed().as_secs_f64());
        Ok(instance)
    }

    /// Takes messages until there have been none for a while.
    async fn live(mut self, handle: &Arc<Handle>, mailbox: &mut mpsc::Receiver<Message>) {
        let _awake = handle.shared.metrics.count_awake();
        let mut messages = Vec::new();
        handle.forget_being_asked();
        loop {
            let is_asked = handle.is_asked_to_sleep() || handle.shared.awake.is_crowded();
            let patience = if is_asked { LAST_COMMIT } else { handle.shared.settings.sleep_after };
            // Messages first: an object sleeps only when it has nothing to do.
            let may_sleep = tokio::select! {
                biased;
                count = mailbox.recv_many(&mut messages, TURN_MESSAGES) => {
                    if count == 0 {
                        // The registry ends all instances.
                        break;
                    }
                    self.turn(handle, messages.drain(..)).await;
                    handle.use_at(handle.shared.awake.now());
                    false
                }
                () = handle.asked.notified(), if !is_asked => handle.is_asked_to_sleep(),
                () = sleep(patience) => true,
            };
            if may_sleep && mailbox.is_empty() && !handle.has_unfinished_appends() {
                if is_asked || handle.is_asked_to_sleep() {
                    handle.shared.metrics.evictions.inc();
                }
                break;
            }
        }
        self.behaviour.sleep();
        debug!(object = %handle.identity.name, "asleep");
    }

    async fn turn(&mut self, handle: &Arc<Handle>, messages: impl Iterator<Item = Message>) {
        let mut effects = Effects::default();
        let mut size = 0;
        self.dedupe.expire(self.tail.offset, now_ms());
        for message in messages {
            size += message.data.as_msgpack().len();
            if size > APPEND_BYTES && !effects.entries.is_empty() {
                self.carry_out(handle, std::mem::take(&mut effects)).await;
                size = 0;
            }
            let (behaviour, mut context) = self.context(handle, &mut effects);
            behaviour.message(&mut context, message);
        }
        self.carry_out(handle, effects).await;
    }

    fn context<'a>(
        &'a mut self,
        handle: &'a Handle,
        effects: &'a mut Effects,
    ) -> (&'a mut dyn Object, Context<'a>) {
        let Self { behaviour, tail, dedupe } = self;
        let context = Context { identity: &handle.identity, now: now_ms(), tail, dedupe, effects };
        (&mut **behaviour, context)
    }

    /// Gives the turn's events to the log. Its answers go out when they are on disk; so do answers about events
    /// of earlier turns that are not there yet.
    async fn carry_out(&mut self, handle: &Arc<Handle>, effects: Effects) {
        let Effects { entries, answers } = effects;
        if entries.is_empty() && !handle.has_unfinished_appends() {
            return answer(handle, answers);
        }
        let last = self.tail.offset;
        let frames = Arc::new(EventFrames::new(handle.id(), last, entries.clone()));
        for encoding in [Encoding::Msgpack, Encoding::Json] {
            // Here it costs no time between the commit and the members.
            if !entries.is_empty() && handle.is_heard_in(encoding) {
                frames.encoded(encoding);
            }
        }
        handle.note_appended(last);
        let append = Append {
            object: handle.identity.clone(),
            first: frames.first,
            entries,
            done: Box::new({
                let handle = handle.clone();
                move |result| match result {
                    Ok(()) => release(&handle, &frames, answers),
                    Err(_) => refuse(answers),
                }
            }),
        };
        handle.shared.log.append(append).await;
    }
}

/// Answers go first, so that a publisher's acknowledgement and its own event can leave in one write.
fn release(handle: &Handle, frames: &Arc<EventFrames>, answers: Vec<(ReplyTo, Answer)>) {
    handle.note_durable(frames.last);
    answer(handle, answers);
    if frames.last >= frames.first {
        handle.deliver(frames);
    }
}

fn answer(handle: &Handle, answers: Vec<(ReplyTo, Answer)>) {
    for (reply, answer) in answers {
        if let Answer::Published { duplicate: true, .. } = answer {
            handle.shared.metrics.duplicates.inc();
        }
        reply.send(answer);
    }
}

fn refuse(answers: Vec<(ReplyTo, Answer)>) {
    for (reply, _) in answers {
        let why = "the log has failed and the event is not stored; try again with the same key";
        reply.send(Answer::Refused(ErrorCode::Unavailable, why.into()));
    }
}

/// Waits until everything given to the log before is on disk, or failed.
async fn settled(handle: &Arc<Handle>) {
    let (done, settled) = oneshot::channel();
    let append = Append {
        object: handle.identity.clone(),
        first: 0,
        entries: Vec::new(),
        done: Box::new(move |_| {
            let _ = done.send(());
        }),
    };
    handle.shared.log.append(append).await;
    let _ = settled.await;
}

/// Blocking: the end of the log and the window of keys that it holds.
fn read_back(shared: &Shared, identity: &Identity) -> Result<(Tail, Dedupe), ReadError> {
    let settings = &shared.settings;
    let mut dedupe = Dedupe::new(settings.dedupe_window, settings.dedupe_events);
    let Some(stored) = shared.log.find(&identity.name)? else {
        return Ok((Tail::default(), dedupe));
    };
    let now = now_ms();
    let mut before = None;
    'window: loop {
        let range = shared.log.range(identity, None, before, true, WINDOW_PAGE)?;
        for entry in &range.events {
            let event = entry.decode()?;
            let place = Place { offset: event.offset, time: event.time };
            if !dedupe.holds(place, stored.tail.offset, now) {
                break 'window;
            }
            if let Some(key) = &event.key {
                dedupe.insert_older(&event.sender, key, place);
            }
            before = Some(event.offset);
        }
        if !range.more {
            break;
        }
    }
    Ok((stored.tail, dedupe))
}
