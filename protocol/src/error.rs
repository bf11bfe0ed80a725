//! The codes of refused requests. A code keeps its meaning for ever.

use serde::{Deserialize, Serialize};

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The message could not be understood.
    BadRequest,
    /// The object's class is not known to this server.
    UnknownClass,
    /// The client's grants do not allow this.
    Forbidden,
    /// The connection is not a member of that object.
    NotJoined,
    /// The connection is a member already, or is about to be.
    AlreadyJoined,
    /// The connection has joined as many objects as it may.
    TooManyJoins,
    /// Too many requests wait for their reply.
    TooManyInFlight,
    /// The presence has more bytes than it may.
    PresenceTooLarge,
    /// The object's roster has as many members as it may.
    RosterFull,
    /// The event of this key may have been stored, but the server no longer knows: read the history after the given offset.
    KeyExpired,
    /// A rate limit refuses the request; try again after `retry_after_ms`.
    RateLimited,
    /// The object has more to do than it can, or the server is short of memory; try again later.
    Overloaded,
    /// The server's disk has no room for more events; everything but publishing goes on.
    DiskFull,
    /// The log can't take or give events at present; try again later, or on another connection.
    Unavailable,
    /// The server is at fault; the request may be tried again.
    Internal,
}

impl ErrorCode {
    /// Every code, for metrics and documentation.
    pub const ALL: [Self; 15] = [
        Self::BadRequest,
        Self::UnknownClass,
        Self::Forbidden,
        Self::NotJoined,
        Self::AlreadyJoined,
        Self::TooManyJoins,
        Self::TooManyInFlight,
        Self::PresenceTooLarge,
        Self::RosterFull,
        Self::KeyExpired,
        Self::RateLimited,
        Self::Overloaded,
        Self::DiskFull,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The code as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::UnknownClass => "unknown_class",
            Self::Forbidden => "forbidden",
            Self::NotJoined => "not_joined",
            Self::AlreadyJoined => "already_joined",
            Self::TooManyJoins => "too_many_joins",
            Self::TooManyInFlight => "too_many_in_flight",
            Self::PresenceTooLarge => "presence_too_large",
            Self::RosterFull => "roster_full",
            Self::KeyExpired => "key_expired",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::DiskFull => "disk_full",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// Whether the same request may succeed later without being changed.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::TooManyInFlight
                | Self::RosterFull
                | Self::RateLimited
                | Self::Overloaded
                | Self::DiskFull
                | Self::Unavailable
                | Self::Internal
        )
    }
}
