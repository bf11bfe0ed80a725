//! The keys of `[auth]`: which tokens are accepted, and what they give.
//!
//! The doc comments are also what `dormouse config` prints.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::list;
use crate::auth::{
    Endpoint, Grant, KeySetting, MAX_GRANTS, NotAnEndpoint, Rules, Settings, own_key_file,
};

/// Tokens of clients (JWT): how they are checked, and what they allow. In environment variables, `;` stands between the entries of
/// `keys`, `roles` and `anonymous`.
#[derive(Debug, Clone, PartialEq, Serialize, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)), validate = Self::check)]
pub struct Auth {
    /// Keys that sign tokens, `ID: ALGORITHM SOURCE` each, such as `main: HS256 file:/etc/dormouse/main.key` or
    /// `shop: ES256 env:SHOP_PUBLIC_KEY`. Of HS256, HS384 and HS512 the source holds the secret, of RS256, RS384, RS512, PS256, PS384,
    /// PS512, ES256, ES384 and EdDSA the public key in PEM. A token names its key in `kid`. The server reads files again when they
    /// change. `dormouse key create` makes a key in `data`, `auth.key`, that is used besides these.
    #[config(env = "DORMOUSE_AUTH_KEYS", default = [], deserialize_with = list::by_semicolon)]
    pub keys: Vec<KeySetting>,

    /// The URL of a set of keys (JWKS), with https, or of the loopback interface. Empty for none. Needs `audience`. The set is fetched
    /// at start, when its lifetime (`Cache-Control`, between 1min and 1day) ends, and at most every 30s when a token names an unknown
    /// key. While it cannot be fetched, the keys serve for a day longer.
    #[config(env = "DORMOUSE_AUTH_JWKS", default = "", validate = endpoint)]
    pub jwks: String,

    /// An issuer of OpenID Connect, such as `https://login.example`: its discovery document says where its keys are, and they sign only
    /// tokens whose `iss` is this text. Empty for none. Needs `audience`.
    #[config(env = "DORMOUSE_AUTH_OIDC", default = "", validate = endpoint)]
    pub oidc: String,

    /// Issuers (`iss`) whose tokens the keys of `keys` and `jwks` may sign. Empty for any, also for none.
    #[config(env = "DORMOUSE_AUTH_ISSUER", default = [], deserialize_with = list::deserialize)]
    pub issuer: Vec<String>,

    /// Names of this server: a token must have one of them in `aud`. If this is empty, tokens must not have `aud`.
    #[config(env = "DORMOUSE_AUTH_AUDIENCE", default = [], deserialize_with = list::deserialize)]
    pub audience: Vec<String>,

    /// The claim with the grants: a list of at most 100 texts `PATTERN: VERB, VERB…`. A name with dots leads into objects where there is
    /// no claim of the whole name.
    #[config(env = "DORMOUSE_AUTH_GRANTS_CLAIM", default = "grants", validate = claim)]
    pub grants_claim: String,

    /// The claim with the names of roles: a list of texts, or one text. For example `realm_access.roles`.
    #[config(env = "DORMOUSE_AUTH_ROLES_CLAIM", default = "roles", validate = claim)]
    pub roles_claim: String,

    /// The grants of each role, as in `{ editor = ["doc/{claim.team}-*: join, publish"] }`. In the environment variable,
    /// `editor = doc/*: join; editor = room/*: join`. A token may name roles that are not here.
    #[config(env = "DORMOUSE_AUTH_ROLES", default = {}, deserialize_with = roles)]
    pub roles: BTreeMap<String, Vec<Grant>>,

    /// The grants of clients without a token, such as `room/public-*: join`.
    #[config(env = "DORMOUSE_AUTH_ANONYMOUS", default = [], deserialize_with = list::by_semicolon)]
    pub anonymous: Vec<Grant>,

    /// The grants of clients that have a certificate of an authority in `tls.client_ca` and send no token, such as `room/of-{user}: join`.
    /// The user is the common name of the certificate.
    #[config(env = "DORMOUSE_AUTH_CERTIFICATES", default = [], deserialize_with = list::by_semicolon)]
    pub certificates: Vec<Grant>,

    /// How far the clocks of issuers may differ from this server's, for `exp` and `nbf`: at most 5min.
    #[config(
        env = "DORMOUSE_AUTH_LEEWAY",
        default = "30s",
        deserialize_with = humantime_serde::deserialize,
        validate(*leeway <= Duration::from_mins(5), "must be at most 5min")
    )]
    #[serde(serialize_with = "humantime_serde::serialize")]
    pub leeway: Duration,

    /// The time between `token_expiring` and the expiry of a token, in which the client can send a new one: at most 1h. It is at most 1/4 of
    /// the time that the token was still valid when the client sent it.
    #[config(
        env = "DORMOUSE_AUTH_EXPIRY_NOTICE",
        default = "1m",
        deserialize_with = humantime_serde::deserialize,
        validate(*expiry_notice <= Duration::from_hours(1), "must be at most 1h")
    )]
    #[serde(serialize_with = "humantime_serde::serialize")]
    pub expiry_notice: Duration,

    /// The cookie that carries the token. The server believes it from its own pages, and from pages whose origin `allowed_origins` names; `*`
    /// does not count. Empty for none.
    #[config(env = "DORMOUSE_AUTH_COOKIE", default = "", validate = cookie)]
    pub cookie: String,
}

impl Auth {
    /// What the checks of tokens need to know.
    pub fn settings(&self, data: &Path) -> Settings {
        // Empty texts are no URLs; others were checked when they were read.
        let endpoint = |text: &String| text.parse::<Endpoint>().ok();
        Settings {
            keys: self.keys.clone(),
            own_key: own_key_file(data),
            jwks: endpoint(&self.jwks),
            oidc: endpoint(&self.oidc),
            data: data.to_owned(),
            rules: Rules {
                issuer: self.issuer.clone(),
                audience: self.audience.clone(),
                grants_claim: self.grants_claim.clone(),
                roles_claim: self.roles_claim.clone(),
                roles: self.roles.clone(),
                anonymous: self.anonymous.clone(),
                certificates: self.certificates.clone(),
                leeway: self.leeway,
            },
        }
    }

    /// An issuer signs tokens for many services with the same keys: without an audience, a token of any of them would be good here.
    fn check(&self) -> Result<(), String> {
        for (key, value) in [("jwks", &self.jwks), ("oidc", &self.oidc)] {
            if !value.is_empty() && self.audience.is_empty() {
                return Err(format!(
                    "auth.{key} needs auth.audience: the issuer's keys sign tokens for other services too"
                ));
            }
        }
        let single = [("anonymous", &self.anonymous), ("certificates", &self.certificates)];
        let single = single.map(|(key, grants)| (key.to_owned(), grants));
        let lists = self.roles.iter().map(|(role, grants)| (format!("roles.{role}"), grants));
        for (key, grants) in lists.chain(single) {
            if grants.len() > MAX_GRANTS {
                return Err(format!("auth.{key} must have at most {MAX_GRANTS} grants"));
            }
        }
        Ok(())
    }
}

#[expect(clippy::ptr_arg, reason = "the form of a validator")]
fn endpoint(text: &String) -> Result<(), NotAnEndpoint> {
    if text.is_empty() { Ok(()) } else { text.parse::<Endpoint>().map(drop) }
}

/// The name of a cookie is a token of RFC 9110, section 5.6.2 (RFC 6265, section 4.1.1).
#[expect(clippy::ptr_arg, reason = "the form of a validator")]
fn cookie(name: &String) -> Result<(), &'static str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.chars().all(is_name) { Ok(()) } else { Err("must be a name of a cookie") }
}

#[expect(clippy::ptr_arg, reason = "the form of a validator")]
fn claim(name: &String) -> Result<(), &'static str> {
    if name.is_empty() { Err("must not be empty") } else { Ok(()) }
}

/// A table of lists, or in an environment variable `ROLE = GRANT; ROLE = GRANT`.
fn roles<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Vec<Grant>>, D::Error> {
    struct Roles;

    impl<'de> Visitor<'de> for Roles {
        type Value = BTreeMap<String, Vec<Grant>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table of lists of grants")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            let mut roles = Self::Value::new();
            for entry in text.split(';') {
                let (role, grant) = entry.split_once('=').ok_or_else(|| {
                    E::custom(format_args!("`{entry}`: must be `ROLE = PATTERN: VERB, VERB…`"))
                })?;
                roles.entry(role.trim().into()).or_default().push(list::parse(grant.trim())?);
            }
            Ok(roles)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut roles = Self::Value::new();
            while let Some((role, texts)) = entries.next_entry::<String, Vec<String>>()? {
                let grants = texts.iter().map(|text| list::parse(text));
                roles.insert(role, grants.collect::<Result<_, _>>()?);
            }
            Ok(roles)
        }
    }

    from.deserialize_any(Roles)
}
