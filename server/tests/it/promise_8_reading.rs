//! Promise 8, presence tells the truth to who asks: the whole roster, a page of it, or what has changed since.

use std::time::Duration;

use dormouse::config::Config;
use dormouse_protocol::{ClientMessage, Encoding, ErrorCode, PresenceGet, Watch};

use crate::checked_client::{CheckedClient, all, arrive, enter, nobody_woke, says, watcher};
use crate::server::TestServer;

/// Changes are told soon.
fn quick(config: &mut Config) {
    config.presence.interval = Duration::from_millis(10);
}

/// Promise 8: the roster can be asked for, whole, by pages, only what has changed, or only the counts. Asking wakes nobody (6).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_roster_can_be_asked_for() {
    let server = TestServer::start(|config| {
        quick(config);
        config.limits.roster_page = 4;
    })
    .await;
    let (mut client, joined) = arrive(&server, "room/a", "0").await;
    let object = joined.object;
    let mut others = Vec::new();
    for number in 1..=9 {
        others.push(arrive(&server, "room/a", &number.to_string()).await);
    }
    let counts = loop {
        let counts = client.get(PresenceGet { limit: Some(0), ..all(object) }).await;
        if counts.members == 10 {
            break counts;
        }
    };
    assert_eq!((counts.users, counts.since, counts.present.len()), (10, None, 0));

    let (mut seen, mut pages) = (Vec::new(), Vec::new());
    loop {
        let after = seen.last().copied();
        let page = client.get(PresenceGet { after, ..all(object) }).await;
        assert_eq!((page.version, page.members), (counts.version, 10));
        seen.extend(page.present.iter().map(|present| present.member));
        pages.push(page.present.len());
        if !page.more {
            break;
        }
    }
    assert_eq!(pages, [4, 4, 2]);
    let mut numbers = vec![joined.member];
    numbers.extend(others.iter().map(|(_, other)| other.member));
    assert_eq!(seen, numbers);
    let two = client.get(PresenceGet { limit: Some(2), after: Some(seen[0]), ..all(object) }).await;
    assert_eq!(two.present.iter().map(|p| p.member).collect::<Vec<_>>(), seen[1..3]);
    let many = client.get(PresenceGet { limit: Some(1_000), ..all(object) }).await;
    assert_eq!((many.present.len(), many.more), (4, true));

    // Nothing has changed since now; then one changes and one goes.
    let since = Some(counts.version);
    let none = client.get(PresenceGet { since, ..all(object) }).await;
    assert_eq!((none.since, none.present.len(), none.left.len()), (since, 0, 0));
    others[0].0.set(object, Some("one")).await;
    others[1].0.leave(object).await;
    let changes = loop {
        let changes = client.get(PresenceGet { since, ..all(object) }).await;
        if changes.members == 9 && !changes.present.is_empty() {
            break changes;
        }
    };
    assert_eq!((changes.since, changes.left), (since, vec![others[1].1.member]));
    assert_eq!(changes.present.len(), 1);
    assert_eq!((changes.present[0].member, &changes.present[0].data), (seen[1], &says("one")));
    // What can't be told any more is the roster from its beginning, and so is what was never told.
    for since in [Some(1), Some(changes.version + 1)] {
        let whole = client.get(PresenceGet { since, ..all(object) }).await;
        assert_eq!((whole.since, whole.present.len(), whole.more), (None, 4, true));
    }
    let mut outsider = CheckedClient::connect(server.address, Encoding::Json).await;
    let id = outsider.ask(|id| ClientMessage::PresenceGet(PresenceGet { id, ..all(object) })).await;
    assert_eq!(outsider.refusal(id).await, ErrorCode::NotJoined);
    nobody_woke(&server).await;
}

/// Promise 8: a roster of several pages is read while it changes, and is complete in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_roster_is_read_in_pages_while_it_changes() {
    let server = TestServer::start(|config| {
        quick(config);
        config.limits.roster_page = 3;
    })
    .await;
    let mut others = Vec::new();
    for number in 10..20 {
        others.push(arrive(&server, "room/a", &number.to_string()).await);
    }
    let object = others[0].1.object;
    let (mut witness, _) = watcher(&server, "room/a").await;
    witness.until(object, |seen| seen.members == 10).await;
    let (mut watcher, _) = watcher(&server, "room/a").await;
    assert!(watcher.sight(object).rosters[0].more);
    // One that it knows and one that it does not know yet, of each kind.
    others[1].0.set(object, Some("11!")).await;
    others[8].0.set(object, Some("18!")).await;
    others[2].0.leave(object).await;
    others[7].0.leave(object).await;
    let (_late, _) = arrive(&server, "room/a", "20").await;
    watcher.until(object, |seen| seen.members == 9 && !seen.told.is_empty()).await;
    while watcher.sight(object).is_partial() {
        watcher.page(object).await;
    }
    let names = ["10", "11!", "13", "14", "15", "16", "18!", "19", "20"];
    watcher.until_names(object, &names).await;
}

/// Promise 8: who has an earlier version is told only what has changed, and follows on from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_here_before_gets_only_what_has_changed() {
    let server = TestServer::start(quick).await;
    let mut others = Vec::new();
    for name in ["ann", "bob", "cat"] {
        others.push(arrive(&server, "room/a", name).await);
    }
    let (mut first, object) = watcher(&server, "room/a").await;
    first.until_names(object, &["ann", "bob", "cat"]).await;
    let seen = first.sight(object).clone();
    others[0].0.set(object, Some("Ann")).await;
    others[1].0.leave(object).await;
    let (_dan, _) = arrive(&server, "room/a", "dan").await;
    first.until_names(object, &["Ann", "cat", "dan"]).await;

    let mut second = CheckedClient::connect(server.address, Encoding::Msgpack).await;
    let watch = Watch::Since(seen.version);
    second.memory = Some(seen);
    second.join(enter("room/a", watch)).await;
    second.until_names(object, &["Ann", "cat", "dan"]).await;
    second.until(object, |seen| !seen.rosters.is_empty()).await;
    let roster = &second.sight(object).rosters[0];
    assert!(roster.since.is_some());
    assert_eq!((roster.present.len(), roster.left.len()), (2, 1));
    let (_eve, _) = arrive(&server, "room/a", "eve").await;
    second.until_names(object, &["Ann", "cat", "dan", "eve"]).await;
}
