//! A JSON Web Key Set: which of its keys are of use, and for which algorithms.

use std::sync::Arc;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::fetch::FetchError;
use crate::auth::key::Key;

/// Keys of one issuer.
const MAX_KEYS: usize = 100;

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// Reads a set. Keys that this server has no use for are left out: issuers publish them for others.
pub(super) fn parse(json: &[u8], issuer: Option<&Arc<str>>) -> Result<Vec<Key>, FetchError> {
    let KeySet { keys } = serde_json::from_slice(json).map_err(|_| FetchError::NotAKeySet)?;
    if keys.len() > MAX_KEYS {
        return Err(FetchError::TooManyKeys);
    }
    let read = |key| serde_json::from_value(key).ok().and_then(|jwk| usable(&jwk, issuer));
    let keys: Vec<_> = keys.into_iter().filter_map(read).collect();
    if keys.is_empty() { Err(FetchError::NoUsableKey) } else { Ok(keys) }
}

fn usable(jwk: &Jwk, issuer: Option<&Arc<str>>) -> Option<Key> {
    let common = &jwk.common;
    let signs = common.public_key_use.as_ref().is_none_or(|of| *of == PublicKeyUse::Signature);
    let operations = common.key_operations.as_ref();
    let checks = operations.is_none_or(|of| of.contains(&KeyOperations::Verify));
    let mut algorithms = possible(&jwk.algorithm)?.to_vec();
    if let Some(only) = common.key_algorithm {
        let only = Algorithm::try_from(only).ok()?;
        algorithms.retain(|algorithm| *algorithm == only);
    }
    let check = DecodingKey::from_jwk(jwk).ok()?;
    let is_usable = signs && checks && !algorithms.is_empty();
    is_usable.then(|| Key::of_issuer(common.key_id.clone(), algorithms, check, issuer.cloned()))
}

/// What a key of this type can be for. A secret that is published is none.
fn possible(key: &AlgorithmParameters) -> Option<&'static [Algorithm]> {
    match key {
        AlgorithmParameters::RSA(_) => Some(RSA),
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => Some(&[Algorithm::ES256]),
            EllipticCurve::P384 => Some(&[Algorithm::ES384]),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(key) => match key.curve {
            EllipticCurve::Ed25519 => Some(&[Algorithm::EdDSA]),
            _ => None,
        },
        _ => None,
    }
}

/// Many issuers do not name the algorithm of an RSA key.
const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
