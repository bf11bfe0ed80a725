//! An instance: wakes from the log and handles batches of messages.
//!
//! For each batch, the behaviour decides and the instance sends one append to the log. The instance encodes the events while
//! earlier commits run, so the commit only has to release them.

use std::sync::Arc;

use dormouse_protocol::{Encoding, ErrorCode};
use tokio::sync::oneshot;

use super::class::{Context, Effects, Object, PublishRequest};
use super::dedupe::{Dedupe, StoredAt};
use super::delivery::{Answer, EventFrames, Refusal};
use super::handle::Handle;
use super::input::{Action, Input};
use super::mailbox::Message;
use super::registry::Shared;
use super::reply::ReplyTo;
use crate::limits::Permit;
use crate::log::{Append, Identity, PageLimit, ReadError, Tail};

/// Maximum bytes of an append with more than one message.
const APPEND_BYTES: usize = 64 * 1024;
/// Entries of one read when a waking instance rebuilds the dedupe window.
const WINDOW_PAGE: PageLimit = PageLimit { events: 1_000, bytes: 1 << 20 };

/// An object's behaviour with the end of its log.
pub(super) struct Instance {
    behaviour: Box<dyn Object>,
    tail: Tail,
    dedupe: Dedupe,
    /// For the instance's own memory. A publish adds less than its own permit covers.
    permit: Permit,
}

impl Instance {
    /// Waits for earlier appends, loads the end of the log and wakes the behaviour.
    pub(super) async fn wake(handle: &Arc<Handle>) -> Result<Self, ReadError> {
        let shared = &handle.shared;
        // A failed instance may have left appends in flight; they are part of the log.
        if handle.has_unfinished_appends() {
            settled(handle).await;
        }
        let (reads, identity) = (shared.clone(), handle.identity.clone());
        let read = shared.settings.reads.spawn(move || read_back(&reads, &identity));
        let (tail, dedupe) = read.await?;
        handle.note_appended(tail.offset);
        let behaviour = handle.class().make(&handle.identity);
        let permit = shared.settings.budget.charge(0);
        let mut instance = Self { behaviour, tail, dedupe, permit };
        instance.permit.charge(instance.memory_bytes());
        let mut effects = Effects::default();
        let (behaviour, mut context) = instance.context(handle, &mut effects);
        behaviour.wake(&mut context);
        instance.carry_out(handle, effects).await;
        Ok(instance)
    }

    /// Lets the behaviour decide about inputs, and appends its events to the log.
    pub(super) async fn handle_batch(
        &mut self,
        handle: &Arc<Handle>,
        messages: impl Iterator<Item = Message>,
    ) {
        let mut effects = Effects::default();
        let mut size = 0;
        self.dedupe.expire(self.tail.offset, handle.now_ms());
        for Message { input, reply, permit } in messages {
            size += input.size();
            if size > APPEND_BYTES && !effects.entries.is_empty() {
                self.carry_out(handle, std::mem::take(&mut effects)).await;
                size = 0;
            }
            let (behaviour, mut context) = self.context(handle, &mut effects);
            match (input.action, reply) {
                (Action::Publish(publish), Some(reply)) => {
                    behaviour.publish(&mut context, PublishRequest { publish, reply, permit });
                }
                (action, reply) => {
                    let input = Input { source: input.source, action };
                    match (behaviour.decide(&mut context, &input), reply) {
                        (Ok(()), reply) => {
                            reply.into_iter().for_each(ReplyTo::disarm);
                            handle.carry_out(input);
                        }
                        (Err(refusal), Some(reply)) => reply.send(Answer::Refused(refusal)),
                        // An input without an answer cannot be refused.
                        (Err(_), None) => handle.carry_out(input),
                    }
                }
            }
        }
        self.permit.charge(self.memory_bytes());
        self.carry_out(handle, effects).await;
    }

    /// The instance is about to end.
    pub(super) fn sleep(mut self) {
        self.behaviour.sleep();
    }

    /// Approximate bytes of memory, without the behaviour's own memory.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.dedupe.memory_bytes()
    }

    fn context<'a>(
        &'a mut self,
        handle: &'a Handle,
        effects: &'a mut Effects,
    ) -> (&'a mut dyn Object, Context<'a>) {
        let Self { behaviour, tail, dedupe, .. } = self;
        let (identity, is_full) = (&*handle.identity, handle.shared.log.is_full());
        let context = Context { identity, now: handle.now_ms(), is_full, tail, dedupe, effects };
        (&mut **behaviour, context)
    }

    /// Appends the batch's events to the log. Its answers wait until these events and all earlier ones are on disk.
    async fn carry_out(&mut self, handle: &Arc<Handle>, effects: Effects) {
        let Effects { entries, answers, permit } = effects;
        if entries.is_empty() && !handle.has_unfinished_appends() {
            return answer(handle, answers);
        }
        let last = self.tail.offset;
        let frames = Arc::new(EventFrames::new(handle.id(), last, entries.clone(), permit));
        for encoding in [Encoding::Msgpack, Encoding::Json] {
            // Encoding here adds no delay between commit and delivery.
            if !entries.is_empty() && handle.is_spoken(encoding) {
                frames.encoded(encoding);
            }
        }
        handle.note_appended(last);
        let append = Append {
            object: handle.identity.clone(),
            first: frames.first,
            entries,
            changes: Vec::new(),
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

fn release(handle: &Handle, frames: &Arc<EventFrames>, answers: Vec<(ReplyTo, Answer)>) {
    // Without events, the answers are about earlier events, which are on disk now.
    if frames.last < frames.first {
        return answer(handle, answers);
    }
    count_duplicates(handle, &answers);
    handle.release(frames, answers);
}

fn answer(handle: &Handle, answers: Vec<(ReplyTo, Answer)>) {
    count_duplicates(handle, &answers);
    for (reply, answer) in answers {
        reply.send(answer);
    }
}

fn count_duplicates(handle: &Handle, answers: &[(ReplyTo, Answer)]) {
    let is_duplicate = |(_, answer): &&(ReplyTo, Answer)| {
        matches!(answer, Answer::Published { duplicate: true, .. })
    };
    let duplicates = answers.iter().filter(is_duplicate).count();
    handle.shared.metrics.duplicates.inc_by(duplicates as u64);
}

fn refuse(answers: Vec<(ReplyTo, Answer)>) {
    for (reply, _) in answers {
        let why = "the log has failed and the event is not stored; try again with the same key";
        reply.send(Answer::Refused(Refusal::new(ErrorCode::Unavailable, why)));
    }
}

/// Waits until everything given to the log before is on disk, or failed.
pub(super) async fn settled(handle: &Arc<Handle>) {
    let (done, settled) = oneshot::channel();
    let append = Append {
        object: handle.identity.clone(),
        first: 0,
        entries: Vec::new(),
        changes: Vec::new(),
        done: Box::new(move |_| {
            let _ = done.send(());
        }),
    };
    handle.shared.log.append(append).await;
    let _ = settled.await;
}

/// Blocking: reads the end of the log and the dedupe window.
fn read_back(shared: &Shared, identity: &Identity) -> Result<(Tail, Dedupe), ReadError> {
    let settings = &shared.settings;
    let mut dedupe = Dedupe::new(settings.dedupe_window, settings.dedupe_events);
    let Some(stored) = shared.log.find(&identity.name)? else {
        return Ok((Tail::default(), dedupe));
    };
    dedupe.forget_up_to(stored.trimmed);
    let now = settings.clock.now_ms();
    let mut before = None;
    'window: loop {
        let range = shared.log.range(identity, None, before, true, WINDOW_PAGE)?;
        for entry in &range.events {
            let event = entry.decode()?;
            let stored_at = StoredAt { offset: event.offset, time: event.time };
            if !dedupe.holds(stored_at, stored.tail.offset, now) {
                dedupe.forget_up_to(stored_at.offset);
                break 'window;
            }
            if let Some(key) = &event.key {
                dedupe.insert_older(&event.sender, key, stored_at);
            }
            before = Some(event.offset);
        }
        if !range.more {
            break;
        }
    }
    Ok((stored.tail, dedupe))
}
