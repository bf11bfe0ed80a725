//! What holds for any bytes that a token or a configuration gives as a grant or a token: the fuzz targets `grants` and `tokens`.

use std::slice;

use dormouse_protocol::ObjectName;

use super::grant::{Grant, decide};
use super::subject::Subject;
use super::token::Parts;
use super::verb::Verb;

/// Takes a grant and the name of an object, separated by a line break. A grant that can be read is printed and read as the same, and
/// without stars and placeholders it matches its own name only.
pub fn grants(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (grant, object) = text.split_once('\n').unwrap_or((text, "room/a"));
    let Ok(grant) = grant.parse::<Grant>() else { return };
    let printed = grant.to_string();
    assert_eq!(printed.parse::<Grant>().as_ref(), Ok(&grant));
    let Ok(object) = object.parse::<ObjectName>() else { return };
    let (pattern, verbs) = printed.rsplit_once(": ").expect("a grant has verbs");
    for verb in Verb::ALL {
        let is_allowed = decide(slice::from_ref(&grant), &Subject::default(), verb, &object);
        let has_verb = verbs.split(", ").any(|name| name == verb.as_str());
        assert!(has_verb || !is_allowed);
        if !pattern.contains(['*', '{']) {
            assert_eq!(is_allowed, has_verb && pattern == object.as_str());
        }
    }
}

/// Takes a token apart. Whatever comes out has stood in it.
pub fn tokens(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(parts) = Parts::split(text) {
        assert!(text.starts_with(parts.signed) && text.ends_with(parts.signature));
        let _ = parts.claims();
    }
}
