//! Who publishes: a session's secret token and its public id.
//!
//! The id is derived from the token, so the server stores nothing: a token holds over restarts, the same token
//! always gives the same id, and an id that everyone sees does not give the token away. This module knows no
//! sockets and no HTTP.

use std::fmt;
use std::ops::Deref;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use sha2::{Digest as _, Sha256};

const SECRET_BYTES: usize = 16;
/// Keeps the ids apart from any other use of the same hash.
const DOMAIN: &[u8] = b"dormouse session id v1\0";
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const ID_CHARS: usize = 13;

/// The public name of a session: 13 characters of lower-case base32, held where it is needed without an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; ID_CHARS]);

impl SessionId {
    /// Reads a name back; `None` for what is not the form of one.
    pub fn from_text(text: &str) -> Option<Self> {
        let id: [u8; ID_CHARS] = text.as_bytes().try_into().ok()?;
        id.iter().all(|byte| BASE32.contains(byte)).then_some(Self(id))
    }
}

impl Deref for SessionId {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).expect("base32 is ASCII")
    }
}

/// What survives a reconnect of a client: the identity under which it publishes.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    /// The public name.
    pub id: SessionId,
    /// The secret that continues this session: 22 characters of base64url.
    pub token: Box<str>,
}

/// The text is not a session token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session token is not one that this server gave")]
pub struct BadToken;

impl Session {
    /// A session that nobody has had before, from 128 random bits.
    #[expect(clippy::new_without_default, reason = "two new sessions are never equal")]
    pub fn new() -> Self {
        Self::from_secret(rand::random())
    }

    /// The session that a token continues; any text that is not the form of a token is refused.
    pub fn from_token(token: &str) -> Result<Self, BadToken> {
        let secret = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| BadToken)?;
        Ok(Self::from_secret(secret.try_into().map_err(|_| BadToken)?))
    }

    fn from_secret(secret: [u8; SECRET_BYTES]) -> Self {
        let hash = Sha256::new().chain_update(DOMAIN).chain_update(secret).finalize();
        let head = hash.first_chunk().expect("a SHA-256 has 32 bytes");
        Self {
            id: SessionId(base32(u64::from_be_bytes(*head))),
            token: BASE64_URL_SAFE_NO_PAD.encode(secret).into(),
        }
    }
}

/// Without the token: what is printed for debugging ends in logs.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).finish_non_exhaustive()
    }
}

/// RFC 4648 without padding, in lower case: 64 bits and one zero bit are 13 groups of five.
fn base32(number: u64) -> [u8; ID_CHARS] {
    let bits = u128::from(number) << 1;
    std::array::from_fn(|place| BASE32[(bits >> (5 * (ID_CHARS - 1 - place))) as usize & 31])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_always_gives_the_same_id() {
        let known = Session::from_token("AAECAwQFBgcICQoLDA0ODw").unwrap();
        assert_eq!(
            &*known.id, "cpe3ou76xu7li",
            "ids are stored in logs: the derivation must never change"
        );

        let session = Session::new();
        assert_eq!(Session::from_token(&session.token), Ok(session));
    }

    #[test]
    fn new_sessions_differ() {
        assert_ne!(Session::new().id, Session::new().id);
    }

    #[test]
    fn an_id_is_read_back() {
        let id = Session::new().id;
        assert_eq!(SessionId::from_text(&id), Some(id));
        for text in ["", "cpe3ou76xu7l", "cpe3ou76xu7li2", "cpe3ou76xu7l1", "CPE3OU76XU7LI"] {
            assert_eq!(SessionId::from_text(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_token_is_not_printed() {
        let session = Session::new();
        assert!(!format!("{session:?}").contains(&*session.token));
    }

    #[test]
    fn base32_is_that_of_rfc_4648() {
        assert_eq!(&base32(0), b"aaaaaaaaaaaaa");
        assert_eq!(&base32(u64::MAX), b"7777777777776");
        // `printf 'foobar!!' | base32`
        assert_eq!(&base32(u64::from_be_bytes(*b"foobar!!")), b"mzxw6ytboiqsc");
    }

    #[test]
    fn what_is_not_a_token_is_refused() {
        let long = "A".repeat(10_000);
        for text in [
            "",
            "x",
            "AAECAwQFBgcICQoLDA0ODw==",
            "AAECAwQFBgcICQoLDA0ODx",
            "AAECAwQFBgcICQoLDA0O",
            "AAEC AwQFBgcICQoLDA0ODw",
            &long,
        ] {
            assert_eq!(Session::from_token(text), Err(BadToken), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_token_has_one_spelling(text in "[A-Za-z0-9_-]{22}") {
            if let Ok(session) = Session::from_token(&text) {
                prop_assert_eq!(&*session.token, text);
                prop_assert_eq!(session.id.len(), 13);
            }
        }
    }
}
