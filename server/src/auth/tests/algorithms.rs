//! A key is for its algorithm, and the token does not choose.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::json;

use super::support::{IssuerKey, TestAuth, ada, rules};
use crate::auth::Refusal;

const ALL: [Algorithm; 12] = [
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

#[test]
fn each_algorithm_is_taken_with_its_key_and_refused_with_another() {
    for algorithm in ALL {
        let (key, other) = (IssuerKey::new(algorithm), IssuerKey::new(algorithm));
        let server = TestAuth::new(&[("k", &key)], rules());
        let token = key.token("k", &ada(&json!({})));
        assert_eq!(server.refusal(&token), None, "{algorithm:?}");
        assert_eq!(server.access(&token).subject.user(), Some("ada"));
        let forged = other.token("k", &ada(&json!({})));
        assert_eq!(server.refusal(&forged), Some(Refusal::Signature), "{algorithm:?}");
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = signed.split_once('.').unwrap();
        let claims = URL_SAFE_NO_PAD.encode(ada(&json!({ "sub": "eve" })).to_string());
        let changed = format!("{header}.{claims}.{signature}");
        assert_eq!(server.refusal(&changed), Some(Refusal::Signature), "{algorithm:?}");
    }
}

#[test]
fn a_token_without_a_signature_is_refused() {
    let key = IssuerKey::new(Algorithm::HS256);
    let server = TestAuth::new(&[("k", &key)], rules());
    for algorithm in ["none", "None", "NONE", "", "HS1", "ES512"] {
        let token = key.sign(&json!({ "alg": algorithm, "kid": "k" }), &ada(&json!({})));
        let (signed, _) = token.rsplit_once('.').unwrap();
        assert_eq!(server.refusal(&token), Some(Refusal::Algorithm), "{algorithm}");
        assert_eq!(server.refusal(&format!("{signed}.")), Some(Refusal::Algorithm));
    }
    let token = key.token("k", &ada(&json!({})));
    let (signed, _) = token.rsplit_once('.').unwrap();
    assert_eq!(server.refusal(&format!("{signed}.")), Some(Refusal::Signature));
}

/// The public key is known to everybody: taken for a secret, everybody could sign.
#[test]
fn a_public_key_is_never_taken_for_a_secret() {
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let key = IssuerKey::new(algorithm);
        let server = TestAuth::new(&[("k", &key)], rules());
        for secret in [key.public.as_bytes(), key.public.trim().as_bytes()] {
            let forger = IssuerKey {
                algorithm: Algorithm::HS256,
                private: EncodingKey::from_secret(secret),
                public: String::new(),
            };
            let token = forger.token("k", &ada(&json!({})));
            assert_eq!(server.refusal(&token), Some(Refusal::OtherAlgorithm), "{algorithm:?}");
            let unnamed = forger.sign(&json!({ "alg": "HS256" }), &ada(&json!({})));
            assert_eq!(server.refusal(&unnamed), Some(Refusal::OtherAlgorithm), "{algorithm:?}");
        }
    }
}

#[test]
fn a_token_of_another_algorithm_of_the_same_key_is_refused() {
    let mut key = IssuerKey::new(Algorithm::RS256);
    let server = TestAuth::new(&[("k", &key)], rules());
    for algorithm in [Algorithm::RS512, Algorithm::PS256] {
        key.algorithm = algorithm;
        let token = key.token("k", &ada(&json!({})));
        assert_eq!(server.refusal(&token), Some(Refusal::OtherAlgorithm), "{algorithm:?}");
    }
}
