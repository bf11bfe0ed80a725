//! Promise 8, presence tells the truth about those who are away: who has left is gone at once, and so are dead peers; who may
//! come back is missed by nobody within the grace period, over restarts too.

use std::time::Duration;

use dormouse::config::Config;
use dormouse_protocol::{Encoding, Join, Joined, Watch};

use crate::checked_client::{CheckedClient, all, arrive, enter, nobody_woke, present, watcher};
use crate::client::ENCODINGS;
use crate::raw::{PING, TEXT, frame};
use crate::server::TestServer;

const LOST: &str = "dormouse_presence_lost_total";

/// Whoever is lost stays for longer than any test.
fn patient(config: &mut Config) {
    config.presence.interval = Duration::from_millis(10);
    config.presence.grace = Duration::from_mins(5);
}

/// Whoever is lost is gone soon.
fn impatient(config: &mut Config) {
    config.presence.interval = Duration::from_millis(10);
    config.presence.grace = Duration::from_millis(50);
}

/// Another connection of the same session.
async fn again(server: &TestServer, client: &CheckedClient) -> CheckedClient {
    CheckedClient::again(server.address, Encoding::Msgpack, &client.token).await
}

/// Shows that nothing was told besides `count` changes: the next one is that of the mark.
async fn only(server: &TestServer, watcher: &mut CheckedClient, object: u64, count: usize) {
    let (_mark, mark) = arrive(server, "room/a", "mark").await;
    watcher.until(object, |seen| seen.present.contains_key(&mark.member)).await;
    let told = &watcher.sight(object).told;
    assert_eq!(told.len(), count + 1, "{told:?}");
    let last = told.last().unwrap();
    assert_eq!((last.join.len(), last.update.len(), last.leave.len()), (1, 0, 0), "{last:?}");
}

/// Promises 8 and 6: a leave, and a close with 1000, are told without any grace; the object sleeps on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_its_leave_is_gone_at_once() {
    let server = TestServer::start(patient).await;
    let (mut watcher, object) = watcher(&server, "room/a").await;
    let (mut ann, _) = arrive(&server, "room/a", "ann").await;
    let (bob, _) = arrive(&server, "room/a", "bob").await;
    let (mut cat, _) = arrive(&server, "room/a", "cat").await;
    watcher.until_names(object, &["ann", "bob", "cat"]).await;
    ann.leave(object).await;
    watcher.until_names(object, &["bob", "cat"]).await;
    bob.close(&1000_u16.to_be_bytes()).await;
    watcher.until_names(object, &["cat"]).await;
    cat.set(object, None).await;
    watcher.until_names(object, &[]).await;
    let gone = watcher.sight(object).told.iter().flat_map(|told| &told.leave);
    assert!(gone.clone().count() == 3 && gone.into_iter().all(|gone| gone.last));
    assert_eq!(server.metric(LOST).await, 0);
    nobody_woke(&server).await;
}

/// Promise 8: half-open peers leave within a stated time, that of a ping and the wait for its answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_peer_is_gone_with_its_ping() {
    let server = TestServer::start(|config| {
        patient(config);
        config.liveness.ping_interval = Duration::from_millis(700);
        config.liveness.pong_timeout = Duration::from_millis(1_500);
    })
    .await;
    let (mut watcher, object) = watcher(&server, "room/a").await;
    // It never reads again, and so answers no ping.
    let (dead, joined) = arrive(&server, "room/a", "dead").await;
    watcher.until_names(object, &["dead"]).await;
    watcher.until_names(object, &[]).await;
    let gone = &watcher.sight(object).told.last().unwrap().leave;
    assert_eq!((gone.len(), gone[0].member, gone[0].last), (1, joined.member, true));
    assert_eq!(server.metric("dormouse_closes_total{code=\"ping_timeout\"}").await, 1);
    assert_eq!(server.metric(LOST).await, 0);
    drop(dead);
    nobody_woke(&server).await;
}

/// Promise 8: any other end of a connection may be the beginning of the next: nobody is told when that comes in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_within_the_grace_period_was_never_away() {
    let server = TestServer::start(patient).await;
    let (mut watcher, object) = watcher(&server, "room/a").await;
    let (mut ann, first) = arrive(&server, "room/a", "ann").await;
    watcher.until_names(object, &["ann"]).await;
    let close = |code: u16| frame(crate::raw::CLOSE, &code.to_be_bytes());
    let ends: [(&str, Vec<u8>); 6] = [
        ("cut", Vec::new()),
        ("a page that is loaded again", close(1001)),
        ("a close for a reason of its own", close(4000)),
        ("a broken frame", vec![0xFF, 0x00]),
        ("text where the encoding is binary", frame(TEXT, b"{}")),
        ("a ping that is cut off", frame(PING, b"1234")[..5].to_vec()),
    ];
    for (round, (end, bytes)) in ends.iter().enumerate() {
        ann.raw.send(bytes).await;
        let mut next = again(&server, &ann).await;
        drop(ann);
        server.metric_is(LOST, |lost| lost == round as u64 + 1).await;
        // With the number that it had, or without.
        let member = (round % 2 == 0).then_some(first.member);
        let joined = next.join(Join { member, ..present("room/a", "ann") }).await;
        assert_eq!(joined.member, first.member, "{end}");
        ann = next;
    }
    assert_eq!(server.metric("dormouse_presence_returns_total").await, 6);
    only(&server, &mut watcher, object, 1).await;
    // What it says of itself may have changed meanwhile; that is told.
    let mut next = again(&server, &ann).await;
    drop(ann);
    // The mark was lost too.
    server.metric_is(LOST, |lost| lost == 8).await;
    next.join(present("room/a", "Ann")).await;
    watcher.until_names(object, &["Ann", "mark"]).await;
    let told = watcher.sight(object).told.last().unwrap();
    assert_eq!((told.join.len(), told.update.len(), told.leave.len()), (0, 1, 0));
    nobody_woke(&server).await;
}

/// Promise 8: who does not come back is gone after the grace period, and is somebody new afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_come_back_is_gone_after_the_grace_period() {
    let server = TestServer::start(impatient).await;
    let (mut watcher, object) = watcher(&server, "room/a").await;
    for _ in 0..3 {
        let (ann, first) = arrive(&server, "room/a", "ann").await;
        watcher.until_names(object, &["ann"]).await;
        let mut next = again(&server, &ann).await;
        drop(ann);
        watcher.until_names(object, &[]).await;
        let gone = &watcher.sight(object).told.last().unwrap().leave;
        assert_eq!((gone.len(), gone[0].member, gone[0].last), (1, first.member, true));
        let member = Some(first.member);
        let joined = next.join(Join { member, ..present("room/a", "ann again") }).await;
        assert!(joined.member > first.member, "{joined:?}");
        watcher.until_names(object, &["ann again"]).await;
        next.leave(object).await;
        watcher.until_names(object, &[]).await;
    }
}

/// Promise 8: without a grace period a lost connection is a departure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_grace_period_every_end_is_a_departure() {
    let server = TestServer::start(|config| {
        config.presence.interval = Duration::from_millis(10);
        config.presence.grace = Duration::ZERO;
    })
    .await;
    let (mut watcher, object) = watcher(&server, "room/a").await;
    let (ann, _) = arrive(&server, "room/a", "ann").await;
    watcher.until_names(object, &["ann"]).await;
    drop(ann);
    watcher.until_names(object, &[]).await;
}

/// Promise 8: of several connections of a user only those are away that are lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_connection_of_a_user_has_its_own_place() {
    let server = TestServer::start(patient).await;
    let (mut watcher, object) = watcher(&server, "room/a").await;
    let (phone, _) = arrive(&server, "room/a", "phone").await;
    watcher.until_names(object, &["phone"]).await;
    let mut desk = again(&server, &phone).await;
    let desk_first = desk.join(present("room/a", "desk")).await;
    watcher.until_names(object, &["desk", "phone"]).await;
    let mut next = again(&server, &desk).await;
    drop(desk);
    server.metric_is(LOST, |lost| lost == 1).await;
    // Its own place is free, the phone's is not; and who does not say who it was may be a new one, since the phone is here.
    let member = Some(desk_first.member);
    let joined = next.join(Join { member, ..present("room/a", "desk") }).await;
    assert_eq!(joined.member, desk_first.member);
    let mut third = again(&server, &phone).await;
    let joined = third.join(present("room/a", "watch")).await;
    assert!(joined.member > desk_first.member);
    watcher.until_names(object, &["desk", "phone", "watch"]).await;
    // The phone's is not taken away by another session either.
    let mut thief = CheckedClient::connect(server.address, Encoding::Json).await;
    let member = Some(desk_first.member);
    let joined = thief.join(Join { member, ..present("room/a", "thief") }).await;
    assert_ne!(joined.member, desk_first.member);
    watcher.until_names(object, &["desk", "phone", "thief", "watch"]).await;
    assert_eq!(watcher.sight(object).users, 2);
    assert_eq!(watcher.sight(object).told.len(), 4);
}

/// Promise 8: who comes back before its old connection is known to be lost takes its place, and what the old one does then is
/// nobody's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_is_taken_over_while_the_old_connection_is_open() {
    let server = TestServer::start(patient).await;
    let (mut watcher, object) = watcher(&server, "room/a").await;
    for end in 0..4 {
        let name = format!("ann {end}");
        let (mut old, first) = arrive(&server, "room/a", &name).await;
        watcher.until_names(object, &[&name]).await;
        let before = watcher.sight(object).told.len();
        let mut new = again(&server, &old).await;
        let member = Some(first.member);
        let joined = new.join(Join { member, ..present("room/a", &name) }).await;
        assert_eq!(joined.member, first.member);
        old.set(object, Some("not hers any more")).await;
        old.set(object, None).await;
        match end {
            0 => old.leave(object).await,
            1 => old.close(&1000_u16.to_be_bytes()).await,
            2 => old.close(&1001_u16.to_be_bytes()).await,
            _ => drop(old),
        }
        // The new one's change is the next that is told.
        let changed = format!("{name}!");
        server.metric_is("dormouse_members", |members| members == 2).await;
        new.set(object, Some(&changed)).await;
        watcher.until_names(object, &[&changed]).await;
        let told = &watcher.sight(object).told;
        assert_eq!((told.len(), told[before].update.len()), (before + 1, 1));
        new.leave(object).await;
        watcher.until_names(object, &[]).await;
    }
    assert_eq!(server.metric(LOST).await, 0);
}

/// Who is in `room/a` and does not answer any more.
async fn three(server: &TestServer) -> [(CheckedClient, Joined); 3] {
    let mut clients = Vec::new();
    for name in ["ann", "bob", "cat"] {
        clients.push(arrive(server, "room/a", name).await);
    }
    clients.try_into().ok().unwrap()
}

/// Promises 8 and 6: presence survives a restart. Who comes back keeps its number, and nobody is told; who does not is still there
/// until the grace period ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_is_told_to_nobody() {
    let mut server = TestServer::start(patient).await;
    let [(ann, ann_first), (bob, bob_first), (cat, cat_first)] = three(&server).await;
    let object = ann_first.object;
    let (mut before, _) = watcher(&server, "room/a").await;
    before.until_names(object, &["ann", "bob", "cat"]).await;
    let seen = before.sight(object).clone();
    let (ann_token, bob_token) = (ann.token.clone(), bob.token.clone());
    drop((ann, bob, cat, before));
    server.restart().await;

    let (mut watcher, object) = watcher(&server, "room/a").await;
    watcher.until_names(object, &["ann", "bob", "cat"]).await;
    let sight = watcher.sight(object);
    assert_eq!((&sight.present, sight.users), (&seen.present, 3));
    assert!(sight.version > seen.version, "a version is not used twice");
    let [mut ann, mut bob] = [
        CheckedClient::again(server.address, Encoding::Json, &ann_token).await,
        CheckedClient::again(server.address, Encoding::Msgpack, &bob_token).await,
    ];
    let member = Some(ann_first.member);
    let joined = ann.join(Join { member, ..present("room/a", "ann") }).await;
    assert_eq!(joined.member, ann_first.member);
    // Bob has forgotten which member it was.
    assert_eq!(bob.join(present("room/a", "bob")).await.member, bob_first.member);
    only(&server, &mut watcher, object, 0).await;
    let last_before = cat_first.member;
    assert!(watcher.sight(object).present.keys().last() > Some(&last_before));
    // What they do from now on is told as ever.
    ann.leave(object).await;
    bob.set(object, Some("Bob")).await;
    watcher.until_names(object, &["Bob", "cat", "mark"]).await;

    // What had a version before the restart is not continued: the whole roster comes.
    let mut late = CheckedClient::connect(server.address, Encoding::Json).await;
    let watch = Watch::Since(seen.version);
    late.memory = Some(seen);
    late.join(enter("room/a", watch)).await;
    late.until_names(object, &["Bob", "cat", "mark"]).await;
    late.until(object, |sight| !sight.rosters.is_empty()).await;
    assert_eq!(late.sight(object).rosters[0].since, None);
    nobody_woke(&server).await;
}

/// Promise 8: who does not come back after a restart is gone when the grace period has passed since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_come_back_after_a_restart_is_gone() {
    let mut server = TestServer::start(patient).await;
    let clients = three(&server).await;
    let (mut before, object) = watcher(&server, "room/a").await;
    before.until_names(object, &["ann", "bob", "cat"]).await;
    drop((clients, before));
    server.stop().await;
    server.config.presence.grace = Duration::from_secs(3);
    server.start_again().await;
    let (mut watcher, object) = watcher(&server, "room/a").await;
    watcher.until_names(object, &[]).await;
    let mut gone: Vec<_> = watcher.sight(object).told.iter().flat_map(|told| &told.leave).collect();
    gone.sort_by_key(|gone| gone.member);
    // None of them where the machine was too slow to look in time.
    assert!(gone.is_empty() || gone.len() == 3 && gone.iter().all(|gone| gone.last), "{gone:?}");

    // And for good: the next start does not know of them.
    drop(watcher);
    server.config.presence.grace = Duration::from_mins(5);
    server.restart().await;
    let (watcher, object) = self::watcher(&server, "room/a").await;
    assert_eq!(watcher.sight(object).members, 0);
}

/// Promise 8: a roster that nobody has looked at since a restart ends as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roster_that_nobody_opens_after_a_restart_ends_too() {
    let mut server = TestServer::start(patient).await;
    let clients = three(&server).await;
    let (mut before, object) = watcher(&server, "room/a").await;
    before.until_names(object, &["ann", "bob", "cat"]).await;
    drop((clients, before));
    server.stop().await;
    server.config.presence.grace = Duration::from_millis(50);
    server.start_again().await;
    // Nobody opens it before all of them are forgotten: which somebody else's end shows, who was lost later.
    let (mut watcher, other) = watcher(&server, "room/b").await;
    let (mark, _) = arrive(&server, "room/b", "mark").await;
    watcher.until_names(other, &["mark"]).await;
    drop(mark);
    watcher.until_names(other, &[]).await;
    drop(watcher);
    server.config.presence.grace = Duration::from_mins(5);
    server.restart().await;
    let (mut watcher, object) = self::watcher(&server, "room/a").await;
    assert_eq!(watcher.get(all(object)).await.members, 0);
}

/// Promise 8: what was not told yet when the server stopped is known after the restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_told_before_a_restart_is_not_forgotten() {
    let mut server = TestServer::start(|config| {
        patient(config);
        config.presence.interval = Duration::from_secs(10);
    })
    .await;
    let (ann, _) = arrive(&server, "room/a", "ann").await;
    let (mut bob, joined) = arrive(&server, "room/a", "bob").await;
    bob.set(joined.object, Some("Bob")).await;
    let bob_token = bob.token.clone();
    drop((ann, bob));
    server.restart().await;
    let (mut watcher, object) = watcher(&server, "room/a").await;
    watcher.until_names(object, &["Bob", "ann"]).await;
    // The first change is told at once, the second not before the end.
    let (_mark, _) = arrive(&server, "room/a", "mark").await;
    watcher.until_names(object, &["Bob", "ann", "mark"]).await;
    let mut bob = CheckedClient::again(server.address, Encoding::Json, &bob_token).await;
    bob.join(present("room/a", "Bob")).await;
    bob.leave(object).await;
    drop((watcher, bob));
    server.restart().await;
    let (mut watcher, object) = self::watcher(&server, "room/a").await;
    watcher.until_names(object, &["ann", "mark"]).await;
}

/// Promise 8: a member that joined without presence has nothing to lose.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_not_in_the_roster_is_not_missed() {
    let server = TestServer::start(patient).await;
    let (mut watcher, object) = watcher(&server, "room/a").await;
    for encoding in ENCODINGS {
        let mut mute = CheckedClient::connect(server.address, encoding).await;
        mute.join(enter("room/a", Watch::None)).await;
        // It was in it, and is not any more.
        mute.set(object, Some("mute")).await;
        watcher.until_names(object, &["mute"]).await;
        mute.set(object, None).await;
        watcher.until_names(object, &[]).await;
        drop(mute);
    }
    server.metric_is("dormouse_members", |members| members == 1).await;
    only(&server, &mut watcher, object, 4).await;
    // The mark.
    server.metric_is(LOST, |lost| lost == 1).await;
}
