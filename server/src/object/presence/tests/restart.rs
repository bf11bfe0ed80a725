//! Members present at a stop are restored at the next start, and may come back.

use tokio::time::sleep;

use super::*;
use crate::log::{Change, Keyspace};

/// Two users in one object, one in another; then the server ends.
async fn leave_behind(dir: &Path) -> [u64; 3] {
    let world = World::start(dir);
    let (a, b) = (world.open("room/a").await, world.open("room/b").await);
    let members = [come(&a, 'a', 1, "x"), come(&a, 'b', 2, "y"), come(&b, 'c', 3, "z")];
    a.update(members[0], user('a'), holder(1), Some(said(&payload("newest")))).unwrap();
    let gone = come(&b, 'd', 4, "gone");
    b.depart(gone, holder(4), Departing::Leave);
    sleep(INTERVAL * 2).await;
    // The ends of connections are losses, and what was about to be told is stored as well.
    a.depart(members[0], holder(1), Departing::Lost);
    for text in ["told at once", "last word"] {
        a.update(members[1], user('b'), holder(2), Some(said(&payload(text)))).unwrap();
    }
    a.depart(members[1], holder(2), Departing::Lost);
    b.depart(members[2], holder(3), Departing::Lost);
    assert!(tasks(&a) > 0);
    world.stop().await;
    members
}

fn present(roster: &wire::Roster) -> Vec<(u64, &str, Payload)> {
    roster.present.iter().map(|p| (p.member, &*p.user, p.data.clone())).collect()
}

#[tokio::test(start_paused = true)]
async fn members_come_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, _] = leave_behind(dir.path()).await;

    let world = World::start(dir.path());
    sleep(GRACE / 2).await;
    let handle = world.open("room/a").await;
    handle.watch(0, TO, View::Members, None, permit());
    let roster = world.sinks[0].take_roster();
    let (user_a, user_b) = (user('a'), user('b'));
    let expected =
        [(a, &*user_a.name(), payload("newest")), (b, &*user_b.name(), payload("last word"))];
    assert_eq!(present(&roster), expected);
    assert_eq!((roster.members, roster.users), (2, 2));
    assert_eq!(handle.shared.presence.metrics.members.get(), 2);
    assert!(handle.new_member() > b);

    let (asked, data) = (Some(a), said(&payload("newest")));
    let entrant =
        Entrant { asked, member: handle.new_member(), owner: user_a, holder: holder(1), data };
    assert_eq!(handle.present(entrant), Ok(a));
    // The time runs from the start of the server, not from the first read.
    sleep(just_before(GRACE / 2)).await;
    assert!(world.sinks[0].take().is_empty());
    sleep(Duration::from_millis(2)).await;
    let deltas = world.sinks[0].take_deltas();
    assert_eq!(deltas.len(), 1);
    assert_eq!(deltas[0].version, roster.version + 1);
    assert_eq!(deltas[0].leave.iter().map(|d| (d.member, d.last)).collect::<Vec<_>>(), [(b, true)]);
    sleep(GRACE).await;
    assert_eq!((tasks(&handle), handle.counts()), (0, (1, 1)));
}

#[tokio::test(start_paused = true)]
async fn after_the_grace_period_nobody_is_left_whom_nobody_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    leave_behind(dir.path()).await;

    // A restart in the grace period keeps them for the next one, whether or not their object was opened.
    World::start(dir.path()).stop().await;
    let world = World::start(dir.path());
    for (name, counts) in [("room/a", (2, 2)), ("room/b", (1, 1))] {
        assert_eq!(world.open(name).await.counts(), counts);
    }
    world.stop().await;

    let world = World::start(dir.path());
    sleep(GRACE + Duration::from_millis(1)).await;
    let handle = world.open("room/a").await;
    assert_eq!((tasks(&handle), handle.counts()), (0, (0, 0)));
    drop(handle);
    world.stop().await;

    let world = World::start(dir.path());
    for name in ["room/a", "room/b"] {
        let handle = world.open(name).await;
        assert_eq!((tasks(&handle), handle.counts()), (0, (0, 0)));
    }
}

/// A version is never told twice with another content: what a client had before the restart can't be led on from.
#[tokio::test(start_paused = true)]
async fn versions_grow_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(dir.path());
    let handle = world.open("room/a").await;
    come(&handle, 'a', 1, "a");
    handle.watch(0, TO, View::Members, None, permit());
    let before = world.sinks[0].take_roster().version;
    drop(handle);
    world.stop().await;
    // The time of day is real.
    std::thread::sleep(Duration::from_millis(5));
    let world = World::start(dir.path());
    let handle = world.open("room/a").await;
    handle.watch(0, TO, View::Members, Some(before), permit());
    let roster = world.sinks[0].take_roster();
    assert!(roster.version > before);
    assert_eq!((roster.since, roster.members), (None, 1));
}

#[tokio::test(start_paused = true)]
async fn rows_that_cannot_be_read_are_removed_and_keep_no_server_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, _] = leave_behind(dir.path()).await;
    let world = World::start(dir.path());
    let damaged = [(&b"room/a"[..], "half a key"), (b"room/a\x00\0\0\0\0\0\0\0\x07", "no row")];
    let change = |(key, value): (&'static [u8], &'static str)| Change {
        keyspace: Keyspace::Presence,
        key: key.into(),
        value: Some(value.into()),
    };
    assert!(world.log.change_lazily(damaged.map(change).into()));
    world.stop().await;

    for count in [5, 3] {
        let prometheus = prometheus::Registry::new();
        let metrics = log::Metrics::register(&prometheus).unwrap();
        let log = Log::open(dir.path(), Options::default(), metrics).unwrap();
        assert_eq!(log.pairs(Keyspace::Presence).unwrap().len(), count);
        let rosters = StoredRosters::read(&log).unwrap();
        let members = |name: &str| rosters.0[&name.parse().unwrap()].iter().map(|row| row.member);
        assert_eq!(members("room/a").collect::<Vec<_>>(), [a, b]);
        log.close();
    }
}
