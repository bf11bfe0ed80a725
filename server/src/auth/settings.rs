//! Where keys come from, as the configuration writes it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use jsonwebtoken::Algorithm;
use serde::{Serialize, Serializer};

use super::rules::Rules;

/// All that [`Auth`](super::Auth) needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Keys in files and variables.
    pub keys: Vec<KeySetting>,
    /// The file that `dormouse key create` makes; it need not be there.
    pub own_key: PathBuf,
    /// A set of keys at a URL.
    pub jwks: Option<Endpoint>,
    /// An issuer of OpenID Connect, whose keys are found by discovery.
    pub oidc: Option<Endpoint>,
    /// The directory with the list of revocations.
    pub data: PathBuf,
    /// The rules for claims.
    pub rules: Rules,
}

/// `ID: ALGORITHM SOURCE`, such as `2026-11: HS256 file:/etc/dormouse/2026-11.key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySetting {
    pub(super) id: String,
    pub(super) algorithm: Algorithm,
    pub(super) source: KeySource,
}

/// Where the bytes of a key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeySource {
    File(PathBuf),
    /// The name of an environment variable.
    Variable(String),
}

/// The text is no key setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be `ID: ALGORITHM file:PATH` or `ID: ALGORITHM env:NAME`, as in `main: HS256 file:/etc/dormouse/main.key`, with one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA"
)]
pub struct NotAKeySetting;

impl KeySetting {
    /// Whether it may be another key later, while this process runs.
    pub(super) fn can_change(&self) -> bool {
        matches!(self.source, KeySource::File(_))
    }
}

impl FromStr for KeySetting {
    type Err = NotAKeySetting;

    fn from_str(text: &str) -> Result<Self, NotAKeySetting> {
        let (id, rest) = text.split_once(':').ok_or(NotAKeySetting)?;
        let (algorithm, source) = rest.trim().split_once(' ').ok_or(NotAKeySetting)?;
        let is_id = (1..=64).contains(&id.len()) && !id.contains(char::is_whitespace);
        let (kind, place) = source.trim().split_once(':').ok_or(NotAKeySetting)?;
        let source = match kind {
            "file" if !place.is_empty() => KeySource::File(place.into()),
            "env" if !place.is_empty() => KeySource::Variable(place.into()),
            _ => return Err(NotAKeySetting),
        };
        let algorithm = algorithm.parse().map_err(|_| NotAKeySetting)?;
        if is_id { Ok(Self { id: id.into(), algorithm, source }) } else { Err(NotAKeySetting) }
    }
}

impl fmt::Display for KeySetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, algorithm, source } = self;
        match source {
            KeySource::File(path) => write!(f, "{id}: {algorithm:?} file:{}", path.display()),
            KeySource::Variable(name) => write!(f, "{id}: {algorithm:?} env:{name}"),
        }
    }
}

impl Serialize for KeySetting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A URL that keys may be fetched from: `https`, or `http` of the loopback interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(String);

/// The URL is none that keys may be fetched from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a URL with https, or with http of localhost or a loopback address")]
pub struct NotAnEndpoint;

impl Endpoint {
    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is of this machine.
    pub(super) fn is_loopback(&self) -> bool {
        host(&self.0).is_some_and(is_loopback)
    }
}

impl FromStr for Endpoint {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Self, NotAnEndpoint> {
        let host = host(text).ok_or(NotAnEndpoint)?;
        let is_fit = text.len() <= 2048
            && !text.contains(|c: char| c.is_whitespace() || c.is_control())
            && (text.starts_with("https://") || is_loopback(host));
        if is_fit { Ok(Self(text.into())) } else { Err(NotAnEndpoint) }
    }
}

/// The host of a URL without a user, and without the port.
fn host(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let host = match authority.strip_prefix('[') {
        Some(inside) => inside.split_once(']')?.0,
        None => authority.split(':').next()?,
    };
    (!host.is_empty() && !authority.contains('@')).then_some(host)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_setting_is_read_and_printed() {
        for text in ["main: HS256 file:/etc/a b.key", "x: EdDSA env:KEY", "2026-11: PS512 file:k"] {
            assert_eq!(text.parse::<KeySetting>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "main",
            "main: HS256",
            "main: none file:k",
            "main: hs256 file:k",
            "main: HS256 file:",
            "main: HS256 /k",
            ": HS256 file:k",
            "a b: HS256 file:k",
        ] {
            assert_eq!(text.parse::<KeySetting>(), Err(NotAKeySetting), "{text:?}");
        }
    }

    #[test]
    fn keys_come_by_https_or_from_this_machine() {
        for text in [
            "https://login.example/jwks",
            "https://login.example:8443",
            "http://localhost:1/x",
            "http://127.0.0.1:80/",
            "http://[::1]:1",
        ] {
            assert!(text.parse::<Endpoint>().is_ok(), "{text}");
        }
        for text in [
            "",
            "https://",
            "login.example",
            "file:///etc/passwd",
            "http://login.example/jwks",
            "http://localhost@evil.example/",
            "http://localhost.evil.example/",
            "http://127.0.0.1.evil.example/",
            "http://[::2]/",
            "http://evil.example\\@localhost/",
            "https://a b/",
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(NotAnEndpoint), "{text}");
        }
    }
}
