//! API keys of back ends: made and revoked at a running server, with grants, on disk as hashes.

use std::process::Output;

use dormouse_protocol::{Encoding, ServerMessage};

use crate::guarded::{Guarded, UNAUTHORIZED, connect, may_join};
use crate::server::TestServer;
use crate::support::dormouse;

/// Runs `dormouse api-key` at a server; its output.
async fn api_key(server: &TestServer, args: &[&str]) -> Result<String, String> {
    let url = format!("http://{}", server.internal);
    let args: Vec<String> =
        ["api-key"].iter().chain(args).chain(&["--url", &url]).map(ToString::to_string).collect();
    let run = move || dormouse(&args.iter().map(String::as_str).collect::<Vec<_>>()).output();
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(run).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if status.success() { Ok(text(stdout)) } else { Err(text(stderr)) }
}

async fn create(server: &TestServer, name: &str, grant: &str) -> Result<String, String> {
    let key = api_key(server, &["create", name, "--grant", grant]).await?;
    Ok(key.trim_end().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_back_end_may_do_what_its_key_allows_until_that_is_revoked() {
    let mut guarded = Guarded::start(|_| {}).await;
    let key = create(&guarded.server, "shop", "room/*: join, publish").await.unwrap();
    let other = create(&guarded.server, "mail", "room/mail: join").await.unwrap();
    assert!(api_key(&guarded.server, &["list"]).await.unwrap().contains("never used"));
    for encoding in [Encoding::Json, Encoding::Msgpack] {
        let mut shop = connect(guarded.server.address, encoding, &key).await.unwrap();
        let object = shop.join_now("room/a").await;
        shop.publish(object, 1).await;
        let ServerMessage::Events(events) = shop.next_of(object).await else { panic!() };
        assert_eq!(events.events[0].user, None, "a key is no user");
        let mut mail = connect(guarded.server.address, encoding, &other).await.unwrap();
        assert!(may_join(&mut mail, "room/mail").await && !may_join(&mut mail, "room/a").await);
    }
    let check = |key: &str| {
        let data = guarded.server.config.data.clone();
        let mut command = dormouse(&["token", "check", key]);
        command.arg("--data").arg(data).output().unwrap()
    };
    assert!(String::from_utf8(check(&key).stdout).unwrap().contains("API key: shop"));

    // Keys and their last use survive a restart, and no key is on the disk.
    let before = api_key(&guarded.server, &["list"]).await.unwrap();
    assert!(before.contains("shop, made at ") && before.contains("  room/*: join, publish"));
    assert!(!before.contains("never used"), "{before}");
    guarded.server.restart().await;
    assert_eq!(api_key(&guarded.server, &["list"]).await.unwrap(), before);
    let file = guarded.server.config.data.join("api_keys.json");
    let stored = std::fs::read_to_string(file).unwrap();
    assert!(stored.contains("shop") && !stored.contains(&key["dormouse_key_".len()..]));

    let mut shop = connect(guarded.server.address, Encoding::Json, &key).await.unwrap();
    let mut mail = connect(guarded.server.address, Encoding::Json, &other).await.unwrap();
    let revoked = api_key(&guarded.server, &["revoke", "shop"]).await.unwrap();
    assert_eq!(revoked, "revoked; connections closed: 1\n");
    assert_eq!(shop.arrive().await, Err(UNAUTHORIZED));
    let again = connect(guarded.server.address, Encoding::Json, &key).await.err();
    assert_eq!(again, Some(UNAUTHORIZED));
    mail.ping().await;
    guarded.server.restart().await;
    let again = connect(guarded.server.address, Encoding::Json, &key).await.err();
    assert_eq!(again, Some(UNAUTHORIZED), "also after a restart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_api_key_is_refused_with_a_reason() {
    let guarded = Guarded::start(|_| {}).await;
    let server = &guarded.server;
    let key = create(server, "shop", "room/*: join").await.unwrap();
    let taken = create(server, "shop", "room/*: join").await.unwrap_err();
    assert!(taken.contains("there is an API key of this name"), "{taken}");
    for name in ["", "a b", "über", &"x".repeat(65)] {
        let refused = create(server, name, "room/*: join").await.unwrap_err();
        assert!(refused.contains("name has 1-64 bytes"), "{name}: {refused}");
    }
    assert!(create(server, "b", "room/*: fly").await.is_err(), "no verb");
    let missing = api_key(server, &["revoke", "other"]).await.unwrap_err();
    assert!(missing.contains("dormouse api-key list"), "{missing}");
    let cut = &key[..key.len() - 1];
    for bad in [cut, "dormouse_key_", "dormouse_key_AAAA", &format!("{key}A"), &key.to_uppercase()]
    {
        let refused = connect(server.address, Encoding::Json, bad).await.err();
        assert_eq!(refused, Some(UNAUTHORIZED), "{bad}");
    }
}

/// Otherwise the first key would lock out every client that is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_key_of_an_open_server_counts_after_its_next_start() {
    let mut server = TestServer::start(|_| {}).await;
    let key = create(&server, "shop", "room/*: join").await.unwrap();
    let mut open = crate::client::Client::connect(server.address, Encoding::Json).await;
    assert!(may_join(&mut open, "room/a").await);
    server.restart().await;
    let address = server.address;
    assert!(crate::client::Client::try_connect(address, Encoding::Json, None).await.is_err());
    assert!(connect(address, Encoding::Json, &key).await.is_ok());
}
