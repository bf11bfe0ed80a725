//! The configuration: from flags, environment, file and defaults, in this order of precedence.
//!
//! A key that nobody reads would be a wish not granted, so unknown keys and unknown `DORMOUSE_…` variables are
//! errors. This module knows what the keys mean only as far as their bounds go.

mod auth;
mod keys;
mod limits;
mod list;
mod listen;
mod print;
mod rates;
mod size;
mod tls;
mod validators;

use std::env;
use std::path::Path;

use confique::meta::{FieldKind, Meta};
use confique::{Config as _, File, FileFormat, Layer as _};

pub use auth::Auth;
pub use keys::{Class, Classes, Config, Liveness, Log, Objects, Presence, Retention};
pub use limits::Limits;
pub use listen::{ListenAddress, OperatorsAddress};
pub use rates::Rates;
pub use tls::Tls;

/// Some of the keys, from one source.
pub type Layer = <Config as confique::Config>::Layer;

const ENV_PREFIX: &str = "DORMOUSE_";

/// The configuration can't be used; the message names the key and where it came from.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A source can't be read, holds an unknown key, or a value out of bounds.
    #[error(transparent)]
    Invalid(#[from] confique::Error),
    /// An environment variable looks like a key and is none.
    #[error(
        "unknown environment variable `{0}`: no configuration key has this name; `dormouse config` lists them all"
    )]
    UnknownVariable(String),
    /// An environment variable is there and says nothing.
    #[error("the environment variable `{0}` is empty: give it a value, or unset it")]
    EmptyVariable(String),
}

impl Config {
    /// Reads the configuration from the flags of the command line, this process's environment, a TOML file that
    /// must exist where one is named, and the defaults.
    pub fn load(flags: Layer, file: Option<&Path>) -> Result<Self, Error> {
        refuse_odd_variables()?;
        let file = match file {
            Some(path) => File::with_format(path, FileFormat::Toml).required().load()?,
            None => Layer::empty(),
        };
        let merged = flags.with_fallback(Layer::from_env()?).with_fallback(file);
        Ok(Self::from_layer(merged.with_fallback(Layer::default_values()))?)
    }
}

impl Default for Config {
    /// The defaults alone: no flags, no environment, no file.
    fn default() -> Self {
        Self::from_layer(Layer::default_values()).expect("every key has a default")
    }
}

fn refuse_odd_variables() -> Result<(), Error> {
    for (name, value) in env::vars_os() {
        let name = name.to_string_lossy();
        if !name.starts_with(ENV_PREFIX) {
            continue;
        }
        if is_service_link(&name, &value.to_string_lossy()) {
            continue;
        }
        if !has_variable(&Config::META, &name) {
            return Err(Error::UnknownVariable(name.into_owned()));
        }
        if value.is_empty() {
            return Err(Error::EmptyVariable(name.into_owned()));
        }
    }
    Ok(())
}

/// Kubernetes and Docker links describe each service of the namespace by such variables, and a service may be named `dormouse`:
/// `DORMOUSE_SERVICE_HOST`, `DORMOUSE_SERVICE_PORT_HTTP`, `DORMOUSE_PORT=tcp://10.96.1.2:7700`, `DORMOUSE_PORT_7700_TCP_ADDR`.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_port = |rest: &str| {
        let mut parts = rest.split('_');
        let is_number = parts.next().is_some_and(|port| port.parse::<u16>().is_ok());
        let is_protocol = parts.next().is_some_and(|name| ["TCP", "UDP", "SCTP"].contains(&name));
        let what = parts.next();
        let is_known = what.is_none_or(|what| ["ADDR", "PORT", "PROTO"].contains(&what));
        is_number && is_protocol && is_known && parts.next().is_none()
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.ends_with("_PORT") && value.contains("://")
        || name.match_indices("_PORT_").any(|(at, link)| is_port(&name[at + link.len()..]))
}

fn has_variable(meta: &Meta, name: &str) -> bool {
    meta.fields.iter().any(|field| match field.kind {
        FieldKind::Leaf { env, .. } => env == Some(name),
        FieldKind::Nested { meta } => has_variable(meta, name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each key's variable is its path.
    #[test]
    fn variables_are_named_after_their_keys() {
        fn check(meta: &Meta, prefix: &str) {
            for field in meta.fields {
                let name = format!("{prefix}{}", field.name.to_uppercase());
                match field.kind {
                    FieldKind::Leaf { env, .. } => assert_eq!(env, Some(&*name)),
                    FieldKind::Nested { meta } => check(meta, &format!("{name}_")),
                }
            }
        }
        check(&Config::META, ENV_PREFIX);
    }

    #[test]
    fn variables_of_services_are_told_from_mistakes() {
        for (name, value) in [
            ("DORMOUSE_SERVICE_HOST", "10.96.1.2"),
            ("DORMOUSE_SERVICE_PORT", "7700"),
            ("DORMOUSE_SERVICE_PORT_HTTP", "7700"),
            ("DORMOUSE_EU_SERVICE_HOST", "10.96.1.2"),
            ("DORMOUSE_PORT", "tcp://10.96.1.2:7700"),
            ("DORMOUSE_PORT_7700_TCP", "tcp://10.96.1.2:7700"),
            ("DORMOUSE_PORT_7700_TCP_ADDR", "10.96.1.2"),
            ("DORMOUSE_PORT_7700_TCP_PORT", "7700"),
            ("DORMOUSE_PORT_7700_TCP_PROTO", "tcp"),
        ] {
            assert!(is_service_link(name, value), "{name}");
            assert!(!has_variable(&Config::META, name), "{name}");
        }
        for (name, value) in [
            ("DORMOUSE_PORT", "7700"),
            ("DORMOUSE_LISTEN_PORT", "7700"),
            ("DORMOUSE_PORT_7700", "x"),
            ("DORMOUSE_PORT_7700_TCP_HOST", "x"),
            ("DORMOUSE_LIMITS_MEMROY", "1GiB"),
        ] {
            assert!(!is_service_link(name, value), "{name}");
        }
    }

    #[test]
    fn every_key_is_documented() {
        fn check(meta: &Meta) {
            assert!(!meta.doc.is_empty(), "{}", meta.name);
            for field in meta.fields {
                match field.kind {
                    FieldKind::Leaf { .. } => assert!(!field.doc.is_empty(), "{}", field.name),
                    FieldKind::Nested { meta } => check(meta),
                }
            }
        }
        check(&Config::META);
    }
}
