//! One key: its id, who may use it, and for which algorithms.

use std::sync::Arc;

use jsonwebtoken::crypto::{sign, verify};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey};

use super::refusal::Refusal;
use super::token::Parts;

/// A key that tokens are checked with; one of a secret makes tokens too.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) id: Option<String>,
    /// The algorithms that it is for. A token of another one is refused before its signature is looked at, so the text of a public
    /// key is never taken for the secret of an HMAC.
    algorithms: Vec<Algorithm>,
    check: DecodingKey,
    make: Option<Secret>,
    /// The only issuer whose tokens it signs, where that is known.
    pub(super) issuer: Option<Arc<str>>,
}

/// The secret of an HMAC. Its `Debug` tells nothing.
struct Secret(EncodingKey);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Why bytes are no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// A short secret can be found by trying.
    #[error(
        "the secret is too short: HS256 needs 32 bytes, HS384 48 and HS512 64; `dormouse key create` makes one that serves for all"
    )]
    Short,
    /// A public key stands where a secret should.
    #[error(
        "the secret of an HMAC algorithm must not be a PEM file: public keys belong to RS, PS, ES and EdDSA"
    )]
    PublicSecret,
    /// The server has no use for a private key.
    #[error(
        "the file holds a private key: give the server the public one (`openssl pkey -in FILE -pubout`)"
    )]
    Private,
    /// The bytes are no public key for the algorithm.
    #[error("the file is not a public key in PEM for this algorithm")]
    NoKey,
}

impl Key {
    /// A key from the bytes of its file: for HMAC the secret, otherwise a public key in PEM.
    pub(super) fn read(id: &str, algorithm: Algorithm, bytes: &[u8]) -> Result<Self, InvalidKey> {
        let bytes = bytes.trim_ascii();
        let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        let is_pem = has(b"-----BEGIN ");
        if algorithm.family() != AlgorithmFamily::Hmac && has(b"PRIVATE KEY-----") {
            return Err(InvalidKey::Private);
        }
        let check = match algorithm.family() {
            AlgorithmFamily::Hmac if is_pem => return Err(InvalidKey::PublicSecret),
            AlgorithmFamily::Hmac => DecodingKey::from_secret(secret(algorithm, bytes)?),
            AlgorithmFamily::Rsa => no_key(DecodingKey::from_rsa_pem(bytes))?,
            AlgorithmFamily::Ec => on_curve(algorithm, no_key(DecodingKey::from_ec_pem(bytes))?)?,
            AlgorithmFamily::Ed => no_key(DecodingKey::from_ed_pem(bytes))?,
        };
        let is_secret = algorithm.family() == AlgorithmFamily::Hmac;
        let make = is_secret.then(|| Secret(EncodingKey::from_secret(bytes)));
        Ok(Self { id: Some(id.into()), algorithms: vec![algorithm], check, make, issuer: None })
    }

    /// A public key of an issuer's set.
    pub(super) fn of_issuer(
        id: Option<String>,
        algorithms: Vec<Algorithm>,
        check: DecodingKey,
        issuer: Option<Arc<str>>,
    ) -> Self {
        Self { id, algorithms, check, make: None, issuer }
    }

    /// Whether tokens of this algorithm may be checked with it.
    pub(super) fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Checks a token's signature.
    pub(super) fn check(&self, token: &Parts<'_>) -> Result<(), Refusal> {
        if !self.is_for(token.algorithm) {
            return Err(Refusal::OtherAlgorithm);
        }
        let signed = token.signed.as_bytes();
        match verify(token.signature, signed, &self.check, token.algorithm) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Refusal::Signature),
        }
    }

    /// The algorithm that it signs with; a public key signs with none.
    pub(super) fn signs_with(&self) -> Option<Algorithm> {
        self.make.as_ref().and(self.algorithms.first().copied())
    }

    /// The signature of a text.
    pub(super) fn sign(&self, text: &str) -> Option<String> {
        let (algorithm, secret) = (self.signs_with()?, self.make.as_ref()?);
        sign(text.as_bytes(), &secret.0, algorithm).ok()
    }
}

/// RFC 7518 demands as many bytes as the hash has.
fn secret(algorithm: Algorithm, bytes: &[u8]) -> Result<&[u8], InvalidKey> {
    let least = match algorithm {
        Algorithm::HS512 => 64,
        Algorithm::HS384 => 48,
        _ => 32,
    };
    if bytes.len() < least { Err(InvalidKey::Short) } else { Ok(bytes) }
}

fn no_key(key: jsonwebtoken::errors::Result<DecodingKey>) -> Result<DecodingKey, InvalidKey> {
    key.map_err(|_| InvalidKey::NoKey)
}

/// A point of the algorithm's curve has a byte for its form and two coordinates.
fn on_curve(algorithm: Algorithm, key: DecodingKey) -> Result<DecodingKey, InvalidKey> {
    let len = if algorithm == Algorithm::ES256 { 65 } else { 97 };
    let is_point = key.try_get_as_bytes().is_ok_and(|point| point.len() == len);
    if is_point { Ok(key) } else { Err(InvalidKey::NoKey) }
}
