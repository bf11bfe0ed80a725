//! Keys of an issuer, fetched from a server on the loopback interface: a good one, a slow one and hostile ones.

use std::io::{BufRead as _, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::fetch::{FetchError, Fetcher};
use super::*;
use crate::auth::tests::support::{IssuerKey, NOW, ada, rules, settings};
use crate::auth::{Auth, Refusal, Rules, Settings};

/// No test waits this long unless it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers requests of HTTP: it gets the number of the request, its path and the socket.
struct Issuer {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

impl Issuer {
    fn start(answer: impl Fn(usize, &str, &mut TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, over) = (requests.clone(), is_over.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Acquire) {
                    return;
                }
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let head: Vec<_> =
                    lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                let path = head[0].split(' ').nth(1).unwrap();
                answer(count.fetch_add(1, Ordering::AcqRel), path, &mut stream);
            }
        });
        Self { address, requests, is_over }
    }

    /// Answers each request with 200.
    fn of(headers: &'static str, body: String) -> Self {
        Self::start(move |_, _, stream| ok(stream, headers, &body))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn place(&self) -> Place {
        Place::Set(self.url("/jwks").parse().unwrap())
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Acquire)
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
    }
}

fn ok(stream: &mut TcpStream, headers: &str, body: &str) {
    let _ =
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len());
}

fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn fetch(place: &Place) -> Result<(Vec<crate::auth::key::Key>, Option<Duration>), FetchError> {
    Fetcher::new(place, PATIENCE).fetch(place)
}

/// A server's check of tokens with the keys of an issuer.
fn auth(place: &Place) -> (Auth, TempDir) {
    let dir = TempDir::new().unwrap();
    let rules = Rules { audience: vec!["chat".into()], ..rules() };
    let mut settings = Settings { rules, ..settings(dir.path()) };
    match place.clone() {
        Place::Set(url) => settings.jwks = Some(url),
        Place::Issuer(url) => settings.oidc = Some(url),
    }
    (Auth::start(settings).unwrap(), dir)
}

fn refusal(auth: &Auth, token: &str) -> Option<Refusal> {
    auth.authenticate(token, NOW).err()
}

fn claims() -> Value {
    ada(&json!({ "aud": "chat" }))
}

#[test]
fn tokens_of_an_issuer_are_checked_with_its_keys() {
    let keys =
        [Algorithm::RS256, Algorithm::PS512, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA]
            .map(IssuerKey::new);
    let published: Vec<_> =
        keys.iter().zip(["a", "b", "c", "d", "e"]).map(|(key, id)| key.jwk(id)).collect();
    let issuer = Issuer::of("", set(&published));
    let (auth, _dir) = auth(&issuer.place());
    auth.wait_for_issuers(PATIENCE);
    for (key, id) in keys.iter().zip(["a", "b", "c", "d", "e"]) {
        assert_eq!(refusal(&auth, &key.token(id, &claims())), None, "{:?}", key.algorithm);
        let forged = IssuerKey::new(key.algorithm).token(id, &claims());
        assert_eq!(refusal(&auth, &forged), Some(Refusal::Signature), "{:?}", key.algorithm);
    }
}

#[test]
fn the_keys_of_an_issuer_are_discovered_and_sign_only_for_it() {
    let key = IssuerKey::new(Algorithm::ES256);
    let jwks = set(&[key.jwk("k")]);
    let issuer = Issuer::start(move |_, path, stream| {
        let own = format!("http://{}", stream.local_addr().unwrap());
        match path {
            "/.well-known/openid-configuration" => {
                let document = json!({ "issuer": own, "jwks_uri": format!("{own}/keys") });
                ok(stream, "", &document.to_string());
            }
            _ => ok(stream, "", &jwks),
        }
    });
    let (auth, _dir) = auth(&Place::Issuer(issuer.url("").parse().unwrap()));
    auth.wait_for_issuers(PATIENCE);
    let of = |iss: &str| key.token("k", &ada(&json!({ "aud": "chat", "iss": iss })));
    assert_eq!(refusal(&auth, &of(&issuer.url(""))), None);
    assert_eq!(refusal(&auth, &of("https://other.example")), Some(Refusal::Issuer));
    assert_eq!(refusal(&auth, &key.token("k", &claims())), Some(Refusal::Issuer));
}

#[test]
fn a_discovery_document_leads_nowhere_else() {
    for (document, why) in [
        (
            "{\"issuer\":\"https://other.example\",\"jwks_uri\":\"https://other.example\"}",
            "another issuer",
        ),
        ("{\"issuer\":\"OWN\",\"jwks_uri\":\"http://other.example/keys\"}", "must have https"),
        ("{\"issuer\":\"OWN\",\"jwks_uri\":\"file:///etc/passwd\"}", "must have https"),
        ("{\"issuer\":\"OWN\"}", "not one"),
        ("[[[", "not one"),
    ] {
        let issuer = Issuer::start(move |_, _, stream| {
            let own = format!("http://{}", stream.local_addr().unwrap());
            ok(stream, "", &document.replace("OWN", &own));
        });
        let error = fetch(&Place::Issuer(issuer.url("").parse().unwrap())).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(issuer.requests(), 1);
    }
}

#[test]
fn keys_that_cannot_check_tokens_are_left_out() {
    let good = IssuerKey::new(Algorithm::ES256).jwk("good");
    let with = |name: &str, value: Value| {
        let mut key = good.clone();
        key[name] = value;
        key
    };
    let others = [
        json!({ "kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "secret" }),
        json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AA" }),
        json!("garbage"),
        json!({}),
        with("use", json!("enc")),
        with("key_ops", json!(["sign"])),
        with("alg", json!("ES384")),
        with("alg", json!("RS256")),
        with("crv", json!("P-521")),
        with("x", json!("!!!")),
    ];
    for other in &others {
        let issuer = Issuer::of("", set(std::slice::from_ref(other)));
        assert!(matches!(fetch(&issuer.place()), Err(FetchError::NoUsableKey)), "{other}");
    }
    let issuer = Issuer::of("", set(&[&others[..], &[good]].concat()));
    assert_eq!(fetch(&issuer.place()).unwrap().0.len(), 1);
}

#[test]
fn the_issuer_says_for_how_long_keys_may_be_kept() {
    let body = set(&[IssuerKey::new(Algorithm::EdDSA).jwk("k")]);
    for (headers, max_age) in [
        ("", None),
        ("Cache-Control: public, max-age=300\r\n", Some(300)),
        ("cache-control: MAX-AGE=\"60\"\r\n", Some(60)),
        ("Cache-Control: max-age=300, no-store\r\n", Some(0)),
        ("Cache-Control: max-age=99999999999999999999\r\n", None),
        ("Cache-Control: s-maxage=3\r\n", None),
    ] {
        let issuer = Issuer::of(headers, body.clone());
        let found = fetch(&issuer.place()).unwrap().1;
        assert_eq!(found, max_age.map(Duration::from_secs), "{headers}");
    }
}

#[test]
fn hostile_answers_are_refused_within_bounds() {
    let many = set(&vec![json!({}); 101]);
    for (answer, is_expected) in [
        (String::new(), (|error| matches!(error, FetchError::Unreachable { .. })) as fn(&_) -> _),
        ("garbage\r\n\r\n".into(), |error| matches!(error, FetchError::Unreachable { .. })),
        ("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".into(), |error| {
            matches!(error, FetchError::Status { status: 500, .. })
        }),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{{{".into(), |error| {
            matches!(error, FetchError::NotAKeySet)
        }),
        (format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{many}", many.len()), |error| {
            matches!(error, FetchError::TooManyKeys)
        }),
        ("HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n".into(), |error| {
            matches!(error, FetchError::Unreachable { .. })
        }),
        (format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1 << 20)), |error| {
            matches!(error, FetchError::Unreachable { .. })
        }),
    ] {
        let issuer = Issuer::start({
            let answer = answer.clone();
            move |_, _, stream| _ = stream.write_all(answer.as_bytes())
        });
        let error = fetch(&issuer.place()).unwrap_err();
        assert!(is_expected(&error), "{answer:.60}: {error:?}");
    }
}

/// It sends as long as the client reads.
#[test]
fn an_endless_answer_ends_at_its_bound() {
    let issuer = Issuer::start(|_, _, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b' '; 4096]).is_ok() {}
    });
    let error = fetch(&issuer.place()).unwrap_err();
    let FetchError::Unreachable { source, .. } = error else { panic!("{error}") };
    assert!(matches!(*source, ureq::Error::BodyExceedsLimit(_)), "{source}");
}

#[test]
fn a_silent_issuer_is_given_up_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let place = Place::Set(url.parse().unwrap());
    let error = Fetcher::new(&place, Duration::from_millis(50)).fetch(&place).unwrap_err();
    let FetchError::Unreachable { source, .. } = error else { panic!("{error}") };
    assert!(matches!(*source, ureq::Error::Timeout(_)), "{source}");
}

#[test]
fn redirects_are_not_followed() {
    let target = Issuer::of("", set(&[IssuerKey::new(Algorithm::EdDSA).jwk("k")]));
    let location = target.url("/");
    let issuer = Issuer::start(move |_, _, stream| {
        let _ = write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        );
    });
    let error = fetch(&issuer.place()).unwrap_err();
    assert!(matches!(error, FetchError::Status { status: 302, .. }), "{error}");
    assert_eq!(target.requests(), 0);
}

#[test]
fn while_an_issuer_is_down_its_tokens_are_refused_and_later_taken() {
    let key = IssuerKey::new(Algorithm::ES256);
    let body = set(&[key.jwk("k")]);
    let issuer = Issuer::start(move |count, _, stream| {
        if count > 0 {
            ok(stream, "", &body);
        }
    });
    let (auth, _dir) = auth(&issuer.place());
    let token = key.token("k", &claims());
    auth.wait_for_issuers(PATIENCE);
    assert_eq!(refusal(&auth, &token), Some(Refusal::KeysUnavailable));
    assert!(auth.issuers[0].wait_for_fetches(2, Instant::now() + PATIENCE), "it is asked again");
    assert_eq!(refusal(&auth, &token), None);
}

#[test]
fn a_flood_of_unknown_keys_asks_the_issuer_no_further() {
    let key = IssuerKey::new(Algorithm::ES256);
    let issuer = Issuer::of("", set(&[key.jwk("k")]));
    let (auth, _dir) = auth(&issuer.place());
    auth.wait_for_issuers(PATIENCE);
    for n in 0..1_000 {
        let token = key.token(&format!("unknown-{n}"), &claims());
        assert_eq!(refusal(&auth, &token), Some(Refusal::UnknownKey));
    }
    assert_eq!(refusal(&auth, &key.token("k", &claims())), None);
    assert_eq!(issuer.requests(), 1);
}
