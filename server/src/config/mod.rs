//! The configuration: from flags, environment, file and defaults, in this order of precedence.
//!
//! A key that nobody reads would be a wish not granted, so unknown keys and unknown `DORMOUSE_…` variables are
//! errors. This module knows what the keys mean only as far as their bounds go.

mod keys;
mod list;
mod print;
mod size;

use std::env;
use std::path::Path;

use confique::meta::{FieldKind, Meta};
use confique::{Config as _, File, FileFormat, Layer as _};

pub use keys::{Class, Classes, Config, Limits, Liveness, Log, Objects, Presence, Retention};

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
        if !has_variable(&Config::META, &name) {
            return Err(Error::UnknownVariable(name.into_owned()));
        }
        if value.is_empty() {
            return Err(Error::EmptyVariable(name.into_owned()));
        }
    }
    Ok(())
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

    /// Each key's variable is its path, so that nobody has to look it up.
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
