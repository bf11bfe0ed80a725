//! The name of a user, as tokens and certificates say it.

use std::ops::Deref;
use std::sync::Arc;

/// A user's name, shared, and one pointer wide, as `Arc<str>` is not: each member of a roster has one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserName(Arc<Box<str>>);

impl From<&str> for UserName {
    fn from(name: &str) -> Self {
        Self(Arc::new(name.into()))
    }
}

impl Deref for UserName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}
