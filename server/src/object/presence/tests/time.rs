//! When changes are told, and when there is nothing that waits. Time is simulated.

use tokio::time::{Instant, advance, sleep};

use super::*;
use crate::object::input::ReadRoster;

fn members(delta: &wire::Presence) -> [Vec<u64>; 3] {
    [
        delta.join.iter().map(|arrival| arrival.member).collect(),
        delta.update.iter().map(|update| update.member).collect(),
        delta.leave.iter().map(|departure| departure.member).collect(),
    ]
}

#[tokio::test(start_paused = true)]
async fn the_first_change_is_told_at_once_and_later_ones_together() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(dir.path());
    let handle = world.open("room/a").await;
    handle.watch(0, TO, View::Members, None, permit());
    let first = world.sinks[0].take_roster();
    assert_eq!((first.id, first.members, first.users), (None, 0, 0));

    let a = come(&handle, 'a', 1, "a");
    let deltas = world.sinks[0].take_deltas();
    assert_eq!(deltas.len(), 1);
    assert_eq!(deltas[0].version, first.version + 1);
    assert_eq!(members(&deltas[0]), [vec![a], vec![], vec![]]);

    let b = come(&handle, 'b', 2, "b");
    let c = come(&handle, 'c', 3, "c");
    handle.update(a, user('a'), holder(1), Some(said(&payload("A")))).unwrap();
    handle.update(b, user('b'), holder(2), Some(said(&payload("B")))).unwrap();
    handle.depart(c, holder(3), Departing::Leave);
    sleep(just_before(INTERVAL)).await;
    assert!(world.sinks[0].take().is_empty());
    sleep(Duration::from_millis(2)).await;
    let deltas = world.sinks[0].take_deltas();
    assert_eq!(deltas.len(), 1);
    assert_eq!(members(&deltas[0]), [vec![b], vec![a], vec![]]);
    assert_eq!(deltas[0].join[0].data, payload("B"));
    assert_eq!((deltas[0].members, deltas[0].users), (2, 2));
    assert_eq!(handle.counts(), (2, 2));

    sleep(INTERVAL * 2).await;
    assert!(world.sinks[0].take().is_empty());
    handle.depart(b, holder(2), Departing::Leave);
    assert_eq!(members(&world.sinks[0].take_deltas()[0]), [vec![], vec![], vec![b]]);
    assert!(world.sinks[1].take().is_empty(), "this sink has no watcher");
}

#[tokio::test(start_paused = true)]
async fn what_cancels_out_is_not_told() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(dir.path());
    let handle = world.open("room/a").await;
    let a = come(&handle, 'a', 1, "a");
    handle.watch(0, TO, View::Members, None, permit());
    let version = world.sinks[0].take_roster().version;
    let b = come(&handle, 'b', 2, "b");
    handle.depart(b, holder(2), Departing::Leave);
    handle.update(a, user('a'), holder(1), Some(said(&payload("other")))).unwrap();
    handle.update(a, user('a'), holder(1), Some(said(&payload("a")))).unwrap();
    sleep(INTERVAL * 3).await;
    assert!(world.sinks[0].take().is_empty());
    handle.roster(0, TO, ReadRoster { since: None, after: None, limit: None }, permit());
    assert_eq!(world.sinks[0].take_roster().version, version);
    assert_eq!(tasks(&handle), 0);
}

/// Promise 8: a storm costs each member some messages, not one for each other member.
#[tokio::test(start_paused = true)]
async fn a_storm_of_joins_is_told_in_a_few_messages() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(dir.path());
    let handle = world.open("room/a").await;
    handle.watch(0, TO, View::Members, None, permit());
    let first = world.sinks[0].take_roster();
    let began = Instant::now();
    for number in 0..1_000 {
        come(&handle, 'a', number, "a");
        advance(Duration::from_millis(1)).await;
    }
    sleep(INTERVAL * 2).await;
    let intervals = (Instant::now() - began).as_millis() / INTERVAL.as_millis();
    let deltas = world.sinks[0].take_deltas();
    assert!(deltas.len() as u128 <= intervals + 1, "{} in {intervals}", deltas.len());
    let versions: Vec<_> = deltas.iter().map(|delta| delta.version).collect();
    assert_eq!(versions, (first.version + 1..).take(deltas.len()).collect::<Vec<_>>());
    assert_eq!(deltas.iter().map(|delta| delta.join.len()).sum::<usize>(), 1_000);
    let first = deltas.iter().flat_map(|delta| &delta.join).filter(|arrival| arrival.first);
    assert_eq!(first.count(), 1);
    assert_eq!(deltas.last().unwrap().users, 1);
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_in_time_was_never_away() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(dir.path());
    let handle = world.open("room/a").await;
    let member = come(&handle, 'a', 1, "a");
    handle.watch(0, TO, View::Members, None, permit());
    world.sinks[0].take_roster();

    for (asked, number) in [(None, 2), (Some(member), 3)] {
        handle.depart(member, holder(number - 1), Departing::Lost);
        sleep(just_before(GRACE)).await;
        let entrant = Entrant {
            asked,
            member: handle.new_member(),
            owner: user('a'),
            holder: holder(number),
            data: said(&payload("a")),
        };
        assert_eq!(handle.present(entrant), Ok(member));
        sleep(GRACE * 2).await;
        assert!(world.sinks[0].take().is_empty());
    }
    let metrics = &handle.shared.presence.metrics;
    assert_eq!((metrics.lost.get(), metrics.returns.get(), metrics.members.get()), (2, 2, 1));

    // It says something else: an update.
    let entrant = Entrant {
        asked: Some(member),
        member: handle.new_member(),
        owner: user('a'),
        holder: holder(4),
        data: said(&payload("b")),
    };
    handle.present(entrant).unwrap();
    assert_eq!(members(&world.sinks[0].take_deltas()[0]), [vec![], vec![member], vec![]]);

    // The connection before has nothing to say any more; nor does its join, if that comes only now.
    let overtaken = Entrant {
        asked: Some(member),
        member: handle.new_member(),
        owner: user('a'),
        holder: holder(3),
        data: said(&payload("a")),
    };
    assert_eq!(handle.present(overtaken), Ok(member));
    handle.update(member, user('a'), holder(3), None).unwrap();
    handle.depart(member, holder(3), Departing::Leave);
    sleep(GRACE).await;
    assert!(world.sinks[0].take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_stays_away_leaves_at_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(dir.path());
    let handle = world.open("room/a").await;
    let (a, b) = (come(&handle, 'a', 1, "a"), come(&handle, 'b', 2, "b"));
    sleep(INTERVAL * 2).await;
    handle.watch(0, TO, View::Members, None, permit());
    world.sinks[0].take_roster();
    handle.depart(a, holder(1), Departing::Lost);
    sleep(GRACE / 2).await;
    // Losing what is lost changes nothing; nor does what others do.
    handle.depart(a, holder(1), Departing::Lost);
    handle.depart(b, holder(2), Departing::Lost);
    sleep(just_before(GRACE / 2)).await;
    assert!(world.sinks[0].take().is_empty());
    sleep(Duration::from_millis(2)).await;
    assert_eq!(members(&world.sinks[0].take_deltas()[0]), [vec![], vec![], vec![a]]);
    sleep(GRACE / 2).await;
    let deltas = world.sinks[0].take_deltas();
    assert_eq!(members(&deltas[0]), [vec![], vec![], vec![b]]);
    assert!(deltas[0].leave[0].last);
}

#[tokio::test(start_paused = true)]
async fn a_change_does_not_wait_for_a_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(dir.path());
    let handle = world.open("room/a").await;
    let (a, b) = (come(&handle, 'a', 1, "a"), come(&handle, 'b', 2, "b"));
    sleep(INTERVAL * 2).await;
    handle.watch(0, TO, View::Members, None, permit());
    world.sinks[0].take_roster();
    handle.depart(a, holder(1), Departing::Lost);
    sleep(INTERVAL).await;
    for text in ["at once", "in its turn"] {
        handle.update(b, user('b'), holder(2), Some(said(&payload(text)))).unwrap();
    }
    sleep(INTERVAL * 2).await;
    assert_eq!(world.sinks[0].take_deltas().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_grace_a_lost_member_leaves_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start_with(dir.path(), |settings| settings.grace = Duration::ZERO);
    let handle = world.open("room/a").await;
    let a = come(&handle, 'a', 1, "a");
    sleep(INTERVAL * 2).await;
    handle.depart(a, holder(1), Departing::Lost);
    assert_eq!(handle.counts(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn at_rest_there_is_no_task_and_where_nobody_is_no_roster() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(dir.path());
    let handle = world.open("room/a").await;
    let has_roster = || handle.presence.0.lock().active.is_some();
    assert!(!has_roster());
    let a = come(&handle, 'a', 1, "a");
    assert_eq!(tasks(&handle), 0, "what is due at once is done at once");
    let b = come(&handle, 'b', 2, "b");
    assert_eq!(tasks(&handle), 1);
    sleep(INTERVAL * 2).await;
    assert_eq!(tasks(&handle), 0);

    // A deadline, and before it flushes: one task for all of it.
    handle.depart(a, holder(1), Departing::Lost);
    for text in ["1", "2", "3"] {
        handle.update(b, user('b'), holder(2), Some(said(&payload(text)))).unwrap();
        assert_eq!(tasks(&handle), 1);
        sleep(INTERVAL / 2).await;
    }
    handle.depart(b, holder(2), Departing::Leave);
    sleep(GRACE).await;
    assert_eq!((tasks(&handle), handle.counts()), (0, (0, 0)));
    assert!(!has_roster());

    handle.watch(1, TO, View::Counts, None, permit());
    assert!(has_roster());
    handle.unwatch(1);
    assert!(!has_roster());
    handle.depart(a, holder(1), Departing::Leave);
    assert!(!has_roster());
}

/// A version never comes twice with another content, so a roster that comes to be again goes on from the last.
#[tokio::test(start_paused = true)]
async fn a_roster_that_comes_again_goes_on_from_its_version() {
    let dir = tempfile::tempdir().unwrap();
    let world =
        World::start_with(dir.path(), |settings| settings.interval = Duration::from_millis(1));
    let handle = world.open("room/a").await;
    let mut last = 0;
    // Simulated time runs; the time of day, which the first version is taken from, hardly does.
    for number in 0..500 {
        let member = come(&handle, 'a', number, "a");
        advance(Duration::from_millis(1)).await;
        handle.roster(0, TO, ReadRoster { since: None, after: None, limit: Some(0) }, permit());
        let version = world.sinks[0].take_roster().version;
        assert!(version > last);
        handle.depart(member, holder(number), Departing::Leave);
        advance(Duration::from_millis(1)).await;
        handle.roster(
            0,
            TO,
            ReadRoster { since: Some(version), after: None, limit: None },
            permit(),
        );
        last = world.sinks[0].take_roster().version;
        assert!(last > version);
    }
}

#[tokio::test(start_paused = true)]
async fn a_roster_that_is_full_takes_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start_with(dir.path(), |settings| settings.max_members = 2);
    let handle = world.open("room/a").await;
    let a = come(&handle, 'a', 1, "a");
    come(&handle, 'b', 2, "b");
    let entrant = |asked| Entrant {
        asked,
        member: handle.new_member(),
        owner: user('a'),
        holder: holder(3),
        data: said(&payload("c")),
    };
    assert_eq!(handle.present(entrant(None)), Err(RosterFull));
    assert_eq!(handle.shared.presence.metrics.full.get(), 1);
    assert_eq!(handle.present(entrant(Some(a))), Ok(a));
    handle.depart(a, holder(3), Departing::Leave);
    assert!(handle.present(entrant(None)).is_ok());
}

#[tokio::test]
async fn numbers_of_members_are_never_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(dir.path());
    let (a, b) = (world.open("room/a").await, world.open("room/b").await);
    let numbers = [a.new_member(), b.new_member(), a.new_member()];
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert!(numbers[2] < 1 << 53);
}
