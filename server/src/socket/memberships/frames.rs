//! Deliveries as WebSocket frames, made once for all members of a reactor.

use bytes::Bytes;
use dormouse_protocol::Key;

use crate::limits::Budget;
use crate::log::ObjectId;
use crate::object::{EventFrames, SignalFrames};
use crate::session::SessionId;
use crate::socket::framing;
use crate::socket::wire_format::WireFormat;

/// The number of members that use each format, with those whose join is not answered yet.
pub(in crate::socket) type Speakers = [u32; WireFormat::COUNT];

/// Events as WebSocket frames, made once for all members of a reactor.
pub(in crate::socket) struct Delivered {
    pub(in crate::socket) first: u64,
    pub(in crate::socket) last: u64,
    /// By format; `None` for a format that no member uses.
    pub(in crate::socket) frames: [Option<Bytes>; WireFormat::COUNT],
}

impl Delivered {
    /// `None` if the budget has no room for a frame.
    pub(super) fn new(events: &EventFrames, speakers: Speakers, budget: &Budget) -> Option<Self> {
        let mut frames = [const { None }; WireFormat::COUNT];
        for format in WireFormat::ALL.into_iter().filter(|format| speakers[format.index()] > 0) {
            let frame = framing::encoded(format, events.encoded(format.encoding), budget)?;
            frames[format.index()] = Some(frame);
        }
        Some(Self { first: events.first, last: events.last, frames })
    }

    pub(in crate::socket) fn frame(&self, format: WireFormat) -> Option<&Bytes> {
        self.frames[format.index()].as_ref()
    }

    pub(in crate::socket) fn size(&self) -> usize {
        self.frames.iter().flatten().map(Bytes::len).sum()
    }
}

/// A signal as WebSocket frames, made once for all members of a reactor.
pub(in crate::socket) struct FramedSignal {
    pub(super) object: ObjectId,
    pub(super) sender: SessionId,
    pub(super) key: Option<Key>,
    /// By format; none where nobody speaks it, or the budget has no room.
    frames: [Option<Bytes>; WireFormat::COUNT],
}

impl FramedSignal {
    pub(in crate::socket) fn new(
        signal: &SignalFrames,
        speakers: &Speakers,
        budget: &Budget,
    ) -> Self {
        let in_form = |format: WireFormat| {
            let is_spoken = speakers[format.index()] > 0;
            is_spoken
                .then(|| framing::encoded(format, signal.encoded(format.encoding), budget))
                .flatten()
        };
        let frames = WireFormat::ALL.map(in_form);
        let SignalFrames { object, sender, ref key, .. } = *signal;
        Self { object, sender, key: key.clone(), frames }
    }

    pub(in crate::socket) fn frame(&self, format: WireFormat) -> Option<&Bytes> {
        self.frames[format.index()].as_ref()
    }

    pub(in crate::socket) fn size(&self) -> usize {
        self.frames.iter().flatten().map(Bytes::len).sum()
    }
}
