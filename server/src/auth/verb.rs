//! What a client may be allowed to do with an object.

use std::fmt;
use std::str::FromStr;

/// One right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Join the object and receive its events, from any position.
    Join,
    /// Publish events.
    Publish,
    /// Send signals.
    Signal,
    /// Set presence and see the roster.
    Presence,
    /// Page through the events with `history`.
    History,
    /// Call the class's methods.
    Call,
    /// Put the object to sleep, crash it, remove members.
    Admin,
}

/// The text is no verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a verb must be one of join, publish, signal, presence, history, call, admin")]
pub struct NotAVerb;

impl Verb {
    /// All verbs, in the order in which they are printed.
    pub const ALL: [Self; 7] = [
        Self::Join,
        Self::Publish,
        Self::Signal,
        Self::Presence,
        Self::History,
        Self::Call,
        Self::Admin,
    ];

    /// The verb's name in a grant.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Publish => "publish",
            Self::Signal => "signal",
            Self::Presence => "presence",
            Self::History => "history",
            Self::Call => "call",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Verb {
    type Err = NotAVerb;

    fn from_str(text: &str) -> Result<Self, NotAVerb> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == text).ok_or(NotAVerb)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of verbs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verbs(u8);

impl Verbs {
    /// All verbs.
    pub const ALL: Self = Self((1 << Verb::ALL.len()) - 1);

    pub(super) fn insert(&mut self, verb: Verb) {
        self.0 |= 1 << verb as u8;
    }

    /// Whether a verb is among them.
    pub fn contains(self, verb: Verb) -> bool {
        self.0 & 1 << verb as u8 != 0
    }
}

impl fmt::Display for Verbs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for verb in Verb::ALL.into_iter().filter(|verb| self.contains(*verb)) {
            write!(f, "{separator}{verb}")?;
            separator = ", ";
        }
        Ok(())
    }
}
