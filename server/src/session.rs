//! Sessions: the public id under which a client publishes, and the secret token that continues a session.
//!
//! A token is the id (64 bits) followed by an authentication code (HMAC-SHA256, 128 bits) under the server's key. So the server
//! stores nothing for a session, a client cannot choose a token, and an id gives no way to search for its token.
//! This module knows no socket and no HTTP.

mod key;
mod user;

use std::fmt;
use std::ops::Deref;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

pub use key::{KeyError, read_or_create};
pub use user::UserName;

/// The length of the key.
pub const KEY_BYTES: usize = 32;

const NUMBER_BYTES: usize = 8;
const CODE_BYTES: usize = 16;
const TOKEN_BYTES: usize = NUMBER_BYTES + CODE_BYTES;
const TOKEN_CHARS: usize = TOKEN_BYTES / 3 * 4;
/// Separates these codes from any other use of the same key.
const DOMAIN: &[u8] = b"dormouse session token v2\0";
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const ID_CHARS: usize = 13;

/// The public name of a session: 13 characters of lower-case base32, held where it is needed without an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; ID_CHARS]);

impl SessionId {
    /// The id of a connection without a session.
    pub const NONE: Self = Self([b'a'; ID_CHARS]);

    /// The name of a number.
    pub fn of(number: u64) -> Self {
        Self(base32(number))
    }

    /// The number that it is the name of, which needs less memory.
    pub fn number(&self) -> u64 {
        let place = |byte: &u8| BASE32.iter().position(|known| known == byte).unwrap_or_default();
        let bits = self.0.iter().fold(0_u128, |bits, byte| bits << 5 | place(byte) as u128);
        (bits >> 1) as u64
    }

    /// Reads a name back; `None` for what is not the form of one.
    pub fn from_text(text: &str) -> Option<Self> {
        let id: [u8; ID_CHARS] = text.as_bytes().try_into().ok()?;
        Some(Self(id)).filter(|id| *id == Self::of(id.number()))
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
    /// The secret that continues this session: 32 characters of base64url.
    pub token: Box<str>,
}

/// The text is not a session token of this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session token is not one that this server issued")]
pub struct BadToken;

/// Issues sessions and recognises their tokens.
#[derive(Clone)]
pub struct Sessions(Hmac<Sha256>);

impl Sessions {
    /// Sessions under a secret key. Another key refuses their tokens.
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes a key of any length"))
    }

    /// A new session with a random id.
    pub fn issue(&self) -> Session {
        self.numbered(rand::random())
    }

    /// The session that a token continues. Compares the authentication code in constant time.
    pub fn accept(&self, token: &str) -> Result<Session, BadToken> {
        let mut bytes = [0; TOKEN_BYTES];
        if token.len() != TOKEN_CHARS {
            return Err(BadToken);
        }
        BASE64_URL_SAFE_NO_PAD.decode_slice(token, &mut bytes).map_err(|_| BadToken)?;
        let (number, code) = bytes.split_at(NUMBER_BYTES);
        self.mac(number).verify_truncated_left(code).map_err(|_| BadToken)?;
        let number = number.try_into().map_err(|_| BadToken)?;
        Ok(Session { id: SessionId::of(u64::from_be_bytes(number)), token: token.into() })
    }

    pub(crate) fn numbered(&self, number: u64) -> Session {
        let mut bytes = [0; TOKEN_BYTES];
        let (head, code) = bytes.split_at_mut(NUMBER_BYTES);
        head.copy_from_slice(&number.to_be_bytes());
        let mac = self.mac(head).finalize().into_bytes();
        code.copy_from_slice(&mac[..CODE_BYTES]);
        Session { id: SessionId::of(number), token: BASE64_URL_SAFE_NO_PAD.encode(bytes).into() }
    }

    fn mac(&self, number: &[u8]) -> Hmac<Sha256> {
        self.0.clone().chain_update(DOMAIN).chain_update(number)
    }
}

/// Without the key.
impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
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

    fn sessions() -> Sessions {
        Sessions::new(&[7; KEY_BYTES])
    }

    #[test]
    fn a_token_continues_its_session_under_the_same_key_only() {
        let session = sessions().issue();
        assert_eq!(sessions().accept(&session.token), Ok(session.clone()));
        assert_eq!(Sessions::new(&[8; KEY_BYTES]).accept(&session.token), Err(BadToken));
    }

    #[test]
    fn a_token_is_the_id_and_its_code() {
        let known = sessions().numbered(u64::from_be_bytes(*b"foobar!!"));
        assert_eq!(&*known.id, "mzxw6ytboiqsc", "ids are stored in logs");
        assert_eq!(
            &*known.token, "Zm9vYmFyISE3cdQPuSJ4l4tBs-9y56H3",
            "clients keep tokens: the form must never change"
        );
    }

    /// Finding 5: any 128 bits were taken for a token.
    #[test]
    fn a_token_that_a_client_made_or_changed_is_refused() {
        for text in ["AAECAwQFBgcICQoLDA0ODw", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"] {
            assert_eq!(sessions().accept(text), Err(BadToken), "{text:?}");
        }
        let token = BASE64_URL_SAFE_NO_PAD.decode(&*sessions().issue().token).unwrap();
        for bit in 0..8 * token.len() {
            let mut changed = token.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let text = BASE64_URL_SAFE_NO_PAD.encode(changed);
            assert_eq!(sessions().accept(&text), Err(BadToken), "bit {bit}");
        }
    }

    #[test]
    fn new_sessions_differ() {
        assert_ne!(sessions().issue().id, sessions().issue().id);
    }

    #[test]
    fn an_id_is_read_back() {
        let id = sessions().issue().id;
        assert_eq!(SessionId::from_text(&id), Some(id));
        for text in [
            "",
            "cpe3ou76xu7l",
            "cpe3ou76xu7li2",
            "cpe3ou76xu7l1",
            "cpe3ou76xu7lj",
            "CPE3OU76XU7LI",
        ] {
            assert_eq!(SessionId::from_text(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_token_is_not_printed() {
        let session = sessions().issue();
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
    fn what_is_not_the_form_of_a_token_is_refused() {
        let good = sessions().issue().token;
        let long = "A".repeat(10_000);
        let (padded, spaced) = (format!("{good}="), format!(" {}", &good[1..]));
        for text in ["", "x", &long, &padded, &spaced, &good[1..], &good[..31]] {
            assert_eq!(sessions().accept(text), Err(BadToken), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_token_has_one_spelling(number: u64) {
            let session = sessions().numbered(number);
            prop_assert_eq!(session.token.len(), TOKEN_CHARS);
            prop_assert_eq!(session.id.number(), number);
            prop_assert_eq!(SessionId::from_text(&session.id), Some(session.id));
            let continued = sessions().accept(&session.token);
            prop_assert_eq!(continued, Ok(session));
        }
    }
}
