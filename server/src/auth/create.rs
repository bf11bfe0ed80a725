//! Makes tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::grant::{Grant, MAX_GRANTS};
use super::key::Key;
use super::rules::Rules;
use super::token::MAX_TOKEN_BYTES;

/// What a token is to say.
#[derive(Debug)]
pub struct NewToken {
    /// Whose token it is.
    pub user: String,
    /// What the user may do.
    pub grants: Vec<Grant>,
    /// When it ends, in seconds since the Unix epoch.
    pub expires: u64,
    /// The id of the key that signs it; otherwise the first that can.
    pub key: Option<String>,
}

/// Why a token cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// There is no key of a secret.
    #[error(
        "there is no key to sign with: make one with `dormouse key create`, or name one of HS256, HS384 or HS512 in auth.keys"
    )]
    NoKey,
    /// The key that was named is not there, or only its public half.
    #[error(
        "there is no key `{0}` to sign with: auth.keys names none of this id with HS256, HS384 or HS512"
    )]
    NoSuchKey(String),
    /// It would be refused for its size.
    #[error("the token would be too large: it may have 100 grants and 8KiB")]
    TooLarge,
    /// The library of cryptography refuses.
    #[error("the key cannot sign")]
    Sign,
}

/// A token signed with a key.
pub(super) fn create(
    wanted: &NewToken,
    rules: &Rules,
    key: &Key,
    now: u64,
) -> Result<String, CreateError> {
    let NewToken { user, grants, expires, .. } = wanted;
    let mut claims = Map::new();
    claims.insert("sub".into(), json!(user));
    claims.insert("iat".into(), json!(now));
    claims.insert("exp".into(), json!(expires));
    // In hexadecimal: an id that begins with `-` would look like an option on the command line.
    let id: u64 = rand::random();
    claims.insert("jti".into(), json!(format!("{id:016x}")));
    for (name, values) in [("iss", &rules.issuer), ("aud", &rules.audience)] {
        if let Some(first) = values.first() {
            claims.insert(name.into(), json!(first));
        }
    }
    let grants: Vec<_> = grants.iter().map(Grant::to_string).collect();
    claims.insert(rules.grants_claim.clone(), json!(grants));
    let algorithm = key.signs_with().ok_or(CreateError::NoKey)?;
    let header = json!({ "typ": "JWT", "alg": format!("{algorithm:?}"), "kid": key.id });
    let encode = |part: Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encode(header), encode(Value::Object(claims)));
    let signature = key.sign(&signed).ok_or(CreateError::Sign)?;
    let token = format!("{signed}.{signature}");
    let fits = grants.len() <= MAX_GRANTS && token.len() <= MAX_TOKEN_BYTES;
    if fits { Ok(token) } else { Err(CreateError::TooLarge) }
}
