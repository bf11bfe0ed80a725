//! The configuration as TOML with the documentation of each key, for `dormouse config`.

use std::fmt::Write as _;

use confique::Config as _;
use confique::meta::{Field, FieldKind, LeafKind, Meta};
use toml::{Table, Value};

use super::Config;

impl Config {
    /// This configuration as a TOML file that gives the same one when it is read, with every key's documentation,
    /// default and environment variable. Fails where `data` is not UTF-8.
    pub fn to_documented_toml(&self) -> Result<String, toml::ser::Error> {
        let mut out = String::new();
        comment(&mut out, Self::META.doc);
        print(&mut out, &Self::META, &Table::try_from(self)?, "");
        Ok(out)
    }
}

/// First the keys of a table, then the tables inside it, as TOML demands.
fn print(out: &mut String, meta: &Meta, values: &Table, path: &str) {
    for field in meta.fields {
        if let (FieldKind::Leaf { env, kind }, Some(value)) = (field.kind, values.get(field.name)) {
            print_leaf(out, field, env, kind, value);
        }
    }
    for field in meta.fields {
        if let (FieldKind::Nested { meta }, Some(Value::Table(values))) =
            (field.kind, values.get(field.name))
        {
            let path = if path.is_empty() {
                field.name.to_owned()
            } else {
                format!("{path}.{}", field.name)
            };
            if meta.fields.iter().any(|field| matches!(field.kind, FieldKind::Leaf { .. })) {
                out.push('\n');
                comment(out, meta.doc);
                line(out, &format!("[{path}]"));
            }
            print(out, meta, values, &path);
        }
    }
}

fn print_leaf(out: &mut String, field: &Field, env: Option<&str>, kind: LeafKind, value: &Value) {
    out.push('\n');
    comment(out, field.doc);
    if let LeafKind::Required { default: Some(default) } = kind
        && let Ok(default) = Value::try_from(default)
    {
        line(out, &format!("# Default: {default}"));
    }
    if let Some(env) = env {
        line(out, &format!("# Environment: {env}"));
    }
    line(out, &format!("{} = {value}", field.name));
}

/// A doc comment's lines begin with the space that stood after its slashes.
fn comment(out: &mut String, doc: &[&str]) {
    for text in doc {
        line(out, &format!("#{text}"));
    }
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("a String takes any text");
}
