//! A stored event, and the end of a log, which gives the next event its offset.

use dormouse_protocol::{DecodeError, Event};
use fjall::Slice;

/// What every number of a log stays below, so that every client can tell it: 2⁵³.
pub const MAX_NUMBER: u64 = 1 << 53;

const SIZE_LEN: usize = size_of::<u64>();

/// The end of an object's log: what the next event builds on. The default is the end of an empty log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tail {
    /// The newest event's offset.
    pub offset: u64,
    /// The newest event's time, in milliseconds since the Unix epoch.
    pub time: u64,
    /// The size of all events that were ever stored, trimmed ones included, in bytes of their wire form.
    pub bytes: u64,
}

impl Tail {
    /// Whether it can be the end of a log. What builds on such a tail can't overflow.
    pub(super) fn is_possible(&self) -> bool {
        [self.offset, self.time, self.bytes].iter().all(|number| *number < MAX_NUMBER)
    }

    /// Gives the event the next offset, and a time that does not go back when the clock does.
    /// Advances, and returns what is stored.
    pub fn push(&mut self, event: &mut Event, now_ms: u64) -> Entry {
        event.offset = self.offset + 1;
        event.time = now_ms.max(self.time);
        let mut stored = vec![0; SIZE_LEN];
        event.write_msgpack(&mut stored);
        self.offset = event.offset;
        self.time = event.time;
        self.bytes += (stored.len() - SIZE_LEN) as u64;
        stored[..SIZE_LEN].copy_from_slice(&self.bytes.to_be_bytes());
        Entry(stored.into())
    }
}

/// A stored event; cloning it copies nothing.
///
/// It is the log's cumulative size up to and with this event (8 bytes, big-endian), so that the size of any stretch
/// of the log is a subtraction; then the event in its `MessagePack` wire form, so that a page of the log is sent by
/// copying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry(Slice);

impl Entry {
    /// Takes what was stored; `None` if it is too short to be an entry.
    pub(super) fn from_stored(stored: Slice) -> Option<Self> {
        (stored.len() > SIZE_LEN).then_some(Self(stored))
    }

    /// What is stored.
    pub(super) fn stored(&self) -> &Slice {
        &self.0
    }

    /// The size of the log up to and with this event: see [`Tail::bytes`].
    pub(super) fn bytes_with(&self) -> u64 {
        let (size, _) = self.0.split_first_chunk().expect("an entry begins with its size");
        u64::from_be_bytes(*size)
    }

    /// The size of the log before this event.
    pub(super) fn bytes_before(&self) -> u64 {
        self.bytes_with().saturating_sub(self.wire().len() as u64)
    }

    /// The event in its `MessagePack` wire form.
    pub fn wire(&self) -> &[u8] {
        &self.0[SIZE_LEN..]
    }

    /// The event. Fails only where the disk gave back something else than was stored.
    pub fn decode(&self) -> Result<Event, DecodeError> {
        Event::from_msgpack(self.wire())
    }
}

impl AsRef<[u8]> for Entry {
    fn as_ref(&self) -> &[u8] {
        self.wire()
    }
}

#[cfg(test)]
mod tests {
    use dormouse_protocol::Payload;

    use super::*;

    fn event(text: &str) -> Event {
        Event {
            offset: 0,
            time: 0,
            sender: "s".into(),
            kind: "message".parse().unwrap(),
            data: Payload::of(&text).unwrap(),
            key: None,
            user: None,
        }
    }

    #[test]
    fn a_tail_numbers_sizes_and_never_goes_back_in_time() {
        let mut tail = Tail::default();
        let (mut first, mut second) = (event("one"), event("two, longer"));
        let a = tail.push(&mut first, 500);
        let b = tail.push(&mut second, 400);
        assert_eq!((first.offset, first.time), (1, 500));
        assert_eq!((second.offset, second.time), (2, 500));
        assert_eq!(a.decode().unwrap(), first);
        assert_eq!(b.decode().unwrap(), second);
        assert_eq!((a.bytes_before(), a.bytes_with()), (0, a.wire().len() as u64));
        assert_eq!(b.bytes_before(), a.bytes_with());
        let bytes = (a.wire().len() + b.wire().len()) as u64;
        assert_eq!(tail, Tail { offset: 2, time: 500, bytes });
    }

    #[test]
    fn what_was_never_stored_is_no_event() {
        let stored = Tail::default().push(&mut event("one"), 500);
        let more = [stored.stored(), &b"more"[..]].concat();
        assert!(Entry::from_stored(more.into()).unwrap().decode().is_err());
        for last in [MAX_NUMBER - 2, MAX_NUMBER - 1, u64::MAX - 1] {
            let mut tail = Tail { offset: last, ..Tail::default() };
            let stored = tail.push(&mut event("last"), 500);
            assert_eq!(stored.tail(tail.offset).is_ok(), tail.offset < MAX_NUMBER);
        }
    }
}
