//! What a valid token gives: a user, its grants and how long they last.

use std::sync::Arc;

use dormouse_protocol::ObjectName;
use serde_json::{Map, Value};

use super::api_keys::ApiKey;
use super::certificate::ClientCertificate;
use super::grant::{self, Grant};
use super::refusal::Refusal;
use super::rules::Rules;
use super::subject::{Subject, lookup};
use super::verb::{Verb, Verbs};
use crate::session::UserName;

/// Bytes of a user's name.
pub(super) const MAX_USER_BYTES: usize = 128;

/// Bytes of a token's id (`jti`).
pub(super) const MAX_ID_BYTES: usize = 128;

/// Roles that a token may name.
const MAX_ROLES: usize = 100;

/// What a client may do, and until when.
#[derive(Debug, PartialEq, Eq)]
pub struct Access {
    /// Who it is.
    pub subject: Subject,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// The token's id (`jti`), if it has one.
    pub id: Option<Box<str>>,
    /// The API key that was presented instead of a token.
    pub(super) api_key: Option<Arc<ApiKey>>,
    /// When the token was issued (`iat`), in seconds since the Unix epoch, if it says so.
    pub issued: Option<u64>,
    /// When this ends, in seconds since the Unix epoch, without the leeway; without a token it does not end.
    pub expires: Option<u64>,
}

impl Access {
    /// What a client without a token may do.
    pub fn anonymous(grants: &[Grant]) -> Self {
        Self {
            subject: Subject::default(),
            grants: grants.to_vec(),
            id: None,
            api_key: None,
            issued: None,
            expires: None,
        }
    }

    /// What a back end has by its API key.
    pub(super) fn of_api_key(key: Arc<ApiKey>) -> Self {
        let access = Self::anonymous(key.grants());
        Self { api_key: Some(key), ..access }
    }

    /// What a client has by its certificate.
    pub(super) fn of_certificate(
        certificate: &ClientCertificate,
        grants: &[Grant],
    ) -> Result<Self, Refusal> {
        let user = &certificate.common_name;
        if !is_user(user) {
            return Err(Refusal::CommonName);
        }
        Ok(Self {
            subject: Subject::new(user.as_str().into(), &Map::new(), std::iter::empty()),
            grants: grants.to_vec(),
            id: None,
            api_key: None,
            issued: None,
            expires: Some(certificate.expires),
        })
    }

    /// What claims give whose signature was checked.
    pub(super) fn from_claims(
        claims: &Map<String, Value>,
        rules: &Rules,
        issuer: Option<&str>,
        now: u64,
    ) -> Result<Self, Refusal> {
        let expires = check_times(claims, rules.leeway.as_secs(), now)?;
        check_issuer(claims, rules, issuer)?;
        check_audience(claims, rules)?;
        let user = user(claims)?;
        let grants = grants(claims, rules)?;
        let names = grants.iter().flat_map(Grant::claims);
        let subject = Subject::new(user, claims, names);
        Ok(Self {
            subject,
            grants,
            id: id(claims)?,
            api_key: None,
            issued: claims.get("iat").and_then(seconds),
            expires: Some(expires),
        })
    }

    /// The name of the API key that was presented, if it was one.
    pub fn api_key_name(&self) -> Option<&str> {
        self.api_key.as_deref().map(ApiKey::name)
    }

    /// What it allows with an object.
    pub fn verbs(&self, object: &ObjectName) -> Verbs {
        let mut verbs = Verbs::default();
        for verb in Verb::ALL {
            if grant::decide(&self.grants, &self.subject, verb, object) {
                verbs.insert(verb);
            }
        }
        verbs
    }

    /// Whether it has ended.
    pub(super) fn has_expired(&self, leeway: u64, now: u64) -> bool {
        self.expires.is_some_and(|expires| now >= expires.saturating_add(leeway))
    }
}

fn check_times(claims: &Map<String, Value>, leeway: u64, now: u64) -> Result<u64, Refusal> {
    let expires = claims.get("exp").and_then(seconds).ok_or(Refusal::NoExpiry)?;
    if now >= expires.saturating_add(leeway) {
        return Err(Refusal::Expired);
    }
    if let Some(value) = claims.get("nbf") {
        let not_before = seconds(value).ok_or(Refusal::NotBefore)?;
        if now.saturating_add(leeway) < not_before {
            return Err(Refusal::NotYetValid);
        }
    }
    Ok(expires)
}

/// A time of RFC 7519 may have a fraction, which is left out.
fn seconds(value: &Value) -> Option<u64> {
    let is_time = |seconds: &f64| (0.0..9e15).contains(seconds);
    #[expect(clippy::cast_sign_loss, reason = "the range is checked")]
    value.as_u64().or_else(|| value.as_f64().filter(is_time).map(|seconds| seconds as u64))
}

/// A key of an issuer is good for its tokens only; other keys for the issuers of the configuration.
fn check_issuer(
    claims: &Map<String, Value>,
    rules: &Rules,
    issuer: Option<&str>,
) -> Result<(), Refusal> {
    let named = claims.get("iss").and_then(Value::as_str);
    let is_accepted = match issuer {
        Some(issuer) => named == Some(issuer),
        None if rules.issuer.is_empty() => true,
        None => named.is_some_and(|named| rules.issuer.iter().any(|issuer| issuer == named)),
    };
    if is_accepted { Ok(()) } else { Err(Refusal::Issuer) }
}

/// A token with an audience is for its audience only, also where the configuration names none.
fn check_audience(claims: &Map<String, Value>, rules: &Rules) -> Result<(), Refusal> {
    let is_own = |value: &Value| {
        value.as_str().is_some_and(|named| rules.audience.iter().any(|own| own == named))
    };
    let is_accepted = match claims.get("aud") {
        None => rules.audience.is_empty(),
        Some(Value::Array(named)) => named.iter().any(is_own),
        Some(named) => is_own(named),
    };
    if is_accepted { Ok(()) } else { Err(Refusal::Audience) }
}

fn user(claims: &Map<String, Value>) -> Result<UserName, Refusal> {
    let user = claims.get("sub").and_then(Value::as_str).ok_or(Refusal::Subject)?;
    if is_user(user) { Ok(user.into()) } else { Err(Refusal::Subject) }
}

fn is_user(name: &str) -> bool {
    (1..=MAX_USER_BYTES).contains(&name.len()) && !name.contains(char::is_control)
}

/// The token's id. An id that is too long is an error: the server could not revoke the token by it.
fn id(claims: &Map<String, Value>) -> Result<Option<Box<str>>, Refusal> {
    match claims.get("jti") {
        None => Ok(None),
        Some(Value::String(id)) if (1..=MAX_ID_BYTES).contains(&id.len()) => {
            Ok(Some(id.as_str().into()))
        }
        Some(_) => Err(Refusal::Id),
    }
}

/// Its own, then those of its roles. Roles that the configuration does not know are for other services.
fn grants(claims: &Map<String, Value>, rules: &Rules) -> Result<Vec<Grant>, Refusal> {
    let own = texts(claims, &rules.grants_claim).ok_or(Refusal::Grants)?;
    let mut grants = grant::parse_all(own.into_iter()).map_err(|_| Refusal::Grants)?;
    let named = texts(claims, &rules.roles_claim).ok_or(Refusal::Roles)?;
    if named.len() > MAX_ROLES {
        return Err(Refusal::Roles);
    }
    let known = rules.roles.iter().filter(|(role, _)| named.contains(&role.as_str()));
    grants.extend(known.flat_map(|(_, grants)| grants).cloned());
    Ok(grants)
}

/// A claim that is a text or a list of texts; a missing one is an empty list.
fn texts<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<Vec<&'a str>> {
    match lookup(claims, name) {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::String(text)) => Some(vec![text]),
        Some(Value::Array(values)) => values.iter().map(Value::as_str).collect(),
        Some(_) => None,
    }
}
