//! Grants, and the decision that follows from them: what no grant allows is refused.

use std::fmt;
use std::str::FromStr;

use dormouse_protocol::ObjectName;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::pattern::{Pattern, PatternError};
use super::subject::Subject;
use super::verb::{NotAVerb, Verb, Verbs};

/// Grants of one token, one role or the configuration's `anonymous`.
pub const MAX_GRANTS: usize = 100;

/// `PATTERN: VERB, VERB…`, such as `room/team-*: join, publish`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pattern: Pattern,
    verbs: Verbs,
}

/// Why a text is no grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Pattern and verbs are not told apart.
    #[error("a grant must be `PATTERN: VERB, VERB…`, as in `room/team-*: join, publish`")]
    Form,
    /// The pattern is invalid.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A verb is unknown.
    #[error(transparent)]
    Verb(#[from] NotAVerb),
    /// There are too many.
    #[error("there may be at most 100 grants in one list")]
    TooMany,
}

impl Grant {
    fn allows(&self, subject: &Subject, verb: Verb, object: &ObjectName) -> bool {
        self.verbs.contains(verb) && self.pattern.matches(object, subject)
    }

    /// The names of the claims whose values it needs.
    pub(super) fn claims(&self) -> impl Iterator<Item = &str> {
        self.pattern.claims()
    }
}

/// Whether the grants allow a subject to use a verb on an object.
pub fn decide(grants: &[Grant], subject: &Subject, verb: Verb, object: &ObjectName) -> bool {
    deciding_grant(grants, subject, verb, object).is_some()
}

/// The first grant that allows it.
pub fn deciding_grant<'a>(
    grants: &'a [Grant],
    subject: &Subject,
    verb: Verb,
    object: &ObjectName,
) -> Option<&'a Grant> {
    grants.iter().find(|grant| grant.allows(subject, verb, object))
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        // A name may have colons, and so may a claim's; a verb has none.
        let (pattern, names) = text.rsplit_once(':').ok_or(GrantError::Form)?;
        let mut verbs = Verbs::default();
        for name in names.split(',') {
            verbs.insert(name.trim().parse()?);
        }
        Ok(Self { pattern: pattern.trim().parse()?, verbs })
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.pattern, self.verbs)
    }
}

impl Serialize for Grant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Grant {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// Reads grants, and refuses one too many before it is read.
pub(super) fn parse_all<'a>(
    texts: impl Iterator<Item = &'a str>,
) -> Result<Vec<Grant>, GrantError> {
    let mut grants = Vec::new();
    for text in texts {
        if grants.len() == MAX_GRANTS {
            return Err(GrantError::TooMany);
        }
        grants.push(text.parse()?);
    }
    Ok(grants)
}

#[cfg(test)]
mod tests;
