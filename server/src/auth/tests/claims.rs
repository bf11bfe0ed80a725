//! What a signed token may say.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::support::{IssuerKey, NOW, TestAuth, ada, rules};
use crate::auth::{MAX_TOKEN_BYTES, Refusal, Rules, Verb, decide};

fn server(rules: Rules) -> (TestAuth, IssuerKey) {
    let key = IssuerKey::new(Algorithm::HS256);
    (TestAuth::new(&[("k", &key)], rules), key)
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inside, _| json!([inside]))
}

#[test]
fn each_wrong_claim_is_refused_with_its_reason() {
    let (server, key) = server(Rules {
        issuer: vec!["https://a.example".into(), "https://b.example".into()],
        audience: vec!["chat".into()],
        ..rules()
    });
    let good = json!({ "iss": "https://b.example", "aud": ["mail", "chat"] });
    let many = vec!["a/b:join"; 101];
    for (claims, refusal) in [
        (json!({}), None),
        (json!({ "aud": "chat" }), None),
        (json!({ "exp": NOW + 1 }), None),
        (json!({ "exp": 1_800_000_000.5 }), None),
        (json!({ "exp": null }), Some(Refusal::NoExpiry)),
        (json!({ "exp": "tomorrow" }), Some(Refusal::NoExpiry)),
        (json!({ "exp": -1 }), Some(Refusal::NoExpiry)),
        (json!({ "exp": 1e300 }), Some(Refusal::NoExpiry)),
        (json!({ "exp": NOW - 3600 }), Some(Refusal::Expired)),
        (json!({ "exp": 0 }), Some(Refusal::Expired)),
        (json!({ "nbf": NOW + 3600 }), Some(Refusal::NotYetValid)),
        (json!({ "nbf": u64::MAX }), Some(Refusal::NotYetValid)),
        (json!({ "nbf": "now" }), Some(Refusal::NotBefore)),
        (json!({ "iss": "https://c.example" }), Some(Refusal::Issuer)),
        (json!({ "iss": ["https://a.example"] }), Some(Refusal::Issuer)),
        (json!({ "iss": null }), Some(Refusal::Issuer)),
        (json!({ "aud": "mail" }), Some(Refusal::Audience)),
        (json!({ "aud": [] }), Some(Refusal::Audience)),
        (json!({ "aud": {"chat": 1} }), Some(Refusal::Audience)),
        (json!({ "sub": null }), Some(Refusal::Subject)),
        (json!({ "sub": "" }), Some(Refusal::Subject)),
        (json!({ "sub": 7 }), Some(Refusal::Subject)),
        (json!({ "sub": "a\nb" }), Some(Refusal::Subject)),
        (json!({ "sub": "a".repeat(129) }), Some(Refusal::Subject)),
        (json!({ "grants": "room/*: join" }), None),
        (json!({ "grants": many[..100] }), None),
        (json!({ "grants": many }), Some(Refusal::Grants)),
        (json!({ "grants": ["room/*"] }), Some(Refusal::Grants)),
        (json!({ "grants": [7] }), Some(Refusal::Grants)),
        (json!({ "grants": {"room/*": "join"} }), Some(Refusal::Grants)),
        (json!({ "roles": ["of another service"] }), None),
        (json!({ "roles": 7 }), Some(Refusal::Roles)),
        (json!({ "roles": vec!["r"; 101] }), Some(Refusal::Roles)),
        (json!({ "x": nested(7) }), None),
        (json!({ "x": nested(8) }), Some(Refusal::TooDeep)),
        (json!({ "x": "[[[[[[[[[[[[\\\"[[[[" }), None),
    ] {
        let mut all = ada(&good);
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        assert_eq!(server.refusal(&key.token("k", &all)), refusal, "{claims}");
    }
}

#[test]
fn a_token_for_others_is_refused_where_no_audience_is_configured() {
    let (server, key) = server(rules());
    let token = key.token("k", &ada(&json!({ "aud": "mail" })));
    assert_eq!(server.refusal(&token), Some(Refusal::Audience));
}

#[test]
fn clocks_may_differ_by_the_leeway() {
    let (server, key) = server(rules());
    let at = |token: &str, now| server.auth.authenticate(token, now).err();
    let token = key.token("k", &ada(&json!({ "exp": NOW, "nbf": NOW - 60 })));
    for (now, refusal) in [
        (0, Some(Refusal::NotYetValid)),
        (NOW - 91, Some(Refusal::NotYetValid)),
        (NOW - 90, None),
        (NOW + 29, None),
        // Also of a token that was checked a moment ago.
        (NOW + 30, Some(Refusal::Expired)),
        (u64::MAX, Some(Refusal::Expired)),
    ] {
        assert_eq!(at(&token, now), refusal, "{now}");
    }
}

#[test]
fn what_is_no_token_is_refused_before_it_costs_anything() {
    let (server, key) = server(rules());
    let token = key.token("k", &ada(&json!({})));
    let header = |json: &str| format!("{}.e30.x", URL_SAFE_NO_PAD.encode(json));
    let deep = format!("{{\"alg\":\"HS256\",\"x\":{}1{}}}", "[".repeat(500), "]".repeat(500));
    for (text, refusal) in [
        (String::new(), Refusal::Malformed),
        ("a.b".into(), Refusal::Malformed),
        ("...".into(), Refusal::Malformed),
        (format!("{token}.x"), Refusal::Malformed),
        (format!("Bearer {token}"), Refusal::Malformed),
        (format!("{token}="), Refusal::Signature),
        (header("{}"), Refusal::Malformed),
        (header("[]"), Refusal::Malformed),
        (header("{\"alg\":\"HS256\",\"alg\":\"none\"}"), Refusal::Malformed),
        (header("{\"alg\":\"HS256\",\"crit\":[\"b64\"]}"), Refusal::Critical),
        (header("{\"alg\":\"HS256\",\"kid\":\"other\"}"), Refusal::UnknownKey),
        (header(&deep), Refusal::TooDeep),
        ("a".repeat(MAX_TOKEN_BYTES + 1), Refusal::TooLong),
        (format!("{token}{}", "a".repeat(1 << 20)), Refusal::TooLong),
    ] {
        assert_eq!(server.refusal(&text), Some(refusal), "{text:.80}");
    }
    let all = vec!["room/a: join"; 10_000];
    let token = key.token("k", &ada(&json!({ "grants": all })));
    assert_eq!(server.refusal(&token), Some(Refusal::TooLong));
}

#[test]
fn a_reason_tells_nothing_of_the_token() {
    let (server, key) = server(rules());
    let secret = "sEcReTvAlUe";
    for claims in [
        json!({ "sub": format!("{secret}\n") }),
        json!({ "grants": [secret] }),
        json!({ "roles": {(secret): 1} }),
        json!({ "aud": secret }),
        json!({ "exp": secret }),
    ] {
        let token = key.token("k", &ada(&claims));
        let refusal = server.refusal(&token).unwrap();
        let told = format!("{refusal} {refusal:?}");
        assert!(!told.contains(secret), "{told}");
        assert!(token.split('.').all(|part| !told.contains(part)), "{told}");
    }
}

#[test]
fn grants_come_from_the_claim_and_from_roles_of_the_configuration() {
    let editor = vec!["doc/{claim.team}-*: publish".parse().unwrap()];
    let (server, key) = server(Rules {
        grants_claim: "https://chat.example/grants".into(),
        roles_claim: "realm_access.roles".into(),
        roles: [("editor".to_owned(), editor)].into(),
        ..rules()
    });
    let claims = json!({
        "https://chat.example/grants": ["room/{user}: join"],
        "realm_access": { "roles": ["editor", "of another service"] },
        "team": "red",
        "grants": ["*/*: admin"],
    });
    let access = server.access(&key.token("k", &ada(&claims)));
    let may = |verb, object: &str| {
        decide(&access.grants, &access.subject, verb, &object.parse().unwrap())
    };
    assert!(may(Verb::Join, "room/ada") && may(Verb::Publish, "doc/red-1"));
    assert!(!may(Verb::Join, "room/bob") && !may(Verb::Publish, "doc/blue-1"));
    assert!(!may(Verb::Admin, "room/ada"));
    assert_eq!(access.expires, Some(NOW + 3600));
}
