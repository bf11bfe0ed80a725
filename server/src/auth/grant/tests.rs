//! What grants allow.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn ada(claims: &serde_json::Value, grants: &[Grant]) -> Subject {
    let names = grants.iter().flat_map(Grant::claims);
    Subject::new("ada".into(), claims.as_object().unwrap(), names)
}

fn allows(grant: &str, claims: &serde_json::Value, object: &str) -> bool {
    let grants = [grant.parse().unwrap()];
    decide(&grants, &ada(claims, &grants), Verb::Join, &object.parse().unwrap())
}

#[test]
fn a_grant_is_read_and_printed() {
    let grant: Grant = " room/a:b* :publish ,join ".parse().unwrap();
    assert_eq!(grant.to_string(), "room/a:b*: join, publish");
    assert_eq!(grant.to_string().parse(), Ok(grant));
    for (text, why) in [
        ("", GrantError::Form),
        ("room/*", GrantError::Form),
        ("room/*:", GrantError::Verb(NotAVerb)),
        ("room/*: join,", GrantError::Verb(NotAVerb)),
        ("room/*: Join", GrantError::Verb(NotAVerb)),
        ("room/*: join; publish", GrantError::Verb(NotAVerb)),
        ("room: join", GrantError::Pattern(PatternError::Parts)),
    ] {
        assert_eq!(text.parse::<Grant>(), Err(why), "{text:?}");
    }
}

#[test]
fn what_no_grant_allows_is_refused() {
    let object = "room/a".parse().unwrap();
    for verb in Verb::ALL {
        assert!(!decide(&[], &Subject::default(), verb, &object));
    }
    let grants = ["room/*: join".parse().unwrap()];
    for verb in Verb::ALL {
        assert_eq!(decide(&grants, &Subject::default(), verb, &object), verb == Verb::Join);
    }
}

#[test]
fn stars_and_placeholders_match_within_their_part() {
    let claims = json!({"team": "red", "n": 7, "org": {"unit": "lab"}, "https://x.example/t": "t"});
    for (grant, object, is_allowed) in [
        ("room/*: join", "room/a", true),
        ("room/*: join", "rooms/a", false),
        ("*/a: join", "doc/a", true),
        ("*/a: join", "doc/ba", false),
        ("room/a*b*c: join", "room/abc", true),
        ("room/a*b*c: join", "room/a-b-b-c", true),
        ("room/a*b*c: join", "room/acb", false),
        ("room/aa*aa: join", "room/aaa", false),
        ("room/*a: join", "room/aba", true),
        ("room/**: join", "room/a", true),
        ("room/{user}: join", "room/ada", true),
        ("room/{user}: join", "room/ada2", false),
        ("room/{user}-*: join", "room/ada-x", true),
        ("room/{claim.team}-{user}: join", "room/red-ada", true),
        ("room/{claim.n}: join", "room/7", true),
        ("room/{claim.org.unit}: join", "room/lab", true),
        ("room/{claim.https://x.example/t}: join", "room/t", true),
        ("room/{claim.org}*: join", "room/lab", false),
        ("room/{claim.none}*: join", "room/a", false),
    ] {
        assert_eq!(allows(grant, &claims, object), is_allowed, "{grant} {object}");
    }
}

#[test]
fn the_value_of_a_claim_is_literal() {
    for value in ["*", "a/*", "*/*", "{user}", "", "a/b"] {
        let claims = json!({ "team": value });
        for grant in ["room/{claim.team}: join", "room/x{claim.team}*: join", "{claim.team}: join"]
        {
            let Ok(_) = grant.parse::<Grant>() else { continue };
            for object in ["room/a", "room/x", "room/xa", "room/ada", "a/b", "room/b"] {
                assert!(!allows(grant, &claims, object), "{value} {grant} {object}");
            }
        }
    }
}

#[test]
fn a_client_without_a_token_has_no_name() {
    let grants = ["room/{user}*: join".parse().unwrap(), "room/pub: join".parse().unwrap()];
    let nobody = Subject::default();
    assert!(!decide(&grants, &nobody, Verb::Join, &"room/ada".parse().unwrap()));
    let object = "room/pub".parse().unwrap();
    assert_eq!(deciding_grant(&grants, &nobody, Verb::Join, &object), Some(&grants[1]));
}

/// A pattern whose search goes back would need 2^60 steps here.
#[test]
fn many_stars_do_not_multiply_the_work() {
    let grant = format!("room/{}b: join", "*a".repeat(60));
    assert!(!allows(&grant, &json!({}), &format!("room/{}", "a".repeat(128))));
}

#[test]
fn one_grant_too_many_is_refused() {
    let texts = |count| std::iter::repeat_n("room/*: join", count);
    assert_eq!(parse_all(texts(MAX_GRANTS)).unwrap().len(), MAX_GRANTS);
    assert_eq!(parse_all(texts(MAX_GRANTS + 1)), Err(GrantError::TooMany));
}

/// Short words over few letters, so that they often match.
const WORD: &str = "[ab]{1,3}";

fn any_grant() -> impl Strategy<Value = Grant> {
    let part = "([ab]|\\*|\\{user\\}|\\{claim\\.t\\}){1,4}";
    (part, part, prop::sample::select(&Verb::ALL[..]))
        .prop_map(|(class, name, verb)| format!("{class}/{name}: {verb}").parse().unwrap())
}

/// Matches by trying everything.
fn slow_match(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|at| slow_match(rest, &text[at..])),
        Some((byte, rest)) => text.first() == Some(byte) && slow_match(rest, &text[1..]),
    }
}

proptest! {
    #[test]
    fn a_further_grant_never_removes_a_right(
        grants in prop::collection::vec(any_grant(), 0..4),
        more in any_grant(),
        at in any::<prop::sample::Index>(),
        (class, name, team) in (WORD, WORD, "[ab*/{}]{0,3}"),
    ) {
        let object = format!("{class}/{name}").parse().unwrap();
        let mut grown = grants.clone();
        grown.insert(at.index(grants.len() + 1), more);
        let subject = ada(&json!({ "t": team }), &grown);
        for verb in Verb::ALL {
            let before = decide(&grants, &subject, verb, &object);
            prop_assert!(!before || decide(&grown, &subject, verb, &object));
        }
    }

    #[test]
    fn a_part_is_matched_alone_and_as_by_trying_everything(
        (class, name) in ("[ab*]{1,5}", "[ab*]{1,5}"),
        (class_text, name_text) in (WORD, "[ab]{1,6}"),
    ) {
        let expected = slow_match(class.as_bytes(), class_text.as_bytes())
            && slow_match(name.as_bytes(), name_text.as_bytes());
        let object = format!("{class_text}/{name_text}");
        prop_assert_eq!(allows(&format!("{class}/{name}: join"), &json!({}), &object), expected);
    }

    #[test]
    fn a_claim_matches_only_its_own_text(team in "[ab*/{}.]{1,4}", name in "[ab]{1,4}") {
        let claims = json!({ "t": team });
        prop_assert_eq!(allows("room/{claim.t}: join", &claims, &format!("room/{name}")), team == name);
        let starts = name.starts_with(&team);
        prop_assert_eq!(allows("room/{claim.t}*: join", &claims, &format!("room/{name}")), starts);
    }
}
