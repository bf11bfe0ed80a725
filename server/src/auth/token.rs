//! The parts of a token, before anything in it is believed.
//!
//! Each bound is checked before the bytes that it is about are decoded.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::refusal::Refusal;

/// Bytes of a token.
pub const MAX_TOKEN_BYTES: usize = 8 << 10;

/// Objects and arrays in each other, in the claims.
const MAX_DEPTH: usize = 8;

/// A token, taken apart.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) algorithm: Algorithm,
    /// The id of its key.
    pub(super) key: Option<String>,
    /// What the signature is about.
    pub(super) signed: &'a str,
    pub(super) signature: &'a str,
    payload: &'a str,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl<'a> Parts<'a> {
    pub(super) fn split(token: &'a str) -> Result<Self, Refusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Refusal::Malformed)?;
        if payload.contains('.') {
            return Err(Refusal::Malformed);
        }
        let Header { alg, kid, crit } = read(&decode(header)?)?;
        if crit.is_some() {
            return Err(Refusal::Critical);
        }
        let algorithm = alg.parse().map_err(|_| Refusal::Algorithm)?;
        Ok(Self { algorithm, key: kid, signed, signature, payload })
    }

    /// The claims; to be called after the signature was checked.
    pub(super) fn claims(&self) -> Result<Map<String, Value>, Refusal> {
        read(&decode(self.payload)?)
    }
}

fn decode(part: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed)
}

fn read<T: for<'de> Deserialize<'de>>(json: &[u8]) -> Result<T, Refusal> {
    if depth(json) > MAX_DEPTH {
        return Err(Refusal::TooDeep);
    }
    serde_json::from_slice(json).map_err(|_| Refusal::Malformed)
}

/// How deep objects and arrays stand in each other; of what is no JSON, any number.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_text, mut is_escaped) = (false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => depth += 1,
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}
