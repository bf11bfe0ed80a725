//! Revocations: single tokens, or all tokens of a user, that the server refuses before they expire.
//!
//! Owns the list in memory and its file in the data directory. A change is on disk before it returns.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use super::access::{Access, MAX_ID_BYTES, MAX_USER_BYTES};
use super::durable_file::DurableFile;

/// The most that may be revoked at once.
pub const MAX_REVOCATIONS: usize = 10_000;

const FILE: &str = "revocations.json";

/// What is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Revocation {
    /// The token with this `jti`.
    Token {
        /// The token's `jti`.
        id: String,
    },
    /// Tokens of this user.
    User {
        /// The tokens' `sub`.
        user: String,
        /// If set, only tokens with an `iat` up to this second since the Unix epoch, and tokens without `iat`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        issued_until: Option<u64>,
    },
}

/// Why a revocation cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// The id or user is empty, or longer than a token may have.
    #[error("a token's id and user have 1-128 bytes")]
    Invalid,
    /// There are too many.
    #[error(
        "there are {MAX_REVOCATIONS} revocations already: lift those of tokens that have expired"
    )]
    Full,
    /// The file cannot be written.
    #[error("the revocations cannot be written to the data directory")]
    Io(#[from] io::Error),
}

/// The list and its file.
#[derive(Debug)]
pub(super) struct Revocations {
    file: DurableFile,
    /// Held while a change is made.
    changing: Mutex<()>,
    all: RwLock<List>,
}

/// The revocations, by token id and by user.
#[derive(Debug, Clone, Default)]
struct List {
    tokens: BTreeSet<String>,
    users: BTreeMap<String, Option<u64>>,
}

/// The file in a data directory.
pub(super) fn file(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

impl Revocations {
    /// Reads the file; without one nothing is revoked.
    pub(super) fn read(dir: &Path) -> io::Result<Self> {
        let file = DurableFile::new(dir, FILE);
        let all: List = file.read::<Vec<Revocation>>()?.into_iter().collect();
        Ok(Self { file, changing: Mutex::default(), all: RwLock::new(all) })
    }

    pub(super) fn all(&self) -> Vec<Revocation> {
        self.all.read().iter().collect()
    }

    pub(super) fn hold_for(&self, access: &Access) -> bool {
        self.all.read().hold_for(access)
    }

    /// Adds a revocation. It replaces an earlier one of the same token or user. Blocks.
    pub(super) fn add(&self, revocation: Revocation) -> Result<(), RevokeError> {
        if !revocation.is_valid() {
            return Err(RevokeError::Invalid);
        }
        self.change(|all| {
            all.add(revocation);
            if all.len() > MAX_REVOCATIONS { Err(RevokeError::Full) } else { Ok(()) }
        })
    }

    /// Lifts the revocation of a token or user. False if there is none. Blocks.
    pub(super) fn lift(&self, revocation: &Revocation) -> Result<bool, RevokeError> {
        let mut was_there = false;
        self.change(|all| {
            was_there = all.remove(revocation);
            Ok(())
        })?;
        Ok(was_there)
    }

    fn change(
        &self,
        change: impl FnOnce(&mut List) -> Result<(), RevokeError>,
    ) -> Result<(), RevokeError> {
        let _changing = self.changing.lock();
        let mut all = self.all.read().clone();
        change(&mut all)?;
        self.file.write(&all.iter().collect::<Vec<Revocation>>())?;
        *self.all.write() = all;
        Ok(())
    }
}

impl List {
    fn hold_for(&self, access: &Access) -> bool {
        let is_listed = |id: &str| self.tokens.contains(id);
        let user = access.subject.user().and_then(|user| self.users.get(user));
        let is_before = |until: &Option<u64>| {
            until.is_none_or(|until| access.issued.is_none_or(|issued| issued <= until))
        };
        access.id.as_deref().is_some_and(is_listed) || user.is_some_and(is_before)
    }

    fn add(&mut self, revocation: Revocation) {
        match revocation {
            Revocation::Token { id } => _ = self.tokens.insert(id),
            Revocation::User { user, issued_until } => _ = self.users.insert(user, issued_until),
        }
    }

    fn remove(&mut self, revocation: &Revocation) -> bool {
        match revocation {
            Revocation::Token { id } => self.tokens.remove(id),
            Revocation::User { user, .. } => self.users.remove(user).is_some(),
        }
    }

    fn len(&self) -> usize {
        self.tokens.len() + self.users.len()
    }

    fn iter(&self) -> impl Iterator<Item = Revocation> {
        let tokens = self.tokens.iter().map(|id| Revocation::Token { id: id.clone() });
        let users = self.users.iter().map(|(user, issued_until)| Revocation::User {
            user: user.clone(),
            issued_until: *issued_until,
        });
        tokens.chain(users)
    }
}

impl FromIterator<Revocation> for List {
    fn from_iter<I: IntoIterator<Item = Revocation>>(revocations: I) -> Self {
        let mut list = Self::default();
        revocations.into_iter().for_each(|revocation| list.add(revocation));
        list
    }
}

impl Revocation {
    fn is_valid(&self) -> bool {
        match self {
            Self::Token { id } => (1..=MAX_ID_BYTES).contains(&id.len()),
            Self::User { user, .. } => (1..=MAX_USER_BYTES).contains(&user.len()),
        }
    }
}
