//! The identity of an object in the log.

use dormouse_protocol::ObjectName;

/// The number of an object: in every stored key and in every frame about the object. Below 2⁵³.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(pub u64);

/// The identity of an object, fixed for one incarnation of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its number; never given to another object once an event is stored under it.
    pub id: ObjectId,
    /// Names this incarnation of its log; chosen at random.
    pub epoch: u32,
    /// Its name.
    pub name: ObjectName,
}
