//! The counts that a reactor takes at an operator's request. It keeps no such counts while it works.

use std::ops::Add;

/// The members of one object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Connections that are joined to the object.
    pub members: u64,
    /// Those of them that nothing waits on.
    pub at_rest: u64,
    /// The memory that the memberships take, roughly: the connections themselves are left out.
    pub bytes: usize,
}

impl Add for Census {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            members: self.members + other.members,
            at_rest: self.at_rest + other.at_rest,
            bytes: self.bytes + other.bytes,
        }
    }
}

/// All connections.
#[derive(Default)]
pub(super) struct Survey {
    pub(super) at_rest: usize,
    pub(super) busy: usize,
    pub(super) rest_bytes: usize,
    pub(super) queued_bytes: usize,
    pub(super) subscribers: usize,
    pub(super) recent_bytes: usize,
}
