//! The codes with which the server closes a connection.
//!
//! The range alone tells a client what to do, so that old clients understand new codes: 3000–3499 reconnect
//! with jitter, 3500–3999 stop. Below 3000 stand the codes of RFC 6455, section 7.4.1.

/// Why the server closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// RFC 6455: the purpose is fulfilled; the answer to a client that closes without a code.
    Normal,
    /// RFC 6455: the peer broke the framing.
    ProtocolError,
    /// RFC 6455: text where the encoding is binary, or the other way round.
    UnsupportedData,
    /// RFC 6455: text that is not UTF-8.
    InvalidUtf8,
    /// RFC 6455: the message is larger than the server accepts.
    TooLarge,
    /// The server stops or restarts: reconnect.
    GoingAway,
    /// Nothing was heard from the client for too long: reconnect.
    PingTimeout,
    /// The log has failed and the server restarts: reconnect.
    LogFailed,
    /// The server is at fault: reconnect.
    Internal,
    /// The client took nothing of what waited for it for too long: reconnect.
    Stalled,
    /// A message of the client took too long to arrive: reconnect.
    SlowMessage,
    /// The server is short of memory, and most of it was held for this client: reconnect later.
    Overloaded,
    /// The token of access has expired: connect again with another one.
    TokenExpired,
    /// The client ignored the refusals of a rate limit: reconnect later.
    RateLimited,
    /// The session token is not one that this server gave: stop, and connect without it.
    BadToken,
    /// There is no token of access, or it is not valid: stop, and connect with a valid one.
    Unauthorized,
}

impl CloseCode {
    /// Every code, for metrics and documentation.
    pub const ALL: [Self; 16] = [
        Self::Normal,
        Self::ProtocolError,
        Self::UnsupportedData,
        Self::InvalidUtf8,
        Self::TooLarge,
        Self::GoingAway,
        Self::PingTimeout,
        Self::LogFailed,
        Self::Internal,
        Self::Stalled,
        Self::SlowMessage,
        Self::Overloaded,
        Self::TokenExpired,
        Self::RateLimited,
        Self::BadToken,
        Self::Unauthorized,
    ];

    /// The number in the close frame.
    pub fn number(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::ProtocolError => 1002,
            Self::UnsupportedData => 1003,
            Self::InvalidUtf8 => 1007,
            Self::TooLarge => 1009,
            Self::GoingAway => 3000,
            Self::PingTimeout => 3001,
            Self::LogFailed => 3002,
            Self::Internal => 3003,
            Self::Stalled => 3004,
            Self::SlowMessage => 3005,
            Self::Overloaded => 3006,
            Self::TokenExpired => 3007,
            Self::RateLimited => 3008,
            Self::BadToken => 3500,
            Self::Unauthorized => 3501,
        }
    }

    /// The reason in the close frame; at most 32 bytes.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::ProtocolError => "protocol_error",
            Self::UnsupportedData => "unsupported_data",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::TooLarge => "too_large",
            Self::GoingAway => "going_away",
            Self::PingTimeout => "ping_timeout",
            Self::LogFailed => "log_failed",
            Self::Internal => "internal",
            Self::Stalled => "stalled",
            Self::SlowMessage => "slow_message",
            Self::Overloaded => "overloaded",
            Self::TokenExpired => "token_expired",
            Self::RateLimited => "rate_limited",
            Self::BadToken => "bad_token",
            Self::Unauthorized => "unauthorized",
        }
    }
}
