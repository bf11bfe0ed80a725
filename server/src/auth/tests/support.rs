//! Keys that are made for the test, and tokens signed with them.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::crypto::sign;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, AlgorithmFamily, EncodingKey};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::auth::{Access, Auth, Refusal, Rules, Settings, own_key_file};

/// The time of all tests, in seconds.
pub(in crate::auth) const NOW: u64 = 1_800_000_000;

/// A key of an issuer: what signs, and what is published.
pub(in crate::auth) struct IssuerKey {
    pub(in crate::auth) algorithm: Algorithm,
    pub(in crate::auth) private: EncodingKey,
    /// What the configuration gets: a secret, or a public key in PEM.
    pub(in crate::auth) public: String,
}

impl IssuerKey {
    pub(in crate::auth) fn new(algorithm: Algorithm) -> Self {
        let pem = |label: &str, der: &[u8]| {
            format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
        };
        let (private, public) = match algorithm.family() {
            AlgorithmFamily::Hmac => {
                let secret = STANDARD.encode(rand::random::<[u8; 48]>());
                let private = EncodingKey::from_secret(secret.as_bytes());
                return Self { algorithm, private, public: secret };
            }
            AlgorithmFamily::Rsa => {
                let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
                let private: Pkcs8V1Der<'_> = key.as_der().unwrap();
                let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
                (private.as_ref().to_vec(), public.as_ref().to_vec())
            }
            AlgorithmFamily::Ec => {
                let curve = if algorithm == Algorithm::ES256 {
                    &ECDSA_P256_SHA256_FIXED_SIGNING
                } else {
                    &ECDSA_P384_SHA384_FIXED_SIGNING
                };
                let key = EcdsaKeyPair::generate(curve).unwrap();
                let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
                (key.to_pkcs8v1().unwrap().as_ref().to_vec(), public.as_ref().to_vec())
            }
            AlgorithmFamily::Ed => {
                let key = Ed25519KeyPair::generate().unwrap();
                let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
                (key.to_pkcs8v1().unwrap().as_ref().to_vec(), public.as_ref().to_vec())
            }
        };
        let private = pem("PRIVATE KEY", &private);
        let private = match algorithm.family() {
            AlgorithmFamily::Rsa => EncodingKey::from_rsa_pem(private.as_bytes()),
            AlgorithmFamily::Ec => EncodingKey::from_ec_pem(private.as_bytes()),
            _ => EncodingKey::from_ed_pem(private.as_bytes()),
        };
        Self { algorithm, private: private.unwrap(), public: pem("PUBLIC KEY", &public) }
    }

    /// The key in a set of keys.
    pub(in crate::auth) fn jwk(&self, id: &str) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.private, self.algorithm).unwrap();
        jwk.common.key_id = Some(id.into());
        serde_json::to_value(jwk).unwrap()
    }

    /// A token of these claims.
    pub(in crate::auth) fn token(&self, id: &str, claims: &Value) -> String {
        self.sign(&json!({ "alg": format!("{:?}", self.algorithm), "kid": id }), claims)
    }

    /// A token with this header, whatever it says.
    pub(in crate::auth) fn sign(&self, header: &Value, claims: &Value) -> String {
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = sign(signed.as_bytes(), &self.private, self.algorithm).unwrap();
        format!("{signed}.{signature}")
    }
}

/// Claims of Ada that are valid for an hour, with what is added or replaced.
pub(in crate::auth) fn ada(more: &Value) -> Value {
    let mut claims = json!({ "sub": "ada", "exp": NOW + 3600 });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// Rules as the configuration has them by default.
pub(in crate::auth) fn rules() -> Rules {
    Rules {
        grants_claim: "grants".into(),
        roles_claim: "roles".into(),
        leeway: Duration::from_secs(30),
        ..Rules::default()
    }
}

/// Settings without any key. The directory is the server's.
pub(in crate::auth) fn settings(dir: &Path) -> Settings {
    let own_key = own_key_file(dir);
    Settings {
        keys: Vec::new(),
        own_key,
        jwks: None,
        oidc: None,
        data: dir.to_owned(),
        rules: rules(),
    }
}

/// A server's check of tokens with these keys in files.
pub(in crate::auth) struct TestAuth {
    pub(in crate::auth) auth: Auth,
    _dir: TempDir,
}

impl TestAuth {
    pub(in crate::auth) fn new(keys: &[(&str, &IssuerKey)], rules: Rules) -> Self {
        let dir = TempDir::new().unwrap();
        let mut settings = Settings { rules, ..settings(dir.path()) };
        for (id, key) in keys {
            let file = dir.path().join(id);
            fs::write(&file, &key.public).unwrap();
            let setting = format!("{id}: {:?} file:{}", key.algorithm, file.display());
            settings.keys.push(setting.parse().unwrap());
        }
        Self { auth: Auth::start(settings).unwrap(), _dir: dir }
    }

    pub(in crate::auth) fn refusal(&self, token: &str) -> Option<Refusal> {
        self.auth.authenticate(token, NOW).err()
    }

    pub(in crate::auth) fn access(&self, token: &str) -> Arc<Access> {
        self.auth.authenticate(token, NOW).unwrap()
    }
}
