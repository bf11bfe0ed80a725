//! Promise 11, nobody gets in uninvited: a token on an open connection ends, is replaced and is revoked.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dormouse_protocol::{
    Auth as AuthRequest, ClientMessage, Encoding, ErrorCode, ServerMessage, Start,
};

use tokio::net::TcpStream;

use crate::client::{Client, ENCODINGS};
use crate::guarded::{Guarded, UNAUTHORIZED, connect, may_join};
use crate::server::TestServer;
use crate::support::{dormouse, now_seconds};

/// The code of a connection whose token has expired.
const TOKEN_EXPIRED: Option<u16> = Some(3007);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_ends_with_its_token() {
    for ping_interval in [Duration::from_mins(1), Duration::from_millis(200)] {
        let guarded = Guarded::start(|config| config.liveness.ping_interval = ping_interval).await;
        let address = guarded.server.address;
        let token = guarded.token("ada", &["room/a: join"], 2);
        let mut client = connect(address, Encoding::Json, &token).await.unwrap();
        client.join_now("room/a").await;
        assert_eq!(client.closed().await, TOKEN_EXPIRED);
        let again = connect(address, Encoding::Json, &token).await.err();
        assert_eq!(again, Some(UNAUTHORIZED));
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

/// The client asks for the next token in time, and the connection outlasts the first one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_told_before_its_token_expires_and_stays_with_a_new_one() {
    let guarded = Guarded::start(|config| {
        config.auth.expiry_notice = Duration::from_mins(30);
    })
    .await;
    let grants = ["room/a: join, publish"];
    // A token with more time brings no notice.
    let mut ada = guarded.client("ada", &grants).await;
    let object = ada.join_now("room/a").await;
    ada.nothing_more().await;
    // It has more than 4 s left, and the notice comes when a quarter of that is left.
    let short = guarded.token("ada", &grants, 5);
    let mut with_the_first = connect(guarded.server.address, Encoding::Json, &short).await.unwrap();
    authenticate(&mut ada, &short).await.unwrap();
    let is_notice = |message: &ServerMessage| matches!(message, ServerMessage::TokenExpiring(_));
    let ServerMessage::TokenExpiring(notice) = ada.find(is_notice).await else { unreachable!() };
    assert!(notice.expires_in_ms <= 1_250, "{notice:?}");
    authenticate(&mut ada, &guarded.token("ada", &grants, 3600)).await.unwrap();
    with_the_first.find(is_notice).await;
    assert_eq!(with_the_first.closed().await, TOKEN_EXPIRED);
    ada.publish(object, 1).await;
    // A shorter token counts too.
    authenticate(&mut ada, &guarded.token("ada", &grants, 3)).await.unwrap();
    ada.find(is_notice).await;
    assert_eq!(ada.closed().await, TOKEN_EXPIRED);
}

/// Revokes at the operators' address, as `dormouse revoke` does. Returns what it prints.
pub(crate) fn revoke(server: &TestServer, args: &[&str]) -> String {
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

/// A publish that is under way is stored or not; when the revocation is answered, that is decided.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_stored_after_a_revocation_is_answered() {
    let guarded = Guarded::start(|_| {}).await;
    let mut ada = guarded.client("ada", &["room/a: join, publish"]).await;
    let object = ada.join_now("room/a").await;
    let flood = tokio::spawn(async move {
        for id in 1000.. {
            if ada.try_send(&crate::client::publish(id, object, id, None)).await.is_err() {
                break;
            }
        }
    });
    let mut bob = guarded.client("bob", &["room/a: join, publish, history"]).await;
    let watched = bob.join("room/a", Start::All).await;
    bob.events_until(watched.object, watched.head + 100).await;
    revoke(&guarded.server, &["user", "ada"]);
    // A publish of his own is behind all that the object has accepted before.
    let last = bob.publish(watched.object, "last").await.offset;
    flood.await.unwrap();
    let log = bob.whole_log(watched.object).await;
    assert_eq!(log.len() as u64, last);
    let of_ada = log.iter().filter(|event| event.user.as_deref() == Some("ada"));
    assert!(of_ada.map(crate::client::number).is_sorted_by(|one, next| one < next));
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
    let new = guarded.token_issued_at(now_seconds() + 1, "ada", &[], 3600);
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
    assert_eq!(revoke(&guarded.server, &["list"]), "nothing is revoked\n");
    assert_eq!(ask(internal, "", ada).await, 200);
}

/// Connects as a client that will send its token in a message.
async fn without_token(guarded: &Guarded, encoding: Encoding) -> Client {
    let stream = TcpStream::connect(guarded.server.address).await.unwrap();
    let connected = Client::try_connect_over(Box::new(stream), encoding, "?auth=message", |_| ());
    connected.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_may_come_in_the_first_message() {
    let guarded = Guarded::start(|_| {}).await;
    for encoding in ENCODINGS {
        let mut client = without_token(&guarded, encoding).await;
        assert!(!may_join(&mut client, "room/a").await, "before the token");
        assert!(authenticate(&mut client, "x").await.is_err());
        let token = guarded.token("ada", &["room/a: join, publish"], 3600);
        authenticate(&mut client, &token).await.unwrap();
        let object = client.join_now("room/a").await;
        client.publish(object, 1).await;
        let ServerMessage::Events(events) = client.next_of(object).await else { panic!() };
        assert_eq!(events.events[0].user.as_deref(), Some("ada"));
        // From now on it is hers.
        let other = guarded.token("bob", &["room/a: join"], 3600);
        assert!(authenticate(&mut client, &other).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_promises_a_token_and_sends_none_is_closed() {
    let guarded = Guarded::start(|config| {
        config.limits.handshake_timeout = Duration::from_secs(1);
    })
    .await;
    let mut silent = without_token(&guarded, Encoding::Json).await;
    assert_eq!(silent.arrive().await, Err(UNAUTHORIZED), "and it gets no `token_expiring`");
    let mut signed_in = without_token(&guarded, Encoding::Json).await;
    let token = guarded.token("ada", &["room/a: join"], 3600);
    authenticate(&mut signed_in, &token).await.unwrap();
    let mut silent = without_token(&guarded, Encoding::Json).await;
    assert_eq!(silent.arrive().await, Err(UNAUTHORIZED));
    signed_in.ping().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_in_a_message_counts_for_the_limit_of_its_user() {
    let guarded = Guarded::start(|config| {
        config.rates.on_loopback = true;
        config.limits.connections_by_user = 1;
    })
    .await;
    let token = guarded.token("ada", &["room/a: join"], 3600);
    let mut one = without_token(&guarded, Encoding::Json).await;
    authenticate(&mut one, &token).await.unwrap();
    let mut two = without_token(&guarded, Encoding::Json).await;
    assert!(authenticate(&mut two, &token).await.unwrap_err().contains("by_user"));
    drop(one);
    guarded.server.metric_is("dormouse_connections", |open| open == 1).await;
    authenticate(&mut two, &token).await.unwrap();
}
