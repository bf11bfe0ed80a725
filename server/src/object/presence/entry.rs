//! A roster entry: the member, its data, and the connection that holds it.

use std::sync::Arc;

use bytes::Bytes;
use dormouse_protocol::Payload;

use crate::limits::{Budget, Permit};
use crate::session::{SessionId, UserName};

/// Bytes that a member costs in a roster beyond its data.
const OVERHEAD: usize = 256;

/// Milliseconds since the registry started: the clock of all presence deadlines.
pub(super) type Millis = u64;

/// The number of a connection that holds a roster entry. A later connection has a greater number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder(pub u64);

/// The owner of a member: the session, which may resume the entry, and the user, if the client is authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The number of the session.
    pub(super) session: u64,
    pub(super) user: Option<UserName>,
}

/// The unit that `users`, `first` and `last` count: a user, or a session without a user.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Person {
    User(UserName),
    Session(u64),
}

impl Owner {
    /// A session, and its user.
    pub fn new(session: SessionId, user: Option<UserName>) -> Self {
        Self { session: session.number(), user }
    }

    pub(super) fn session(&self) -> SessionId {
        SessionId::of(self.session)
    }

    pub(super) fn person(&self) -> Person {
        self.user.clone().map_or(Person::Session(self.session), Person::User)
    }

    /// The person's name, as members see it.
    pub(super) fn name(&self) -> Box<str> {
        self.user.as_deref().map_or_else(|| (*self.session()).into(), Into::into)
    }

    pub(super) fn name_bytes(&self) -> usize {
        self.user.as_ref().map_or(0, |user| user.len())
    }
}

/// A member's data: the `MessagePack` form of a [`Payload`] with its memory permit. The roster, deliveries and the log share it.
#[derive(Debug, Clone, Default)]
pub struct Data(Option<Arc<DataWithPermit>>);

#[derive(Debug)]
struct DataWithPermit {
    bytes: Box<[u8]>,
    _permit: Permit,
}

impl Data {
    /// Bytes of memory that a payload costs.
    pub fn cost(payload: &Payload) -> usize {
        payload.as_msgpack().len() + OVERHEAD
    }

    /// Takes the payload, and a permit for [`Data::cost`].
    pub fn new(payload: &Payload, permit: Permit) -> Self {
        Self(Some(Arc::new(DataWithPermit { bytes: payload.as_msgpack().into(), _permit: permit })))
    }

    /// Data read from the log, which has checked that it is a payload.
    pub(super) fn stored(bytes: &[u8], budget: &Budget) -> Self {
        let permit = budget.charge(bytes.len() + OVERHEAD);
        Self(Some(Arc::new(DataWithPermit { bytes: bytes.into(), _permit: permit })))
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

/// A member as watchers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) member: u64,
    pub(super) owner: Owner,
    pub(super) data: Data,
}

/// One member of a roster. Kept at 56 bytes because there are many.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) member: u64,
    /// The version that published this last; 0 if none did yet.
    pub(super) changed: u64,
    /// The last published data; before the first flush, the pending data.
    pub(super) data: Data,
    pub(super) state: State,
    pub(super) owner: Owner,
}

const _: () = assert!(size_of::<Entry>() <= 56);

/// Whether a member is connected, lost or gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The connection that holds it is open.
    Held(Holder),
    /// Its connection was lost; it may come back until this time.
    Lost(Millis),
    /// It has left; no flush has published that yet.
    Leaving,
    /// It has left, and a flush published that. Kept for reads of changes.
    Gone,
}

impl Entry {
    pub(super) fn is_published(&self) -> bool {
        self.changed > 0
    }

    /// Whether it is in the roster as last published.
    pub(super) fn is_seen(&self) -> bool {
        self.is_published() && self.state != State::Gone
    }

    pub(super) fn seen(&self) -> Seen {
        Seen { member: self.member, owner: self.owner.clone(), data: self.data.clone() }
    }
}
