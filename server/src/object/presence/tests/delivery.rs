//! What watchers are told, in which order, and how often it is encoded.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use tokio::time::sleep;

use super::*;
use crate::object::input::ReadRoster;

#[tokio::test(start_paused = true)]
async fn a_request_is_answered_by_its_id_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start_with(dir.path(), |settings| settings.page_members = 3);
    let handle = world.open("room/a").await;
    let all: Vec<_> = (0..5).map(|number| come(&handle, 'a', number, "a")).collect();
    sleep(INTERVAL * 2).await;
    let ask = |since, after, limit| {
        handle.roster(0, TO, ReadRoster { since, after, limit }, permit());
        let roster = world.sinks[0].take_roster();
        assert_eq!((roster.id, roster.object), (Some(TO.request), handle.id().0));
        assert_eq!((roster.members, roster.users), (5, 1));
        let present: Vec<_> = roster.present.iter().map(|present| present.member).collect();
        (present, roster.more)
    };
    assert_eq!(ask(None, None, None), (all[..3].to_vec(), true));
    assert_eq!(ask(None, None, Some(9)), (all[..3].to_vec(), true));
    assert_eq!(ask(None, Some(all[0]), Some(2)), (all[1..3].to_vec(), true));
    assert_eq!(ask(None, Some(all[2]), None), (all[3..].to_vec(), false));
    assert_eq!(ask(None, None, Some(0)), (vec![], true));
}

#[tokio::test(start_paused = true)]
async fn who_has_a_version_is_told_what_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(dir.path());
    let handle = world.open("room/a").await;
    let (a, b) = (come(&handle, 'a', 1, "a"), come(&handle, 'b', 2, "b"));
    sleep(INTERVAL * 2).await;
    handle.watch(0, TO, View::Members, None, permit());
    let old = world.sinks[0].take_roster();
    handle.unwatch(0);
    let c = come(&handle, 'c', 3, "c");
    sleep(INTERVAL * 2).await;
    handle.depart(a, holder(1), Departing::Leave);
    sleep(INTERVAL * 2).await;
    assert!(world.sinks[0].take().is_empty());
    handle.watch(0, TO, View::Members, Some(old.version), permit());
    let changes = world.sinks[0].take_roster();
    assert_eq!((changes.since, changes.left), (Some(old.version), vec![a]));
    assert_eq!(changes.present.iter().map(|p| p.member).collect::<Vec<_>>(), [c]);
    assert_eq!((changes.members, changes.users, changes.more), (2, 2, false));
    assert_eq!(changes.version, old.version + 2);

    handle.watch(0, TO, View::Members, Some(old.version - 10), permit());
    let whole = world.sinks[0].take_roster();
    assert_eq!(whole.since, None);
    assert_eq!(whole.present.iter().map(|p| p.member).collect::<Vec<_>>(), [b, c]);
}

#[tokio::test(start_paused = true)]
async fn who_wants_counts_is_told_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(dir.path());
    let handle = world.open("room/a").await;
    come(&handle, 'a', 1, "a");
    handle.watch(0, TO, View::Counts, None, permit());
    let roster = world.sinks[0].take_roster();
    assert_eq!((roster.members, roster.users, roster.present), (1, 1, vec![]));
    sleep(INTERVAL * 2).await;
    let b = come(&handle, 'b', 2, "b");
    let deliveries = std::mem::take(&mut *world.sinks[0].0.lock());
    let [Delivery::Presence(frames)] = &deliveries[..] else { panic!("{deliveries:?}") };
    for encoding in [Encoding::Msgpack, Encoding::Json] {
        let counts = wire::Presence {
            object: handle.id().0,
            version: roster.version + 1,
            members: 2,
            users: 2,
            join: vec![],
            update: vec![],
            leave: vec![],
        };
        let message = |view| encoding.decode_server(frames.encoded(encoding, view)).unwrap();
        assert_eq!(message(View::Counts), ServerMessage::Presence(counts.clone()));
        let data = payload("b");
        let join = vec![wire::Arrival { member: b, user: user('b').name(), data, first: true }];
        let members = wire::Presence { join, ..counts };
        assert_eq!(message(View::Members), ServerMessage::Presence(members));
    }
}

/// Many members join at once where the roster is long: they share one page, until the roster changes.
#[tokio::test(start_paused = true)]
async fn a_first_page_is_made_once_a_version() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(dir.path());
    let handle = world.open("room/a").await;
    come(&handle, 'a', 1, "a");
    handle.watch(0, TO, View::Members, None, permit());
    handle.watch(1, TO, View::Members, None, permit());
    sleep(INTERVAL * 2).await;
    come(&handle, 'b', 2, "b");
    handle.watch(0, TO, View::Members, None, permit());
    let pages: Vec<_> = world
        .sinks
        .iter()
        .flat_map(|sink| std::mem::take(&mut *sink.0.lock()))
        .filter_map(|delivery| match delivery {
            Delivery::Roster { roster, .. } => Some(roster),
            _ => None,
        })
        .collect();
    assert_eq!(pages.len(), 3);
    assert!(Arc::ptr_eq(&pages[0], &pages[2]));
    assert!(!Arc::ptr_eq(&pages[0], &pages[1]));
    drop(pages);
    let cell = handle.presence.0.lock();
    let first_page = cell.active.as_ref().unwrap().first_page.upgrade();
    assert!(first_page.is_none(), "at rest it takes no memory");
}

/// Members come, change and go on several threads while others begin to watch: whatever the interleaving, what an sink
/// gets after a roster follows on from it, and leads to the same content for all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roster_stands_between_the_changes() {
    let dir = tempfile::tempdir().unwrap();
    let change = |settings: &mut Settings| settings.interval = Duration::from_millis(1);
    let world = World::start_with(dir.path(), change);
    let handle = world.open("room/a").await;
    handle.watch(0, TO, View::Members, None, permit());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(SeqCst) {
                handle.watch(1, TO, View::Members, None, permit());
                thread::sleep(Duration::from_micros(200));
            }
        });
        let actors = ['a', 'b'].map(|name| {
            let handle = &handle;
            scope.spawn(move || {
                for number in 0..500 {
                    let by = Holder(number * 2 + u64::from(name == 'b'));
                    let (member, data) = (handle.new_member(), said(&payload("first")));
                    let entrant =
                        Entrant { asked: None, member, owner: user(name), holder: by, data };
                    handle.present(entrant).unwrap();
                    handle.update(member, user(name), by, Some(said(&payload("then")))).unwrap();
                    if number % 10 > 0 {
                        handle.depart(member, by, Departing::Leave);
                    }
                }
            })
        });
        for actor in actors {
            actor.join().unwrap();
        }
        done.store(true, SeqCst);
    });
    // The last flush, and a roster after it.
    sleep(Duration::from_millis(50)).await;
    handle.watch(0, TO, View::Members, None, permit());

    let mut contents: BTreeMap<u64, BTreeMap<u64, Payload>> = BTreeMap::new();
    for sink in &world.sinks {
        let (mut version, mut copy) = (None, BTreeMap::new());
        for message in sink.take() {
            match message {
                ServerMessage::Roster(roster) => {
                    let present = roster.present.into_iter().map(|p| (p.member, p.data));
                    assert!(version.replace(roster.version).is_none_or(|v| v == roster.version));
                    copy = present.collect();
                }
                ServerMessage::Presence(delta) => {
                    assert_eq!(version.replace(delta.version), Some(delta.version - 1));
                    copy.extend(delta.join.into_iter().map(|a| (a.member, a.data)));
                    copy.extend(delta.update.into_iter().map(|u| (u.member, u.data)));
                    for departure in delta.leave {
                        copy.remove(&departure.member).unwrap();
                    }
                }
                other => panic!("{other:?}"),
            }
            let version = version.unwrap();
            assert_eq!(contents.entry(version).or_insert_with(|| copy.clone()), &copy);
        }
    }
    let (_, last) = contents.last_key_value().unwrap();
    assert_eq!(last.len(), 100);
    assert!(contents.len() > 2, "flushes came in between");
}
