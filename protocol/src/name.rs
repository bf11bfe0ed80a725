//! Names with a bounded length and alphabet: objects, kinds of events, keys.
//!
//! Every value of these types is valid: the only way to make one is to parse it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Why a text is not a valid name; the message tells the client what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {rule}")]
pub struct InvalidText {
    what: &'static str,
    rule: &'static str,
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.:~@".contains(&byte)
}

/// The name of an object: `class/name`.
///
/// A class is 1–32 of `a-z 0-9 _ -`, a name 1–128 of `A-Z a-z 0-9 - _ . : ~ @`, but not only dots: browsers take such a segment of
/// a path for a direction. Copies share their text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName(Arc<str>);

impl ObjectName {
    /// The class: what stands before the slash.
    pub fn class(&self) -> &str {
        self.0.split_once('/').map_or("", |(class, _)| class)
    }

    /// The whole name, `class/name`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let (class, name) = text.split_once('/')?;
        let class_byte =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        let valid = (1..=32).contains(&class.len())
            && class.bytes().all(class_byte)
            && (1..=128).contains(&name.len())
            && name.bytes().all(is_word)
            && name.bytes().any(|byte| byte != b'.');
        valid.then(|| Self(text.into()))
    }
}

/// The kind of an event, chosen by the application: 1–32 of `A-Z a-z 0-9 - _ . : ~ @`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kind(Box<str>);

impl Kind {
    fn parse(text: &str) -> Option<Self> {
        let valid = (1..=32).contains(&text.len()) && text.bytes().all(is_word);
        valid.then(|| Self(text.into()))
    }
}

impl Default for Kind {
    /// `message`: what a publish without a kind is.
    fn default() -> Self {
        Self("message".into())
    }
}

/// A key chosen by a client: for a publish what makes it stored once, for a signal what the newest replaces.
///
/// 1–64 bytes of UTF-8 without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(Box<str>);

impl Key {
    fn parse(text: &str) -> Option<Self> {
        let valid = (1..=64).contains(&text.len()) && !text.chars().any(char::is_control);
        valid.then(|| Self(text.into()))
    }
}

macro_rules! text_type {
    ($type:ty, $what:literal, $rule:literal) => {
        impl std::str::FromStr for $type {
            type Err = InvalidText;

            fn from_str(text: &str) -> Result<Self, InvalidText> {
                Self::parse(text).ok_or(InvalidText { what: $what, rule: $rule })
            }
        }

        impl std::ops::Deref for $type {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!($what, ": ", $rule))
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}

text_type!(
    ObjectName,
    "an object's name",
    "`class/name` with a class of 1-32 of a-z 0-9 _ - and a name of 1-128 of A-Z a-z 0-9 - _ . : ~ @"
);
text_type!(Kind, "a kind", "1-32 of A-Z a-z 0-9 - _ . : ~ @");
text_type!(Key, "a key", "1-64 bytes of text without control characters");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_their_alphabet_and_length() {
        for good in ["room/lobby", "room/a.b:c~d@E-9_", "a-1_b/x"] {
            assert_eq!(good.parse::<ObjectName>().unwrap().as_str(), good);
        }
        let long = format!("room/{}", "x".repeat(129));
        for bad in ["", "room", "room/", "/x", "Room/x", "room/a/b", "room/ä", "room/a b", &long] {
            assert!(bad.parse::<ObjectName>().is_err(), "{bad}");
        }
        for dots in ["room/.", "room/..", "room/..."] {
            assert!(dots.parse::<ObjectName>().is_err(), "{dots}");
        }
        assert!("room/..a".parse::<ObjectName>().is_ok());
        assert_eq!("room/lobby".parse::<ObjectName>().unwrap().class(), "room");
    }

    #[test]
    fn keys_and_kinds_keep_to_their_bounds() {
        assert!("ключ 1".parse::<Key>().is_ok());
        assert!("a\nb".parse::<Key>().is_err());
        assert!("x".repeat(65).parse::<Key>().is_err());
        assert!("chat.message".parse::<Kind>().is_ok());
        assert!("".parse::<Kind>().is_err());
        assert!("x y".parse::<Kind>().is_err());
    }
}
