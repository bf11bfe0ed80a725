//! Promise 8, presence tells the truth: who watches sees the roster, then every change of it, and all see the same.

use std::time::Duration;

use dormouse::config::Config;
use dormouse_protocol::{
    ClientMessage, Encoding, ErrorCode, Join, Leave, Payload, PresenceSet, Start, Watch,
};

use crate::checked_client::{
    CheckedClient, arrive, enter, nobody_woke, present, says, wakes, watcher,
};
use crate::client::ENCODINGS;
use crate::server::TestServer;

/// Changes are told soon.
fn quick(config: &mut Config) {
    config.presence.interval = Duration::from_millis(10);
}

/// Changes are told at once if nothing was told of late, and then not before much has happened.
fn gathering(config: &mut Config) {
    config.presence.interval = Duration::from_secs(4);
}

/// Promises 8 and 6: the roster first, then each change by its version; and the object sleeps on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_sees_the_roster_and_then_every_change() {
    let server = TestServer::start(quick).await;
    let (mut ann, joined) = arrive(&server, "room/a", "ann").await;
    let object = joined.object;
    let (mut watcher, _) = watcher(&server, "room/a").await;
    watcher.until_names(object, &["ann"]).await;
    let (mut bob, _) = arrive(&server, "room/a", "bob").await;
    watcher.until_names(object, &["ann", "bob"]).await;
    ann.set(object, Some("Ann")).await;
    watcher.until_names(object, &["Ann", "bob"]).await;
    bob.leave(object).await;
    watcher.until_names(object, &["Ann"]).await;

    let sight = watcher.sight(object);
    assert_eq!(sight.rosters.len(), 1);
    assert_eq!((sight.members, sight.users), (1, 1));
    let (user, _) = &sight.present[&joined.member];
    assert_eq!(**user, *ann.session);
    nobody_woke(&server).await;
}

/// Promise 8: all who watch are told the same under the same versions, in either encoding, on every reactor, whenever they came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_who_watch_see_the_same_versions() {
    let server = TestServer::start(quick).await;
    let mut watchers = Vec::new();
    let (mut dot, joined) = arrive(&server, "room/a", "0").await;
    let object = joined.object;
    for round in 1..=6 {
        for encoding in ENCODINGS {
            let mut client = CheckedClient::connect(server.address, encoding).await;
            client.join(enter("room/a", Watch::Roster)).await;
            watchers.push(client);
        }
        dot.set(object, Some(&round.to_string())).await;
        let (_, other) = arrive(&server, "room/a", "passer-by").await;
        assert_eq!(other.object, object);
    }
    // Those who passed by have gone with their connections, and may come back: they are seen.
    dot.set(object, Some("end")).await;
    for watcher in &mut watchers {
        let is_end = |name: &String| name == "end";
        watcher.until(object, |seen| seen.members == 7 && seen.names().iter().any(is_end)).await;
    }
    let last = watchers.iter().map(|watcher| watcher.sight(object).version).max().unwrap();
    for watcher in &mut watchers {
        watcher.until(object, |seen| seen.version == last).await;
    }
    let first = watchers[0].sight(object);
    for watcher in &watchers[1..] {
        let sight = watcher.sight(object);
        assert_eq!(sight.present, first.present);
        assert!(first.told.ends_with(&sight.told), "{:?} in {:?}", sight.told, first.told);
    }
    nobody_woke(&server).await;
}

/// Promise 8: who only counts gets the same messages with nobody in them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_the_counts_is_told_the_same_versions_without_the_members() {
    let server = TestServer::start(quick).await;
    let (_ann, _) = arrive(&server, "room/a", "ann").await;
    let (mut watcher, object) = watcher(&server, "room/a").await;
    watcher.until_names(object, &["ann"]).await;
    let mut counter = CheckedClient::connect(server.address, Encoding::Msgpack).await;
    counter.join(enter("room/a", Watch::Count)).await;
    let roster = counter.sight(object).rosters[0].clone();
    assert_eq!((roster.members, roster.users, roster.present.len()), (1, 1, 0));

    let (mut bob, _) = arrive(&server, "room/a", "bob").await;
    watcher.until_names(object, &["ann", "bob"]).await;
    let mut bob_again = CheckedClient::again(server.address, Encoding::Json, &bob.token).await;
    bob_again.join(present("room/a", "bob's")).await;
    watcher.until_names(object, &["ann", "bob", "bob's"]).await;
    bob.set(object, Some("Bob")).await;
    watcher.until_names(object, &["Bob", "ann", "bob's"]).await;
    bob_again.leave(object).await;
    watcher.until_names(object, &["Bob", "ann"]).await;

    let version = watcher.sight(object).version;
    counter.until(object, |seen| seen.version == version).await;
    let counts = |client: &CheckedClient| -> Vec<_> {
        let told = client.sight(object).told.iter();
        told.map(|changes| (changes.version, changes.members, changes.users)).collect()
    };
    assert_eq!(counts(&counter), counts(&watcher));
    assert_eq!(
        counts(&counter).iter().map(|count| (count.1, count.2)).collect::<Vec<_>>(),
        [(2, 2), (3, 2), (3, 2), (2, 2)]
    );
}

/// Promise 8: the first connection of a user and the last one are told apart from those in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_users_first_arrival_and_last_departure_are_marked() {
    let server = TestServer::start(quick).await;
    let (mut watcher, object) = watcher(&server, "room/a").await;
    let (mut phone, _) = arrive(&server, "room/a", "phone").await;
    watcher.until_names(object, &["phone"]).await;
    let mut desk = CheckedClient::again(server.address, Encoding::Json, &phone.token).await;
    desk.join(present("room/a", "desk")).await;
    watcher.until_names(object, &["desk", "phone"]).await;
    assert_eq!((watcher.sight(object).members, watcher.sight(object).users), (2, 1));
    phone.leave(object).await;
    watcher.until_names(object, &["desk"]).await;
    desk.leave(object).await;
    watcher.until_names(object, &[]).await;
    let told = &watcher.sight(object).told;
    let first: Vec<_> = told.iter().flat_map(|told| &told.join).map(|came| came.first).collect();
    let last: Vec<_> = told.iter().flat_map(|told| &told.leave).map(|gone| gone.last).collect();
    assert_eq!((first, last), (vec![true, false], vec![false, true]));
}

/// Promise 8: a member without presence is nobody in the roster, and hears nothing that it does not watch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_of_itself_is_not_in_the_roster() {
    let server = TestServer::start(quick).await;
    let (mut watcher, object) = watcher(&server, "room/a").await;
    let mut mute = CheckedClient::connect(server.address, Encoding::Msgpack).await;
    let joined = mute.join(enter("room/a", Watch::None)).await;
    let (mut mark, _) = arrive(&server, "room/a", "mark").await;
    watcher.until_names(object, &["mark"]).await;
    assert_eq!(watcher.sight(object).told.len(), 1);
    // It can come in later, under the number that it has, and go again without leaving.
    mute.set(object, Some("mute")).await;
    watcher.until_names(object, &["mark", "mute"]).await;
    assert!(watcher.sight(object).present.contains_key(&joined.member));
    mute.set(object, None).await;
    watcher.until_names(object, &["mark"]).await;
    mute.set(object, None).await;
    mute.set(object, Some("mute again")).await;
    watcher.until_names(object, &["mark", "mute again"]).await;
    mute.leave(object).await;
    watcher.until_names(object, &["mark"]).await;
    assert_eq!(watcher.sight(object).told.len(), 5);
    mark.ping().await;
    mute.ping().await;
}

/// Promise 8: what changes back before it is told is told to nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_to_nothing_between_two_tellings_is_not_told() {
    let server = TestServer::start(gathering).await;
    let (mut watcher, object) = watcher(&server, "room/a").await;
    let (mut ann, joined) = arrive(&server, "room/a", "ann").await;
    watcher.until_names(object, &["ann"]).await;
    let (mut bob, _) = arrive(&server, "room/a", "bob").await;
    bob.leave(object).await;
    ann.set(object, Some("Ann")).await;
    ann.set(object, Some("ann")).await;
    ann.set(object, None).await;
    ann.set(object, Some("ann")).await;
    let (_mark, mark) = arrive(&server, "room/a", "mark").await;
    watcher.until_names(object, &["ann", "mark"]).await;
    let told = &watcher.sight(object).told;
    assert_eq!(told.len(), 2);
    let numbers: Vec<_> = told[1].join.iter().map(|came| came.member).collect();
    assert_eq!((numbers, told[1].update.len(), told[1].leave.len()), (vec![mark.member], 0, 0));
    assert!(watcher.sight(object).present.contains_key(&joined.member));
}

/// Promises 8 and 9: what a member says of itself is bounded, and so is the roster; refused, it changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_and_rosters_have_bounds() {
    let server = TestServer::start(|config| {
        quick(config);
        config.limits.presence_bytes = 16;
        config.limits.roster_members = 2;
    })
    .await;
    let (mut watcher, object) = watcher(&server, "room/a").await;
    let mut client = CheckedClient::connect(server.address, Encoding::Msgpack).await;
    // One byte of MessagePack goes before a text this short.
    let long = "x".repeat(16);
    let id = client.ask(|id| ClientMessage::Join(Join { id, ..present("room/a", &long) })).await;
    assert_eq!(client.refusal(id).await, ErrorCode::PresenceTooLarge);
    client.join(present("room/a", &long[1..])).await;
    let data = Some(says(&long));
    let id = client.ask(|id| ClientMessage::PresenceSet(PresenceSet { id, object, data })).await;
    assert_eq!(client.refusal(id).await, ErrorCode::PresenceTooLarge);
    watcher.until_names(object, &[&long[1..]]).await;

    let (mut bob, _) = arrive(&server, "room/a", "bob").await;
    let mut cat = CheckedClient::connect(server.address, Encoding::Json).await;
    let id = cat.ask(|id| ClientMessage::Join(Join { id, ..present("room/a", "cat") })).await;
    assert_eq!(cat.refusal(id).await, ErrorCode::RosterFull);
    // It was not made a member: it can join, and still is not in the roster.
    cat.join(enter("room/a", Watch::None)).await;
    let data = Some(says("cat"));
    let id = cat.ask(|id| ClientMessage::PresenceSet(PresenceSet { id, object, data })).await;
    assert_eq!(cat.refusal(id).await, ErrorCode::RosterFull);
    watcher.until_names(object, &["bob", &long[1..]]).await;
    bob.leave(object).await;
    cat.set(object, Some("cat")).await;
    watcher.until_names(object, &["cat", &long[1..]]).await;
    for code in ["presence_too_large", "roster_full"] {
        let errors = format!("dormouse_request_errors_total{{code=\"{code}\"}}");
        assert_eq!(server.metric(&errors).await, 2, "{code}");
    }
    assert_eq!(server.metric("dormouse_presence_full_total").await, 2);
    // Not a number of an object that it has joined.
    let get = PresenceSet { id: 99, object: object + 1, data: Some(Payload::of(&1).unwrap()) };
    let id = cat.ask(|id| ClientMessage::PresenceSet(PresenceSet { id, ..get })).await;
    assert_eq!(cat.refusal(id).await, ErrorCode::NotJoined);
}

/// Promise 8: one connection may be in several objects, and watch each in its own way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_watches_several_objects() {
    let server = TestServer::start(quick).await;
    let mut client = CheckedClient::connect(server.address, Encoding::Json).await;
    let a = client.join(Join { watch: Watch::Roster, ..present("room/a", "me") }).await;
    let b = client.join(Join { watch: Watch::Count, ..present("room/b", "me") }).await;
    let c = client.join(enter("room/c", Watch::Roster)).await;
    let d = client.join(present("room/d", "me")).await;
    let mut other = CheckedClient::connect(server.address, Encoding::Msgpack).await;
    for name in ["room/a", "room/b", "room/c", "room/d"] {
        other.join(present(name, "other")).await;
    }
    client.until_names(a.object, &["me", "other"]).await;
    client.until(b.object, |seen| seen.members == 2).await;
    client.until_names(c.object, &["other"]).await;
    // To leave one of them is nothing to the others.
    client.leave(a.object).await;
    other.leave(b.object).await;
    other.leave(d.object).await;
    client.until(b.object, |seen| seen.members == 1).await;
    // Whoever goes leaves them all.
    let (mut watcher, _) = watcher(&server, "room/d").await;
    watcher.until_names(d.object, &["me"]).await;
    watcher.join(enter("room/b", Watch::Roster)).await;
    watcher.until_names(b.object, &["me"]).await;
    client.close(&1000_u16.to_be_bytes()).await;
    watcher.until_names(d.object, &[]).await;
    watcher.until_names(b.object, &[]).await;
    nobody_woke(&server).await;
}

/// Promise 8: a membership hears nothing that was meant for the one before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_and_joins_at_once_sees_a_roster_of_its_own() {
    let server = TestServer::start(quick).await;
    let (mut busy, joined) = arrive(&server, "room/a", "0").await;
    let object = joined.object;
    let mut client = CheckedClient::connect(server.address, Encoding::Msgpack).await;
    for round in 0..50 {
        // Without waiting for what is on its way to the memberships that end here, which is of another kind.
        let name = format!("client {round}");
        let mut requests = Vec::new();
        for watch in [Watch::Count, Watch::Roster, Watch::Count, Watch::Roster] {
            let join = Join { watch, ..present("room/a", &name) };
            requests.push(client.note(|id| ClientMessage::Join(Join { id, ..join })));
            requests.push(client.note(|id| ClientMessage::Leave(Leave { id, object })));
        }
        requests.pop();
        client.raw.requests(&requests).await;
        let spoken = round.to_string();
        busy.set(object, Some(&spoken)).await;
        let ClientMessage::Join(last) = requests.last().unwrap() else { unreachable!() };
        client.reply(last.id).await;
        client.until_names(object, &[&spoken, &name]).await;
        assert_eq!(client.sight(object).rosters.len(), 1);
        client.leave(object).await;
    }
}

/// Promises 8 and 6: the roster comes after the reply to a join that waits for a page of the log, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_with_a_past_sees_the_roster_too() {
    let server = TestServer::start(quick).await;
    let mut publisher = crate::client::Client::connect(server.address, Encoding::Msgpack).await;
    let object = publisher.join_now("room/a").await;
    publisher.publish_all(object, 0..50).await;
    let (_ann, _) = arrive(&server, "room/a", "ann").await;
    for encoding in ENCODINGS {
        let mut client = CheckedClient::connect(server.address, encoding).await;
        let from = Start::All;
        let joined = client.join(Join { from, ..enter("room/a", Watch::Roster) }).await;
        assert_eq!((joined.from, joined.head), (0, 50));
        client.until_names(object, &["ann"]).await;
    }
    // The publisher's, and none besides.
    assert_eq!(wakes(&server).await, 1);
}
