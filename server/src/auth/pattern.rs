//! A pattern over names of objects: `class/name` with `*`, `{user}` and `{claim.…}` in both parts.
//!
//! Each part is matched alone, so nothing in a pattern or a claim reaches across the slash. The value of a claim is literal text.

use std::fmt;
use std::str::FromStr;

use dormouse_protocol::ObjectName;

use super::subject::Subject;

/// Bytes of one pattern. A name has at most 161, and a claim's name stands for its value.
const MAX_BYTES: usize = 256;

/// `class/name`, such as `room/team-*` or `doc/{user}.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    class: Vec<Piece>,
    name: Vec<Piece>,
}

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    /// `*`: any text of this part, also none.
    Any,
    /// `{user}`.
    User,
    /// `{claim.…}`, by the claim's name.
    Claim(Box<str>),
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It has too many bytes.
    #[error("a pattern must have at most 256 bytes")]
    TooLong,
    /// It does not have two parts.
    #[error("a pattern must be `class/name`, with one slash and both parts, as in room/team-*")]
    Parts,
    /// It has a character that no name has, so it could never match.
    #[error(
        "a pattern must consist of a-z 0-9 _ - before the slash, A-Z a-z 0-9 - _ . : ~ @ behind it, `*`, `{{user}}` and `{{claim.NAME}}`"
    )]
    Character,
    /// What stands in braces is not known.
    #[error("what stands in braces must be `{{user}}` or `{{claim.NAME}}`")]
    Placeholder,
}

impl Pattern {
    /// Whether the name of an object matches. A placeholder without a value matches nothing.
    pub(super) fn matches(&self, object: &ObjectName, subject: &Subject) -> bool {
        let Some((class, name)) = object.as_str().split_once('/') else { return false };
        part_matches(&self.class, class, subject) && part_matches(&self.name, name, subject)
    }

    /// The names of the claims whose values it needs.
    pub(super) fn claims(&self) -> impl Iterator<Item = &str> {
        self.class.iter().chain(&self.name).filter_map(|piece| match piece {
            Piece::Claim(name) => Some(&**name),
            Piece::Text(_) | Piece::Any | Piece::User => None,
        })
    }
}

/// Takes each text between two `*` at its first place: if a later place matches, the first does too. So no text is looked at twice
/// for the same pieces, and the time is linear.
fn part_matches(pieces: &[Piece], mut rest: &str, subject: &Subject) -> bool {
    let mut texts = Vec::new();
    for run in pieces.split(|piece| *piece == Piece::Any) {
        let mut text = String::new();
        for piece in run {
            let Some(value) = value(piece, subject) else { return false };
            text.push_str(value);
        }
        texts.push(text);
    }
    let Some((last, texts)) = texts.split_last() else { return false };
    let Some((first, middle)) = texts.split_first() else { return rest == last };
    let Some(behind) = rest.strip_prefix(&**first) else { return false };
    rest = behind;
    for text in middle {
        let Some(at) = rest.find(&**text) else { return false };
        rest = &rest[at + text.len()..];
    }
    rest.ends_with(&**last)
}

fn value<'a>(piece: &'a Piece, subject: &'a Subject) -> Option<&'a str> {
    match piece {
        Piece::Text(text) => Some(text),
        Piece::Any => None,
        Piece::User => subject.user(),
        Piece::Claim(name) => subject.value(name),
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_BYTES {
            return Err(PatternError::TooLong);
        }
        // A claim's name may have slashes: many issuers use URLs as names.
        let mut depth = 0;
        let slash = text.find(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == '/' && depth == 0
        });
        let slash = slash.ok_or(PatternError::Parts)?;
        let in_class = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b);
        let in_name = |b: u8| b.is_ascii_alphanumeric() || b"-_.:~@".contains(&b);
        Ok(Self {
            class: parse_part(&text[..slash], in_class)?,
            name: parse_part(&text[slash + 1..], in_name)?,
        })
    }
}

fn parse_part(text: &str, is_literal: impl Fn(u8) -> bool) -> Result<Vec<Piece>, PatternError> {
    if text.is_empty() {
        return Err(PatternError::Parts);
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '{' {
            let (inside, behind) = rest[1..].split_once('}').ok_or(PatternError::Placeholder)?;
            pieces.push(placeholder(inside)?);
            rest = behind;
        } else if first == '*' {
            pieces.push(Piece::Any);
            rest = &rest[1..];
        } else {
            let end = rest.find(['{', '*']).unwrap_or(rest.len());
            let (literal, behind) = rest.split_at(end);
            if !literal.bytes().all(&is_literal) {
                let is_slash = literal.contains('/');
                return Err(if is_slash { PatternError::Parts } else { PatternError::Character });
            }
            pieces.push(Piece::Text(literal.into()));
            rest = behind;
        }
    }
    Ok(pieces)
}

fn placeholder(inside: &str) -> Result<Piece, PatternError> {
    if inside == "user" {
        return Ok(Piece::User);
    }
    let name = inside.strip_prefix("claim.").ok_or(PatternError::Placeholder)?;
    let is_name = !name.is_empty() && !name.contains(|c: char| c == '{' || c.is_whitespace());
    if is_name { Ok(Piece::Claim(name.into())) } else { Err(PatternError::Placeholder) }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, &self.class)?;
        f.write_str("/")?;
        print(f, &self.name)
    }
}

fn print(f: &mut fmt::Formatter<'_>, pieces: &[Piece]) -> fmt::Result {
    pieces.iter().try_for_each(|piece| match piece {
        Piece::Text(text) => f.write_str(text),
        Piece::Any => f.write_str("*"),
        Piece::User => f.write_str("{user}"),
        Piece::Claim(name) => write!(f, "{{claim.{name}}}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_read_and_printed() {
        for text in [
            "room/lobby",
            "room/*",
            "*/*",
            "room/team-*-x*",
            "doc/{user}.*",
            "{claim.kind}/{claim.https://example.com/team}",
            "room/{claim.realm.team}-{user}",
        ] {
            assert_eq!(text.parse::<Pattern>().unwrap().to_string(), text);
        }
        for (text, why) in [
            ("", PatternError::Parts),
            ("*", PatternError::Parts),
            ("room", PatternError::Parts),
            ("room/", PatternError::Parts),
            ("/x", PatternError::Parts),
            ("room/a/b", PatternError::Parts),
            ("Room/a", PatternError::Character),
            ("room/a b", PatternError::Character),
            ("room/ä", PatternError::Character),
            ("room/}", PatternError::Character),
            ("room/{user", PatternError::Placeholder),
            ("room/{}", PatternError::Placeholder),
            ("room/{claim.}", PatternError::Placeholder),
            ("room/{name}", PatternError::Placeholder),
        ] {
            assert_eq!(text.parse::<Pattern>(), Err(why), "{text:?}");
        }
        let long = format!("room/{}", "a".repeat(MAX_BYTES - 5));
        assert!(long.parse::<Pattern>().is_ok());
        assert_eq!(format!("{long}a").parse::<Pattern>(), Err(PatternError::TooLong));
    }
}
