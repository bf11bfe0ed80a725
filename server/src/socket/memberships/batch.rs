//! The batch of one object on one reactor: the frames that go to its members next, and when they go. No I/O.
//!
//! The number of system calls determines the cost of fan-out. So everything that one iteration brings for an object leaves in one
//! write for each member. A *flush* to many members takes milliseconds; what arrives during a flush is batched for the next one.
//! Where several members send at once, a flush waits for a short *linger*. Members that react to the last flush then send in time
//! for the next one. So sixteen events need one write instead of several.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::frames::{Delivered, FramedSignal, Speakers};
use crate::limits::{Budget, Purpose};
use crate::socket::wire_format::WireFormat;

/// A linger lasts for the duration of the last flush, divided by this.
const LINGER_DIVISOR: u32 = 2;
/// The longest linger.
const MAX_LINGER: Duration = Duration::from_millis(4);
/// A batch with more bytes is flushed before anything is added. So a member gets at most this, and one event or signal, beyond the
/// bound of its outbox.
const BATCH_BYTES: usize = 128 * 1024;

/// The events and signals for an object's members on one reactor.
#[derive(Default)]
pub(in crate::socket) struct Batch {
    /// In order; each begins with the offset after the one before.
    deliveries: Vec<Arc<Delivered>>,
    signals: Vec<FramedSignal>,
    /// The number of events and signals.
    count: u64,
    bytes: usize,
    pace: Pace,
}

/// Whether a flush of the object is under way, or a linger.
#[derive(Default)]
enum Pace {
    #[default]
    Free,
    /// Since this time, with so many events and signals.
    Flushing(Instant, u64),
    /// Until this time, or until the batch has so many events and signals: as many as the last flush had.
    Lingering(Instant, u64),
}

/// When a batch may be flushed.
pub(in crate::socket) enum When {
    Now,
    /// When the flush that is under way has ended.
    AfterFlush,
    At(Instant),
}

/// The frames of a batch, joined into one piece for all members.
pub(in crate::socket) struct JoinedFrames {
    deliveries: Vec<Arc<Delivered>>,
    pub(in crate::socket) signals: Vec<FramedSignal>,
    /// By format.
    event_frames: [Option<Arc<Bytes>>; WireFormat::COUNT],
    /// The frames for a member that lacked only the later events: many members catch up at the same offset.
    latter_events: Option<(u64, WireFormat, Option<Arc<Bytes>>)>,
    signal_frames: [Option<Arc<Bytes>>; WireFormat::COUNT],
    budget: Budget,
}

impl Batch {
    pub(in crate::socket) fn is_empty(&self) -> bool {
        self.deliveries.is_empty() && self.signals.is_empty()
    }

    /// Whether a delivery directly follows the batched ones. It does not if the reactor has missed a delivery.
    pub(in crate::socket) fn precedes(&self, next: &Delivered) -> bool {
        self.deliveries.last().is_none_or(|last| last.last + 1 == next.first)
    }

    pub(in crate::socket) fn add_delivery(&mut self, delivered: Arc<Delivered>) {
        self.bytes += delivered.size();
        self.count += delivered.last + 1 - delivered.first;
        self.deliveries.push(delivered);
    }

    pub(in crate::socket) fn add_signal(&mut self, signal: FramedSignal) {
        self.bytes += signal.size();
        self.count += 1;
        self.signals.push(signal);
    }

    /// Whether the batch must be flushed before more is added.
    pub(in crate::socket) fn is_full(&self) -> bool {
        self.bytes > BATCH_BYTES
    }

    /// When the batch may be flushed.
    pub(in crate::socket) fn when(&self) -> When {
        match self.pace {
            _ if self.is_full() => When::Now,
            Pace::Free => When::Now,
            Pace::Flushing(..) => When::AfterFlush,
            Pace::Lingering(_, carried) if self.count >= carried => When::Now,
            Pace::Lingering(until, _) if until <= Instant::now() => When::Now,
            Pace::Lingering(until, _) => When::At(until),
        }
    }

    /// Takes the frames for so many members. True, with `flush_members` and more, if the caller must report the end of the flush.
    pub(in crate::socket) fn take(
        &mut self,
        members: &Speakers,
        flush_members: u32,
        budget: &Budget,
    ) -> (JoinedFrames, bool) {
        let batched = std::mem::take(self);
        let is_flush = members.iter().sum::<u32>() >= flush_members;
        if is_flush {
            self.pace = Pace::Flushing(Instant::now(), batched.count);
        }
        (batched.join(members, budget), is_flush)
    }

    /// The flush has ended.
    pub(in crate::socket) fn end_flush(&mut self) {
        self.pace = match self.pace {
            Pace::Flushing(since, carried) if carried > 1 || !self.is_empty() => {
                let now = Instant::now();
                Pace::Lingering(
                    now + ((now - since) / LINGER_DIVISOR).min(MAX_LINGER),
                    carried + self.count,
                )
            }
            _ => Pace::Free,
        };
    }

    fn join(self, members: &Speakers, budget: &Budget) -> JoinedFrames {
        let Self { deliveries, signals, .. } = self;
        let is_spoken = |format: &WireFormat| members[format.index()] > 0;
        let spoken = WireFormat::ALL.map(|format| Some(format).filter(is_spoken));
        let signal_frames = |format: WireFormat| {
            let frames = signals.iter().filter_map(|signal| signal.frame(format));
            join(&frames.collect::<Vec<_>>(), budget)
        };
        JoinedFrames {
            event_frames: spoken.map(|format| join_events(&deliveries, format?, budget)),
            latter_events: None,
            signal_frames: spoken.map(|format| signal_frames(format?)),
            deliveries,
            signals,
            budget: budget.clone(),
        }
    }
}

impl JoinedFrames {
    /// The last event's offset, if there are events.
    pub(in crate::socket) fn last(&self) -> Option<u64> {
        self.deliveries.last().map(|delivered| delivered.last)
    }

    /// The events after an offset. `None` if they do not directly follow it, are not encoded in this format, or the budget has no room.
    pub(in crate::socket) fn events_after(
        &mut self,
        offset: u64,
        format: WireFormat,
    ) -> Option<Arc<Bytes>> {
        let whole = self.deliveries.first()?;
        if whole.first == offset + 1 {
            return self.event_frames[format.index()].clone();
        }
        // A member that joined between these events.
        match &self.latter_events {
            Some((after, spoken, frames)) if (*after, *spoken) == (offset, format) => {
                frames.clone()
            }
            _ => {
                let frames = self.join_after(offset, format);
                self.latter_events = Some((offset, format, frames.clone()));
                frames
            }
        }
    }

    fn join_after(&self, offset: u64, format: WireFormat) -> Option<Arc<Bytes>> {
        let known = self.deliveries.iter().take_while(|delivered| delivered.last <= offset);
        let rest = &self.deliveries[known.count()..];
        let follows = rest.first().is_some_and(|next| next.first == offset + 1);
        join_events(rest, format, &self.budget).filter(|_| follows)
    }

    pub(in crate::socket) fn signal_frames(&self, format: WireFormat) -> Option<&Arc<Bytes>> {
        self.signal_frames[format.index()].as_ref()
    }
}

/// `None` if a frame is missing, because the result would have a hole, or if the budget has no room.
fn join_events(
    deliveries: &[Arc<Delivered>],
    format: WireFormat,
    budget: &Budget,
) -> Option<Arc<Bytes>> {
    let frames = deliveries.iter().map(|delivered| delivered.frame(format));
    join(&frames.collect::<Option<Vec<_>>>()?, budget)
}

fn join(frames: &[&Bytes], budget: &Budget) -> Option<Arc<Bytes>> {
    let joined = match *frames {
        [] => return None,
        [frame] => Bytes::clone(frame),
        _ => {
            let bytes = frames.iter().map(|frame| frame.len()).sum();
            let permit = budget.try_acquire(Purpose::Delivery, bytes)?;
            let joined = frames.iter().map(|frame| &frame[..]).collect::<Vec<_>>().concat();
            permit.attach(joined)
        }
    };
    Some(Arc::new(joined))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSGPACK: WireFormat = WireFormat::ALL[0];
    const JSON: WireFormat = WireFormat::ALL[1];

    fn delivered(first: u64, last: u64, frame: impl Into<Bytes>) -> Arc<Delivered> {
        Arc::new(Delivered { first, last, frames: [Some(frame.into()), None, None, None] })
    }

    #[test]
    fn a_member_gets_what_follows_on_from_what_it_has() {
        let mut batch = Batch::default();
        for (first, last, text) in [(5, 6, "ab"), (7, 7, "c"), (8, 10, "def")] {
            let next = delivered(first, last, text);
            assert!(batch.precedes(&next));
            batch.add_delivery(next);
        }
        assert!(!batch.precedes(&delivered(12, 12, "h")));
        let (mut joined, is_flush) = batch.take(&[1, 0, 0, 0], 2, &Budget::unlimited());
        assert!(!is_flush && batch.is_empty());
        assert_eq!(joined.last(), Some(10));
        let mut after = |offset| joined.events_after(offset, MSGPACK);
        let is = |text: &'static [u8]| Some(Arc::new(Bytes::from_static(text)));
        // Twice, since the answer is remembered.
        for _ in 0..2 {
            assert_eq!(after(4), is(b"abcdef"));
            assert_eq!(after(6), is(b"cdef"));
            assert_eq!(after(7), is(b"def"));
            for in_between in [3, 5, 9, 10] {
                assert_eq!(after(in_between), None, "{in_between}");
            }
        }
        assert_eq!(joined.events_after(7, JSON), None, "it was not spoken");
        let shared = joined.events_after(6, MSGPACK).unwrap();
        let again = joined.events_after(6, MSGPACK).unwrap();
        assert_eq!(shared.as_ptr(), again.as_ptr(), "members share one piece");
    }

    #[test]
    fn what_is_gathered_waits_for_the_sweep_unless_it_is_too_much() {
        let mut batch = Batch::default();
        batch.add_delivery(delivered(1, 2, "ab"));
        assert!(matches!(batch.when(), When::Now));
        assert!(batch.take(&[1, 1, 0, 0], 2, &Budget::unlimited()).1);
        batch.add_delivery(delivered(3, 3, "c"));
        assert!(matches!(batch.when(), When::AfterFlush));
        batch.end_flush();
        assert!(!matches!(batch.when(), When::AfterFlush));
        batch.take(&[1, 1, 0, 0], 2, &Budget::unlimited());
        batch.add_delivery(delivered(4, 4, vec![b'x'; BATCH_BYTES + 1]));
        assert!(batch.is_full());
        assert!(matches!(batch.when(), When::Now));
        batch.take(&[1, 1, 0, 0], 2, &Budget::unlimited());
        assert!(!batch.is_full());
    }
}
