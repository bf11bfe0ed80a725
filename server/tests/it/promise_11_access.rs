//! Promise 11, nobody gets in uninvited: every verb on every object is checked against the client's grants.

use std::time::Duration;

use dormouse::auth::create_own_key;
use dormouse_protocol::{
    ClientMessage, Encoding, ErrorCode, Join, PresenceGet, PresenceSet, ServerMessage, Signal,
    Start, Watch,
};

use crate::client::{Client, ENCODINGS, Payload, history};
use crate::guarded::{Guarded, UNAUTHORIZED, connect, may_join};
use crate::promise_11_tokens::revoke;
use crate::support::dormouse;

/// The reply to a request: an error, or that it was done.
async fn outcome(client: &mut Client, id: u32, request: ClientMessage) -> Option<ErrorCode> {
    client.send(&request).await;
    match client.reply(id).await {
        ServerMessage::Error(error) => Some(error.code),
        _ => None,
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

/// A user with two devices is one user: it comes once, and goes once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rosters_count_users_and_not_their_sessions() {
    let mut guarded = Guarded::start(|config| {
        config.presence.interval = Duration::from_millis(1);
        config.presence.grace = Duration::from_mins(1);
        config.auth.anonymous = vec!["room/a: join, presence".parse().unwrap()];
    })
    .await;
    let grants = ["room/a: join, presence"];
    let mut watcher = Client::connect(guarded.server.address, Encoding::Json).await;
    let object = enter(&mut watcher, None, Watch::Roster).await;
    let mut changes = Vec::new();
    let mut phone = guarded.client("ada", &grants).await;
    enter(&mut phone, Some(1), Watch::None).await;
    changes.push(presence_change(&mut watcher, object).await);
    let mut laptop = guarded.client("ada", &grants).await;
    let of_laptop = enter(&mut laptop, Some(2), Watch::None).await;
    changes.push(presence_change(&mut watcher, object).await);
    let mut nobody = Client::connect(guarded.server.address, Encoding::Json).await;
    let session = nobody.session().to_owned();
    enter(&mut nobody, Some(3), Watch::None).await;
    changes.push(presence_change(&mut watcher, object).await);
    phone.leave(object).await;
    changes.push(presence_change(&mut watcher, object).await);
    laptop.leave(of_laptop).await;
    changes.push(presence_change(&mut watcher, object).await);
    assert_eq!(
        changes,
        [
            ("ada".into(), true, 1, 1),
            ("ada".into(), false, 2, 1),
            (session.clone(), true, 3, 2),
            ("ada".into(), false, 2, 2),
            ("ada".into(), true, 1, 1),
        ],
        "whose, whether it is the first or the last, members, users"
    );

    // The user is in the stored roster too.
    let mut ada = guarded.client("ada", &grants).await;
    enter(&mut ada, Some(4), Watch::None).await;
    presence_change(&mut watcher, object).await;
    guarded.server.restart().await;
    let mut watcher = Client::connect(guarded.server.address, Encoding::Json).await;
    let object = enter(&mut watcher, None, Watch::Roster).await;
    let ServerMessage::Roster(roster) = watcher
        .find(|message| matches!(message, ServerMessage::Roster(roster) if roster.object == object))
        .await
    else {
        unreachable!()
    };
    let users: Vec<_> = roster.present.iter().map(|present| &*present.user).collect();
    assert_eq!((users, roster.users), (vec![&*session, "ada"], 2));
}

/// A revoked user cannot reconnect, so that its members have no grace period.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_user_leaves_rosters_at_once() {
    let guarded = Guarded::start(|config| {
        config.presence.grace = Duration::from_mins(1);
    })
    .await;
    let grants = ["room/a: join, presence"];
    let mut watcher = guarded.client("bob", &grants).await;
    let object = enter(&mut watcher, None, Watch::Roster).await;
    let mut ada = guarded.client("ada", &grants).await;
    enter(&mut ada, Some(1), Watch::None).await;
    presence_change(&mut watcher, object).await;
    revoke(&guarded.server, &["user", "ada"]);
    let gone = presence_change(&mut watcher, object).await;
    assert_eq!(gone, ("ada".into(), true, 0, 0));
}

/// Joins `room/a`, with this presence.
async fn enter(client: &mut Client, presence: Option<i32>, watch: Watch) -> u64 {
    let id = client.id();
    let presence = presence.map(|presence| Payload::of(&presence).unwrap());
    let join = Join { presence, watch, ..Join::new(id, "room/a".parse().unwrap(), Start::Now) };
    client.send(&ClientMessage::Join(join)).await;
    match client.reply(id).await {
        ServerMessage::Joined(joined) => joined.object,
        other => panic!("{other:?}"),
    }
}

/// The next change of one member: whose it is, whether it is the user's first or last, and the counts of members and users.
async fn presence_change(client: &mut Client, object: u64) -> (String, bool, u32, u32) {
    let found = client
        .find(
            |message| matches!(message, ServerMessage::Presence(change) if change.object == object),
        )
        .await;
    let ServerMessage::Presence(change) = found else { unreachable!() };
    let (user, is_edge) = match (&*change.join, &*change.leave) {
        ([arrival], []) => (&arrival.user, arrival.first),
        ([], [departure]) => (&departure.user, departure.last),
        _ => panic!("{change:?}"),
    };
    (user.as_ref().into(), is_edge, change.members, change.users)
}
