//! Who asks: the user, and the values of claims that stand in the patterns of the grants.

use serde_json::{Map, Value};

use crate::session::UserName;

/// A user with the claims that its grants need; or a client without a token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    user: Option<UserName>,
    values: Vec<(Box<str>, Box<str>)>,
}

impl Subject {
    /// A user, with the values of the claims of these names.
    pub(super) fn new<'a>(
        user: UserName,
        claims: &Map<String, Value>,
        names: impl Iterator<Item = &'a str>,
    ) -> Self {
        let mut values: Vec<(Box<str>, Box<str>)> = Vec::new();
        for name in names {
            let is_known = values.iter().any(|(known, _)| **known == *name);
            if !is_known && let Some(value) = lookup(claims, name).and_then(as_text) {
                values.push((name.into(), value));
            }
        }
        Self { user: Some(user), values }
    }

    /// The user; a client without a token is none.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The same, to be kept.
    pub fn shared_user(&self) -> Option<UserName> {
        self.user.clone()
    }

    /// The value of a claim.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    }
}

/// A claim by its name. Where there is none, dots lead into objects, as in `realm_access.roles`.
pub(super) fn lookup<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        let mut parts = name.split('.');
        let first = claims.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.as_object()?.get(part))
    })
}

/// Texts and whole numbers have a form as text; an empty text would make a pattern match more than it says.
fn as_text(value: &Value) -> Option<Box<str>> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.as_str().into()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string().into()),
        _ => None,
    }
}
