//! What belongs to a member and not to an instance: its session, encoding, number, position, and what it says of itself.

use std::time::Duration;

use dormouse_protocol::{ClientMessage, Encoding, ErrorCode, Join, PresenceSet, Start, Watch};
use serde_json::json;

use super::{Diary, Hook, NEVER, count, join, put_to_sleep, start, start_with};
use crate::checked_client::{CheckedClient, all, arrive, enter, says, watcher};
use crate::client::{Client, ENCODINGS, number};
use crate::raw::Raw;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c27_what_a_member_says_of_itself_has_a_bound_and_is_kept_over_sleep() {
    let diary = Diary::new();
    let server = start_with(&diary, NEVER, |config| {
        config.limits.presence_bytes = 40;
        config.presence.interval = Duration::from_millis(10);
    })
    .await;
    let (mut watcher, object) = watcher(&server, "test/a").await;
    let (mut ann, joined) = arrive(&server, "test/a", "ann").await;
    let too_long = "a".repeat(40);
    let refused = |presence| Join { presence, ..enter("test/b", Watch::None) };
    let id = ann.ask(|id| ClientMessage::Join(Join { id, ..refused(Some(says(&too_long))) })).await;
    assert_eq!(ann.refusal(id).await, ErrorCode::PresenceTooLarge);
    let data = Some(says(&too_long));
    let id = ann.ask(|id| ClientMessage::PresenceSet(PresenceSet { id, object, data })).await;
    assert_eq!(ann.refusal(id).await, ErrorCode::PresenceTooLarge);

    let (mut client, _) = join(&server, Encoding::Json, "test/a").await;
    for name in ["ann", "Ann", "ANN"] {
        ann.set(object, Some(name)).await;
        assert_eq!(count(&mut client, object).await, 1);
        put_to_sleep(&server, "test/a").await;
        watcher.until_names(object, &[name]).await;
        let roster = watcher.get(all(object)).await;
        // The one that said nothing is not in it.
        assert_eq!((roster.members, roster.present.len()), (1, 1));
        let present = &roster.present[0];
        assert_eq!((present.member, &present.data), (joined.member, &says(name)));
        assert_eq!(*present.user, *ann.session);
    }
    diary.read();
    ann.close(&1000_u16.to_be_bytes()).await;
    watcher.until_names(object, &[]).await;
    assert_eq!(diary.read(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c28_the_encoding_the_session_and_the_membership_are_kept_over_sleep() {
    let diary = Diary::new();
    let server = start(&diary).await;
    for (encoding, name) in ENCODINGS.into_iter().zip(["test/a", "test/b"]) {
        // It would not understand the other encoding, and sees every hole in its stream.
        let mut client = Client::connect(server.address, encoding).await;
        let joined = client.join(name, Start::Now).await;
        let object = joined.object;
        client.caught_up(object).await;
        for offset in 1..=3 {
            assert_eq!(count(&mut client, object).await, 1);
            assert_eq!(client.position(object), offset);
            put_to_sleep(&server, name).await;
            let id = client.send_join(name, Start::Now).await;
            assert_eq!(client.refusal(id).await.code, ErrorCode::AlreadyJoined);
        }
        let log = client.whole_log(object).await;
        assert!(log.iter().all(|event| *event.sender == *client.session()));
        client.nothing_more().await;
        let mut later = Client::connect(server.address, encoding).await;
        let member = later.join(name, Start::Now).await.member;
        assert!(member > joined.member, "its number was not given away");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c29_a_wake_repeats_no_join() {
    let diary = Diary::new();
    let server = start(&diary).await;
    let (mut watcher, object) = watcher(&server, "test/a").await;
    let (mut ann, joined) = arrive(&server, "test/a", "ann").await;
    watcher.until_names(object, &["ann"]).await;
    let (mut client, _) = join(&server, Encoding::Json, "test/a").await;
    let joins = "dormouse_joins_total{outcome=\"fresh\"}";
    let before = server.metric(joins).await;
    for _ in 0..5 {
        assert_eq!(count(&mut client, object).await, 1);
        put_to_sleep(&server, "test/a").await;
    }
    client.nothing_more().await;
    // A second `joined` would not be expected by either, and a change of the roster would be told before the mark.
    ann.ping().await;
    let (_mark, mark) = arrive(&server, "test/a", "mark").await;
    watcher.until_names(object, &["ann", "mark"]).await;
    let sight = watcher.sight(object);
    assert_eq!((sight.rosters.len(), sight.told.len()), (1, 2), "{:?}", sight.told);
    assert_eq!(sight.present.keys().copied().collect::<Vec<_>>(), [joined.member, mark.member]);
    assert_eq!(server.metric(joins).await, before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c30_who_goes_while_the_object_sleeps_leaves_the_roster_and_wakes_nobody() {
    let diary = Diary::new();
    let server = start_with(&diary, NEVER, |config| {
        config.presence.interval = Duration::from_millis(10);
        config.presence.grace = Duration::from_millis(50);
    })
    .await;
    let (mut watcher, object) = watcher(&server, "test/a").await;
    let (ann, _) = arrive(&server, "test/a", "ann").await;
    let (bob, _) = arrive(&server, "test/a", "bob").await;
    let (mut client, _) = join(&server, Encoding::Json, "test/a").await;
    watcher.until_names(object, &["ann", "bob"]).await;
    assert_eq!(count(&mut client, object).await, 1);
    put_to_sleep(&server, "test/a").await;
    diary.read();
    ann.close(&1000_u16.to_be_bytes()).await;
    watcher.until_names(object, &["bob"]).await;
    // Its TCP connection is gone without a close frame.
    drop(bob);
    watcher.until_names(object, &[]).await;
    let left = watcher.sight(object).told.iter().map(|told| told.leave.len());
    assert_eq!(left.sum::<usize>(), 2, "each has left once");
    let asleep = server.object("test/a").await;
    assert_eq!((&asleep["state"], &asleep["wakes"]), (&json!("asleep"), &json!(1)));
    assert_eq!(asleep["members"], 2);
    assert_eq!(diary.read(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c32_only_what_has_no_answer_is_sent_again_and_stored_once() {
    const ANSWERED: u64 = 5;
    const ALL: u64 = 12;
    let diary = Diary::new();
    let server = start(&diary).await;
    let (mut client, object) = join(&server, Encoding::Msgpack, "test/a").await;
    for number in 1..=ANSWERED {
        client.publish_once(object, number, &number.to_string()).await;
    }
    // The connection is lost while the object has these in hand.
    diary.messages.shut();
    for number in ANSWERED + 1..ALL {
        client.send_publish(object, number, Some(&number.to_string())).await;
    }
    client.ping().await;
    let token = client.token().to_owned();
    drop(client);
    server.metric_is("dormouse_connections", |open| open == 0).await;
    diary.messages.open();
    // It does what waits for it, and sleeps.
    put_to_sleep(&server, "test/a").await;
    assert_eq!(diary.read().last(), Some(&Hook::Gone));

    let mut client = Client::resume(server.address, Encoding::Json, &token).await;
    let joined = client.join("test/a", Start::Now).await;
    assert_eq!(joined.head, ALL - 1);
    client.caught_up(joined.object).await;
    let mut ids = Vec::new();
    for number in ANSWERED + 1..=ALL {
        let key = number.to_string();
        ids.push((number, client.send_publish(joined.object, number, Some(&key)).await));
    }
    for (number, id) in ids {
        let published = client.published(id).await;
        // The last was never sent before.
        assert_eq!((published.offset, published.duplicate), (number, number < ALL));
    }
    let log = client.whole_log(joined.object).await;
    assert!(log.iter().map(number).eq(1..=ALL));
    let answered = "dormouse_publish_duplicates_total";
    assert_eq!(server.metric(answered).await, ALL - 1 - ANSWERED);
    assert_eq!(client.events_until(joined.object, ALL).await.len(), 1);
    client.nothing_more().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c33_who_does_not_come_back_after_a_restart_leaves_without_a_wake() {
    let diary = Diary::new();
    let mut server =
        start_with(&diary, NEVER, |config| config.presence.grace = Duration::from_mins(5)).await;
    let (ann, joined) = arrive(&server, "test/a", "ann").await;
    let (mut client, object) = join(&server, Encoding::Json, "test/a").await;
    assert_eq!(count(&mut client, object).await, 1);
    let (token, member) = (ann.token.clone(), joined.member);
    drop((ann, client));
    server.restart().await;
    let (mut watcher, object) = watcher(&server, "test/a").await;
    watcher.until_names(object, &["ann"]).await;
    drop(watcher);
    server.stop().await;
    server.config.presence.grace = Duration::from_millis(50);
    server.start_again().await;
    diary.read();
    let (mut watcher, object) = self::watcher(&server, "test/a").await;
    watcher.until_names(object, &[]).await;
    // Whoever comes now is somebody new.
    let mut late = CheckedClient::again(server.address, Encoding::Json, &token).await;
    let again = Join { member: Some(member), ..crate::checked_client::present("test/a", "ann") };
    assert!(late.join(again).await.member > member);
    assert_eq!(diary.read(), []);
    assert_eq!(server.object("test/a").await["wakes"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c33_who_claims_a_session_that_never_was_is_closed() {
    let diary = Diary::new();
    let server = start(&diary).await;
    let mut raw = Raw::open(server.address, Encoding::Msgpack, "?session=nobody", None).await;
    raw.is_closed(3500).await;
    server.metric_is("dormouse_connections", |open| open == 0).await;
}
