//! A list of texts: in TOML a list, in an environment variable with commas between, or semicolons where the texts may have commas.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};

pub(super) fn deserialize<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    separated(from, ',')
}

pub(super) fn by_semicolon<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    separated(from, ';')
}

fn separated<'de, D, T>(from: D, separator: char) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    struct Texts<T>(char, PhantomData<T>);

    impl<'de, T: FromStr<Err: fmt::Display>> Visitor<'de> for Texts<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of texts")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Vec<T>, E> {
            text.split(self.0).map(|item| parse(item.trim())).collect()
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element::<String>()? {
                list.push(parse(&item)?);
            }
            Ok(list)
        }
    }

    from.deserialize_any(Texts(separator, PhantomData))
}

pub(super) fn parse<T: FromStr<Err: fmt::Display>, E: Error>(item: &str) -> Result<T, E> {
    item.parse().map_err(|error| E::custom(format_args!("`{item}`: {error}")))
}
