//! Keys: several at once, from files that change, and the server's own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use serde_json::json;
use tempfile::TempDir;

use super::support::{IssuerKey, NOW, TestAuth, ada, rules, settings};
use crate::auth::files::KeyFile;
use crate::auth::keyring::Keyring;
use crate::auth::{
    Auth, CreateError, InvalidKey, NewToken, ReadError, Refusal, StartError, create_own_key,
    own_key_file,
};
use crate::periodic::Periodic;

#[test]
fn a_token_is_checked_with_the_key_that_it_names() {
    let (old, new) = (IssuerKey::new(Algorithm::HS256), IssuerKey::new(Algorithm::HS256));
    let other = IssuerKey::new(Algorithm::EdDSA);
    let server = TestAuth::new(&[("old", &old), ("new", &new), ("other", &other)], rules());
    let claims = ada(&json!({}));
    for (id, key) in [("old", &old), ("new", &new), ("other", &other)] {
        assert_eq!(server.refusal(&key.token(id, &claims)), None);
    }
    assert_eq!(server.refusal(&old.token("new", &claims)), Some(Refusal::Signature));
    assert_eq!(server.refusal(&old.token("older", &claims)), Some(Refusal::UnknownKey));
    assert_eq!(server.refusal(&old.token("other", &claims)), Some(Refusal::OtherAlgorithm));
    // Without a name only where one key is possible.
    let unnamed = |key: &IssuerKey, algorithm| key.sign(&json!({ "alg": algorithm }), &claims);
    assert_eq!(server.refusal(&unnamed(&other, "EdDSA")), None);
    assert_eq!(server.refusal(&unnamed(&old, "HS256")), Some(Refusal::NoKeyId));
    assert_eq!(server.refusal(&unnamed(&old, "HS512")), Some(Refusal::OtherAlgorithm));
}

#[test]
fn a_file_that_changes_replaces_its_key_and_one_that_is_broken_does_not() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("k");
    let (first, second) = (IssuerKey::new(Algorithm::ES256), IssuerKey::new(Algorithm::ES256));
    fs::write(&file, &first.public).unwrap();
    let keyring = Keyring::default();
    let setting = format!("k: ES256 file:{}", file.display()).parse().unwrap();
    let mut key = KeyFile::open(setting, &keyring).unwrap();
    let is_of = |key: &IssuerKey| {
        let token = key.token("k", &ada(&json!({})));
        let parts = crate::auth::token::Parts::split(&token).unwrap();
        keyring.find(Some("k"), Algorithm::ES256).unwrap().check(&parts).is_ok()
    };
    let version = keyring.version();
    key.reload(&keyring);
    assert_eq!(keyring.version(), version);

    fs::write(&file, &second.public[..40]).unwrap();
    key.reload(&keyring);
    fs::remove_file(&file).unwrap();
    key.reload(&keyring);
    assert!(is_of(&first) && keyring.version() == version);

    fs::write(&file, &second.public).unwrap();
    key.reload(&keyring);
    assert!(is_of(&second) && !is_of(&first) && keyring.version() > version);
}

#[test]
fn files_are_read_again_until_nobody_needs_them() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("k");
    let write = |key: &IssuerKey| fs::write(&file, &key.public).unwrap();
    let keyring = Arc::new(Keyring::default());
    write(&IssuerKey::new(Algorithm::HS256));
    let setting = format!("k: HS256 file:{}", file.display()).parse().unwrap();
    let mut key = KeyFile::open(setting, &keyring).unwrap();
    let version = keyring.version();
    let reloaded = keyring.clone();
    let reload_key = move || key.reload(&reloaded);
    let reload = Periodic::start("test", Duration::from_millis(1), reload_key).unwrap();
    write(&IssuerKey::new(Algorithm::HS256));
    let start = Instant::now();
    while keyring.version() == version {
        assert!(start.elapsed() < Duration::from_secs(20));
        thread::yield_now();
    }
    drop(reload);
    // The thread lets go of it when it ends.
    while Arc::strong_count(&keyring) > 1 {
        assert!(start.elapsed() < Duration::from_secs(20));
        thread::yield_now();
    }
}

#[test]
fn a_bad_key_is_an_error_at_start() {
    let rsa = IssuerKey::new(Algorithm::RS256).public;
    let p384 = IssuerKey::new(Algorithm::ES384).public;
    let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let dir = TempDir::new().unwrap();
    let start = |algorithm: &str, content: &str| {
        let file = dir.path().join("key");
        fs::write(&file, content).unwrap();
        let setting = format!("k: {algorithm} file:{}", file.display());
        let mut settings = settings(dir.path());
        settings.keys.push(setting.parse().unwrap());
        Auth::start(settings).map(drop)
    };
    let secret = "s".repeat(48);
    assert!(start("HS384", &secret).is_ok());
    assert!(start("HS256", &format!("{}\n", &secret[..32])).is_ok());
    for (algorithm, content, why) in [
        ("HS256", &secret[..31], InvalidKey::Short),
        ("HS512", &secret[..], InvalidKey::Short),
        ("HS256", &rsa, InvalidKey::PublicSecret),
        ("RS256", &secret, InvalidKey::NoKey),
        ("RS256", private, InvalidKey::Private),
        ("ES256", &rsa, InvalidKey::NoKey),
        ("ES256", &p384, InvalidKey::NoKey),
        ("EdDSA", &p384, InvalidKey::NoKey),
    ] {
        match start(algorithm, content) {
            Err(StartError::Key { source: ReadError::Invalid(found), .. }) => {
                assert_eq!(found, why, "{algorithm}");
            }
            other => panic!("{algorithm}: {other:?}"),
        }
    }
    let mut settings = settings(dir.path());
    settings.keys = vec!["k: HS256 env:NOT_SET_ANYWHERE".parse().unwrap()];
    let error = Auth::start(settings.clone()).unwrap_err();
    assert!(matches!(error, StartError::Key { source: ReadError::Variable(_), .. }), "{error}");
    fs::write(dir.path().join("key"), &secret).unwrap();
    let setting = format!("k: HS256 file:{}", dir.path().join("key").display());
    settings.keys = vec![setting.parse().unwrap(); 2];
    assert!(matches!(Auth::start(settings), Err(StartError::TwoKeys(_))));
}

#[test]
fn the_own_key_makes_tokens_that_it_checks() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let wanted = |grants: usize| NewToken {
        user: "ada".into(),
        grants: vec!["room/team-*: join, publish".parse().unwrap(); grants],
        expires: NOW + 60,
        key: None,
    };
    let auth = Auth::start(settings(&data)).unwrap();
    assert!(!auth.has_keys());
    assert_eq!(auth.create(&wanted(1), NOW), Err(CreateError::NoKey));

    create_own_key(&data).unwrap();
    assert!(create_own_key(&data).is_err());
    let mode = fs::metadata(own_key_file(&data)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut settings = settings(&data);
    settings.rules.issuer = vec!["https://chat.example".into()];
    settings.rules.audience = vec!["chat".into()];
    let auth = Auth::start(settings).unwrap();
    let token = auth.create(&wanted(1), NOW).unwrap();
    let access = auth.authenticate(&token, NOW).unwrap();
    assert_eq!(access.subject.user(), Some("ada"));
    assert_eq!(access.grants, wanted(1).grants);
    assert_ne!(auth.create(&wanted(1), NOW).unwrap(), token, "each has an id of its own");
    assert_eq!(auth.create(&wanted(101), NOW), Err(CreateError::TooLarge));
    let of = NewToken { key: Some("x".into()), ..wanted(1) };
    assert_eq!(auth.create(&of, NOW), Err(CreateError::NoSuchKey("x".into())));
}

#[test]
fn a_checked_token_is_kept_until_the_keys_change() {
    let key = IssuerKey::new(Algorithm::HS256);
    let server = TestAuth::new(&[("k", &key)], rules());
    let token = key.token("k", &ada(&json!({})));
    let first = server.access(&token);
    assert!(Arc::ptr_eq(&first, &server.access(&token)));
    let keyring = &server.auth.keyring;
    keyring.set(keyring.add_source(), Vec::new());
    assert!(!Arc::ptr_eq(&first, &server.access(&token)));
}
