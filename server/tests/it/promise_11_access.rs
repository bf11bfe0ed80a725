//! Promise 11, nobody gets in uninvited: every verb on every object is checked against the client's grants.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dormouse::auth::{Auth, NewToken, create_own_key};
use dormouse::config::Config;
use dormouse_protocol::{
    Auth as AuthRequest, ClientMessage, CloseCode, Encoding, ErrorCode, Join, PresenceGet,
    PresenceSet, ServerMessage, Signal, Start, Watch,
};

use crate::client::{Client, Closed, ENCODINGS, Payload, history};
use crate::server::TestServer;
use crate::support::{dormouse, now_seconds};

const UNAUTHORIZED: Closed = Closed(Some(3501));

/// A server with a key of its own, and what makes tokens with it.
struct Guarded {
    server: TestServer,
    issuer: Auth,
}

impl Guarded {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let server = TestServer::start(|config| {
            config.auth.leeway = Duration::ZERO;
            create_own_key(&config.data).unwrap();
            change(config);
        })
        .await;
        let issuer = Auth::start(server.config.auth.settings(&server.config.data)).unwrap();
        Self { server, issuer }
    }

    fn token(&self, user: &str, grants: &[&str], lasts: u64) -> String {
        let now = now_seconds();
        let grants = grants.iter().map(|grant| grant.parse().unwrap()).collect();
        let wanted = NewToken { user: user.into(), grants, expires: now + lasts, key: None };
        self.issuer.create(&wanted, now).unwrap()
    }

    async fn client(&self, user: &str, grants: &[&str]) -> Client {
        let token = self.token(user, grants, 3600);
        connect(self.server.address, Encoding::Json, &token).await.expect("the token is good")
    }
}

async fn connect(address: SocketAddr, encoding: Encoding, token: &str) -> Result<Client, Closed> {
    let bearer = format!("Bearer {token}").parse().unwrap();
    Client::try_connect_with(address, encoding, None, |headers| {
        headers.insert("Authorization", bearer);
    })
    .await
}

/// The reply to a request: an error, or that it was done.
async fn outcome(client: &mut Client, id: u32, request: ClientMessage) -> Option<ErrorCode> {
    client.send(&request).await;
    match client.reply(id).await {
        ServerMessage::Error(error) => Some(error.code),
        _ => None,
    }
}

async fn may_join(client: &mut Client, object: &str) -> bool {
    let id = client.send_join(object, Start::Now).await;
    match client.reply(id).await {
        ServerMessage::Joined(_) => true,
        ServerMessage::Error(error) => {
            assert_eq!(error.code, ErrorCode::Forbidden, "{error:?}");
            false
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_valid_token_no_connection_stays() {
    let guarded = Guarded::start(|_| {}).await;
    let address = guarded.server.address;
    for encoding in ENCODINGS {
        assert_eq!(Client::try_connect(address, encoding, None).await.err(), Some(UNAUTHORIZED));
        let good = guarded.token("ada", &[], 3600);
        let other_key = format!("{}AAAA", &good[..good.len() - 4]);
        let expired = guarded.token("ada", &[], 0);
        for bad in ["x", "a.b.c", &other_key, &expired, &"x".repeat(9_000)] {
            let refused = connect(address, encoding, bad).await.err();
            assert_eq!(refused, Some(UNAUTHORIZED), "{bad}");
        }
        assert!(connect(address, encoding, &good).await.is_ok());
    }
    let closes = "dormouse_closes_total{code=\"unauthorized\"}";
    assert_eq!(guarded.server.metric(closes).await, 12);
}

/// Pages cannot set headers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_may_come_as_a_subprotocol() {
    let guarded = Guarded::start(|_| {}).await;
    let token = guarded.token("ada", &["room/a: join"], 3600);
    for (offered, is_valid) in [
        (format!("dormouse.v1.json, dormouse.token.{token}"), true),
        ("dormouse.v1.json, dormouse.token.x".into(), false),
        (format!("dormouse.v1.json, {token}"), false),
    ] {
        let address = guarded.server.address;
        let client = Client::try_connect_with(address, Encoding::Json, None, |headers| {
            headers.insert("Sec-WebSocket-Protocol", offered.parse().unwrap());
        });
        match client.await {
            Ok(mut client) => assert!(is_valid && may_join(&mut client, "room/a").await),
            Err(closed) => assert!(!is_valid && closed == UNAUTHORIZED, "{offered}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_can_be_joined_with_a_grant_only() {
    let guarded = Guarded::start(|_| {}).await;
    let grants = ["room/team-*: join", "room/of-{user}: join", "room/read: history"];
    let mut client = guarded.client("ada", &grants).await;
    for (object, is_granted) in [
        ("room/team-a", true),
        ("room/of-ada", true),
        ("room/of-bob", false),
        ("room/read", false),
        ("room/other", false),
        ("other/team-a", false),
    ] {
        if object.starts_with("room/") {
            assert_eq!(may_join(&mut client, object).await, is_granted, "{object}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_verb_needs_a_grant() {
    let guarded = Guarded::start(|_| {}).await;
    for granted in ["publish", "signal", "presence", "history", "call"] {
        let grants = format!("room/a: join, {granted}");
        let mut client = guarded.client("ada", &[&grants]).await;
        let object = client.join_now("room/a").await;
        let expected = |verb| (granted != verb).then_some(ErrorCode::Forbidden);

        let id = client.send_publish(object, 1, None).await;
        let published = match client.reply(id).await {
            ServerMessage::Error(error) => Some(error.code),
            _ => None,
        };
        assert_eq!(published, expected("publish"), "{granted}");

        let id = client.id();
        let signal = Signal { id: Some(id), object, data: Payload::of(&1).unwrap(), key: None };
        let signalled = outcome(&mut client, id, ClientMessage::Signal(signal)).await;
        assert_eq!(signalled, expected("signal"), "{granted}");

        let id = client.id();
        let set = PresenceSet { id, object, data: Some(Payload::of(&1).unwrap()) };
        let set = outcome(&mut client, id, ClientMessage::PresenceSet(set)).await;
        assert_eq!(set, expected("presence"), "{granted}");
        let id = client.id();
        let get = PresenceGet { id, object, since: None, after: None, limit: None };
        let got = outcome(&mut client, id, ClientMessage::PresenceGet(get)).await;
        assert_eq!(got, expected("presence"), "{granted}");

        let id = client.id();
        let request = dormouse_protocol::History { id, ..history(object, None, None) };
        let read = outcome(&mut client, id, ClientMessage::History(request)).await;
        assert_eq!(read, expected("history"), "{granted}");
        client.ping().await;
        client.leave(object).await;

        // To be seen, or to see others, is presence in a join too.
        for (presence, watch) in
            [(Some(Payload::of(&1).unwrap()), Watch::None), (None, Watch::Roster)]
        {
            let id = client.id();
            let name = "room/a".parse().unwrap();
            let join = Join { presence, watch, ..Join::new(id, name, Start::Now) };
            let joined = outcome(&mut client, id, ClientMessage::Join(join)).await;
            assert_eq!(joined, expected("presence"), "{granted}");
            if joined.is_none() {
                client.leave(object).await;
            }
        }
    }
}

/// A resume is a join like any other, with the grants of the token of now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resume_is_checked_again() {
    let guarded = Guarded::start(|_| {}).await;
    let mut client = guarded.client("ada", &["room/a: join, publish"]).await;
    let joined = client.join("room/a", Start::Now).await;
    client.publish(joined.object, 1).await;
    let session = client.token().to_owned();
    drop(client);
    let narrower = guarded.token("ada", &["room/b: join"], 3600);
    let bearer = format!("Bearer {narrower}").parse().unwrap();
    let address = guarded.server.address;
    let resumed = Client::try_connect_with(address, Encoding::Json, Some(&session), |headers| {
        headers.insert("Authorization", bearer);
    });
    let mut client = resumed.await.unwrap();
    let position = dormouse_protocol::Position { offset: 0, epoch: joined.epoch };
    let id = client.send_join("room/a", Start::After(position)).await;
    assert_eq!(client.refusal(id).await.code, ErrorCode::Forbidden);
}

/// Whether the connection is looked at for its silence before the token expires, or only then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_ends_with_its_token() {
    for ping_interval in [Duration::from_mins(1), Duration::from_millis(200)] {
        let guarded = Guarded::start(|config| config.liveness.ping_interval = ping_interval).await;
        let address = guarded.server.address;
        let token = guarded.token("ada", &["room/a: join"], 2);
        let mut client = connect(address, Encoding::Json, &token).await.unwrap();
        client.join_now("room/a").await;
        assert_eq!(client.closed().await, Some(CloseCode::TokenExpired.number()));
        let again = connect(address, Encoding::Json, &token).await.err();
        assert_eq!(again, Some(UNAUTHORIZED));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_without_a_token_may_do_what_the_configuration_says() {
    let guarded = Guarded::start(|config| {
        config.auth.anonymous = vec!["room/public-*: join".parse().unwrap()];
    })
    .await;
    let mut client = Client::connect(guarded.server.address, Encoding::Msgpack).await;
    assert!(may_join(&mut client, "room/public-a").await);
    assert!(!may_join(&mut client, "room/private").await);
    let object = client.join_now("room/public-b").await;
    let id = client.send_publish(object, 1, None).await;
    assert_eq!(client.refusal(id).await.code, ErrorCode::Forbidden);
    // A token that is not valid does not make its client anonymous.
    let refused = connect(guarded.server.address, Encoding::Json, "x").await.err();
    assert_eq!(refused, Some(UNAUTHORIZED));
}

/// The address is one of documentation (RFC 5737), which no machine has: what is let through fails to listen there.
#[test]
fn beyond_loopback_a_server_without_keys_does_not_start() {
    let data = tempfile::tempdir().unwrap();
    let error_of = |flags: &[&str]| {
        let mut command = dormouse(&["--listen", "192.0.2.1:0"]);
        let output = command.args(flags).arg("--data").arg(data.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    };
    let error = error_of(&[]);
    for remedy in ["dormouse key create", "loopback", "--insecure"] {
        assert!(error.contains(remedy), "{error}");
    }
    assert!(error_of(&["--insecure"]).contains("cannot listen on 192.0.2.1:0"));
    create_own_key(data.path()).unwrap();
    assert!(error_of(&[]).contains("cannot listen on 192.0.2.1:0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_names_the_user_that_published_it() {
    let mut guarded = Guarded::start(|config| {
        config.auth.anonymous = vec!["room/a: join, publish".parse().unwrap()];
    })
    .await;
    let mut ada = guarded.client("ada", &["room/a: join, publish"]).await;
    let mut nobody = Client::connect(guarded.server.address, Encoding::Msgpack).await;
    let [by_ada, by_nobody] = [ada.join_now("room/a").await, nobody.join_now("room/a").await];
    ada.publish(by_ada, 1).await;
    ada.publish_once(by_ada, 2, "key").await;
    nobody.publish(by_nobody, 3).await;
    guarded.server.restart().await;
    for encoding in ENCODINGS {
        let mut reader = Client::connect(guarded.server.address, encoding).await;
        reader.join("room/a", Start::All).await;
        let events = reader.events_until(by_ada, 3).await;
        let told: Vec<_> =
            events.iter().map(|event| (event.user.as_deref(), event.key.is_some())).collect();
        assert_eq!(told, [(Some("ada"), false), (Some("ada"), true), (None, false)]);
    }
}

/// Sends a new token; the reply.
async fn authenticate(client: &mut Client, token: &str) -> Result<(), String> {
    let id = client.id();
    client.send(&ClientMessage::Auth(AuthRequest { id, token: token.into() })).await;
    match client.reply(id).await {
        ServerMessage::Done(_) => Ok(()),
        ServerMessage::Error(error) if error.code == ErrorCode::Forbidden => {
            Err(error.message.into())
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_token_replaces_the_one_before_and_ends_what_it_does_not_allow() {
    let guarded = Guarded::start(|_| {}).await;
    let mut ada = guarded.client("ada", &["room/*: join, publish"]).await;
    let (kept, lost) = (ada.join_now("room/kept").await, ada.join_now("room/lost").await);
    ada.publish(kept, 1).await;
    ada.events_until(kept, 1).await;

    let narrower = guarded.token("ada", &["room/kept: join"], 3600);
    authenticate(&mut ada, &narrower).await.unwrap();
    let is_removed = |message: &ServerMessage| matches!(message, ServerMessage::Removed(_));
    let ServerMessage::Removed(removed) = ada.find(is_removed).await else { unreachable!() };
    assert_eq!((removed.object, removed.code), (lost, ErrorCode::Forbidden));
    // Nothing of it follows, and nothing can be asked of it.
    let mut other = guarded.client("bob", &["room/*: join, publish"]).await;
    let object = other.join_now("room/lost").await;
    other.publish(object, "secret").await;
    let id = ada.send_publish(lost, 2, None).await;
    assert_eq!(ada.refusal(id).await.code, ErrorCode::NotJoined);
    ada.nothing_more().await;
    let id = ada.send_publish(kept, 2, None).await;
    assert_eq!(ada.refusal(id).await.code, ErrorCode::Forbidden);

    let wider = guarded.token("ada", &["room/*: join, publish"], 3600);
    authenticate(&mut ada, &wider).await.unwrap();
    ada.publish(kept, 3).await;
    assert!(may_join(&mut ada, "room/lost").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_not_valid_or_of_another_user_changes_nothing() {
    let guarded = Guarded::start(|_| {}).await;
    let grants = ["room/a: join, publish"];
    let mut ada = guarded.client("ada", &grants).await;
    let object = ada.join_now("room/a").await;
    let bobs = guarded.token("bob", &["room/b: join"], 3600);
    assert!(authenticate(&mut ada, &bobs).await.unwrap_err().contains("another user"));
    for bad in ["", "x", &guarded.token("ada", &[], 0), &"x".repeat(9_000)] {
        authenticate(&mut ada, bad).await.unwrap_err();
    }
    ada.publish(object, 1).await;
    assert!(!may_join(&mut ada, "room/b").await);
    // The same token again, any number of times, is no different.
    let again = guarded.token("ada", &grants, 3600);
    for _ in 0..100 {
        authenticate(&mut ada, &again).await.unwrap();
    }
    ada.publish(object, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_told_before_its_token_expires_and_stays_with_a_new_one() {
    let guarded = Guarded::start(|config| {
        config.auth.expiry_notice = Duration::from_mins(30);
    })
    .await;
    let grants = ["room/a: join, publish"];
    // Of a token with more time nothing is told.
    let mut ada = guarded.client("ada", &grants).await;
    let object = ada.join_now("room/a").await;
    ada.nothing_more().await;
    // Times of tokens are in seconds: it has more than 4 s left, and the client is told a second before the end.
    let short = guarded.token("ada", &grants, 5);
    authenticate(&mut ada, &short).await.unwrap();
    let is_told = |message: &ServerMessage| matches!(message, ServerMessage::TokenExpiring(_));
    let ServerMessage::TokenExpiring(told) = ada.find(is_told).await else { unreachable!() };
    assert!(told.expires_in_ms <= 1_250, "{told:?}");
    // In time, and later it is still there.
    authenticate(&mut ada, &guarded.token("ada", &grants, 3600)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    ada.publish(object, 1).await;
    authenticate(&mut ada, &guarded.token("ada", &grants, 3)).await.unwrap();
    ada.find(is_told).await;
    assert_eq!(ada.closed().await, Some(3007));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_in_a_cookie_is_believed_from_pages_that_are_named() {
    let guarded = Guarded::start(|config| {
        config.auth.cookie = "access".into();
        config.allowed_origins = vec!["https://app.example".into(), "*".into()];
    })
    .await;
    let token = guarded.token("ada", &["room/a: join"], 3600);
    for (origin, cookie, is_valid) in [
        (Some("https://app.example"), format!("theme=dark; access={token}"), true),
        (Some("https://evil.example"), format!("access={token}"), false),
        (None, format!("access={token}"), false),
        (Some("https://app.example"), format!("other={token}"), false),
        (Some("https://app.example"), "access=x".into(), false),
    ] {
        let client =
            Client::try_connect_with(guarded.server.address, Encoding::Json, None, |headers| {
                headers.insert("Cookie", cookie.parse().unwrap());
                if let Some(origin) = origin {
                    headers.insert("Origin", origin.parse().unwrap());
                }
            });
        assert_eq!(client.await.is_ok(), is_valid, "{origin:?} {cookie}");
    }
}

/// Revokes at the operators' address, as `dormouse revoke` does. Returns what it prints.
fn revoke(server: &TestServer, args: &[&str]) -> String {
    let url = format!("http://{}", server.internal);
    let output =
        dormouse(&[&["revoke"], args, &["--url", &url]].concat()).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_user_is_disconnected_and_stays_out_over_a_restart() {
    let mut guarded = Guarded::start(|_| {}).await;
    let grants = ["room/a: join, publish"];
    let mut ada = guarded.client("ada", &grants).await;
    let mut bob = guarded.client("bob", &grants).await;
    let token = guarded.token("ada", &grants, 3600);
    let object = ada.join_now("room/a").await;
    ada.publish(object, 1).await;
    assert_eq!(revoke(&guarded.server, &["user", "ada"]), "revoked; connections closed: 1\n");
    // It was answered: nothing of what she sends now is stored.
    let late = ada.try_send(&crate::client::publish(99, object, 2, None)).await;
    assert!(late.is_err() || ada.closed().await == Some(3501));
    let seen = bob.join("room/a", Start::All).await;
    assert_eq!(seen.head, 1);
    let again = async |guarded: &Guarded| {
        connect(guarded.server.address, Encoding::Json, &token).await.err()
    };
    assert_eq!(again(&guarded).await, Some(UNAUTHORIZED));
    guarded.server.restart().await;
    assert_eq!(again(&guarded).await, Some(UNAUTHORIZED));
    assert_eq!(revoke(&guarded.server, &["list"]), "user ada\n");
    revoke(&guarded.server, &["user", "ada", "--lift"]);
    assert_eq!(again(&guarded).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_token_and_those_issued_until_now_can_be_revoked() {
    let guarded = Guarded::start(|_| {}).await;
    let [one, other] = [guarded.token("ada", &[], 3600), guarded.token("ada", &[], 3600)];
    let id = |token: &str| {
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        claims["jti"].as_str().unwrap().to_owned()
    };
    let address = guarded.server.address;
    let mut with_one = connect(address, Encoding::Json, &one).await.unwrap();
    let mut with_other = connect(address, Encoding::Json, &other).await.unwrap();
    assert!(revoke(&guarded.server, &["token", &id(&one)]).ends_with(": 1\n"));
    assert_eq!(with_one.closed().await, Some(3501));
    with_other.ping().await;
    assert!(revoke(&guarded.server, &["user", "ada", "--issued-until-now"]).ends_with(": 1\n"));
    assert_eq!(with_other.closed().await, Some(3501));
    for old in [&one, &other] {
        assert_eq!(connect(address, Encoding::Json, old).await.err(), Some(UNAUTHORIZED));
    }
    // A token of a later second is good.
    let now = now_seconds();
    while now_seconds() == now {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let new = guarded.token("ada", &[], 3600);
    assert!(connect(address, Encoding::Json, &new).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_operators_can_revoke_and_only_what_a_token_can_have() {
    let guarded = Guarded::start(|_| {}).await;
    let ask = async |address, origin: &str, body: &str| {
        let answer = crate::server::exchange(
            address,
            &format!(
                "POST /v1/revocations HTTP/1.1\r\nHost: localhost\r\n{origin}Content-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        )
        .await;
        answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };
    let (public, internal) = (guarded.server.address, guarded.server.internal);
    let ada = r#"{"user":{"user":"ada"}}"#;
    assert_eq!(ask(public, "", ada).await, 404);
    assert_eq!(ask(internal, "Origin: http://evil.example\r\n", ada).await, 403);
    let long = format!(r#"{{"token":{{"id":"{}"}}}}"#, "x".repeat(129));
    for bad in ["", "{}", r#"{"user":{}}"#, r#"{"user":{"user":""}}"#, &long] {
        let status = ask(internal, "", bad).await;
        assert!((400..500).contains(&status), "{bad}: {status}");
    }
    assert_eq!(revoke(&guarded.server, &["list"]), "");
    assert_eq!(ask(internal, "", ada).await, 200);
}
