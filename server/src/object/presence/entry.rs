//! A member's entry in a roster: its number, its user, its presence data, and the connection that holds the entry.

use std::sync::Arc;

use bytes::Bytes;
use dormouse_protocol::Payload;

use crate::limits::{Budget, Permit};
use crate::session::SessionId;

/// What a member costs in a roster beyond what it says of itself.
const OVERHEAD: usize = 256;

/// Milliseconds since the registry began: the clock of everything about presence that has a deadline.
pub(super) type Millis = u64;

/// The connection that holds an entry, by its number. A later connection has a greater number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder(pub u64);

/// What a member says of itself: the `MessagePack` form of a [`Payload`] with the permit for it, shared by the roster, what is told
/// of it and what is stored.
#[derive(Debug, Clone, Default)]
pub struct Data(Option<Arc<Said>>);

#[derive(Debug)]
struct Said {
    bytes: Box<[u8]>,
    _permit: Permit,
}

impl Data {
    /// What a payload costs in memory, in bytes.
    pub fn cost(payload: &Payload) -> usize {
        payload.as_msgpack().len() + OVERHEAD
    }

    /// Takes the payload, and a permit for [`Data::cost`].
    pub fn new(payload: &Payload, permit: Permit) -> Self {
        Self(Some(Arc::new(Said { bytes: payload.as_msgpack().into(), _permit: permit })))
    }

    /// What the log gives back, which has checked that it is a payload.
    pub(super) fn stored(bytes: &[u8], budget: &Budget) -> Self {
        let permit = budget.charge(bytes.len() + OVERHEAD);
        Self(Some(Arc::new(Said { bytes: bytes.into(), _permit: permit })))
    }

    pub(super) fn payload(&self) -> Payload {
        Payload::from_msgpack(self.bytes()).expect("the bytes were taken from a payload")
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |said| &said.bytes)
    }

    /// The same bytes, without a copy.
    pub(super) fn shared(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }
}

impl AsRef<[u8]> for Data {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Data {}

/// A member as others are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) member: u64,
    pub(super) user: SessionId,
    pub(super) data: Data,
}

/// An entry of the roster. There are many, so it has 56 bytes.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) member: u64,
    /// The version of the last change; 0 if no version contains it so far.
    pub(super) changed: u64,
    /// What was told last; before that what is to be told.
    pub(super) data: Data,
    pub(super) state: State,
    pub(super) user: SessionId,
}

const _: () = assert!(size_of::<Entry>() <= 56);

/// What has become of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Its connection is there.
    Held(Holder),
    /// Its connection was lost; until then it may come back.
    Lost(Millis),
    /// It has left, and the next version says so.
    Leaving,
    /// It has left, and a version said so. Kept for members that ask for changes.
    Gone,
}

impl Entry {
    pub(super) fn is_told(&self) -> bool {
        self.changed > 0
    }

    /// Whether it is in the roster as it was told last.
    pub(super) fn is_seen(&self) -> bool {
        self.is_told() && self.state != State::Gone
    }

    pub(super) fn seen(&self) -> Seen {
        Seen { member: self.member, user: self.user, data: self.data.clone() }
    }
}
