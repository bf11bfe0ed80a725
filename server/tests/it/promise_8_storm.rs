//! Promise 8, presence tells the truth in a crowd: a storm of joins is batched, and who is too slow for the changes gets the
//! roster instead.

use std::time::{Duration, Instant};

use dormouse_protocol::{ClientMessage, Encoding, Join, PresenceGet, ServerMessage, Watch};

use crate::checked_client::{
    CheckedClient, Sight, all, arrive, enter, nobody_woke, present, watcher,
};
use crate::client::{ENCODINGS, noise};
use crate::server::TestServer;
use crate::support::PATIENCE;

const FLUSHES: &str = "dormouse_presence_flushes_total";
const MISSED: &str = "dormouse_presence_missed_total";
/// Members whose presence makes a long roster, which is one page still.
const SPEAKERS: usize = 7;

/// Promises 8 and 6: however many come at once, each is told of them in as many messages as there were flushes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_joins_is_told_in_few_messages() {
    const GUESTS: usize = 300;
    const INTERVAL: Duration = Duration::from_millis(500);
    let server = TestServer::start(|config| config.presence.interval = INTERVAL).await;
    let (mut watcher, object) = watcher(&server, "room/a").await;
    let mut clients = Vec::new();
    for number in 0..GUESTS {
        let encoding = ENCODINGS[number % 2];
        clients.push(CheckedClient::connect(server.address, encoding).await);
    }
    let begun = Instant::now();
    for (number, client) in clients.iter_mut().enumerate() {
        let join = Join { watch: Watch::Roster, ..present("room/a", &number.to_string()) };
        client.ask(|id| ClientMessage::Join(Join { id, ..join })).await;
    }
    watcher.until(object, |seen| seen.members as usize == GUESTS).await;
    let most = 2 + begun.elapsed().as_millis() / INTERVAL.as_millis();

    let sight = watcher.sight(object);
    assert_eq!(sight.rosters.len(), 1);
    assert_eq!(sight.told.len() as u64, server.metric(FLUSHES).await);
    assert!(sight.told.len() as u128 <= most, "{} of at most {most}", sight.told.len());
    let joins: usize = sight.told.iter().map(|told| told.join.len()).sum();
    assert_eq!(joins, GUESTS, "each is told of once");
    for client in &mut clients {
        while client.try_sight(object).is_none() {
            client.arrive().await;
        }
        client.until(object, |seen| seen.version == sight.version).await;
        assert_eq!(client.sight(object).present, sight.present);
        assert!(sight.told.ends_with(&client.sight(object).told));
    }
    assert_eq!(server.metric(MISSED).await, 0);
    nobody_woke(&server).await;
}

/// Promise 8: changes are gathered, so that between two messages there is the interval at least.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_told_at_most_once_in_an_interval() {
    const INTERVAL: Duration = Duration::from_millis(100);
    let server = TestServer::start(|config| config.presence.interval = INTERVAL).await;
    let (mut watcher, object) = watcher(&server, "room/a").await;
    let begun = Instant::now();
    let (mut ann, _) = arrive(&server, "room/a", "0").await;
    let mut count = 0_u32;
    while watcher.sight(object).told.len() < 8 {
        for _ in 0..20 {
            count += 1;
            ann.set(object, Some(&count.to_string())).await;
        }
        watcher.ping().await;
    }
    watcher.until_names(object, &[&count.to_string()]).await;
    let told = watcher.sight(object).told.len() as u32;
    // Flushes are timed by the millisecond.
    let elapsed = begun.elapsed() + Duration::from_millis(1);
    assert!(INTERVAL * (told - 1) <= elapsed, "{told} in {elapsed:?}");
    assert_eq!(u64::from(told), server.metric(FLUSHES).await);
}

/// Promises 8 and 7: who reads nothing misses changes, costs bounded memory, and then sees what everybody sees; in each object that
/// it watches, and live again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_too_slow_gets_the_roster_instead() {
    const OBJECTS: [&str; 2] = ["room/a", "room/b"];
    let server = TestServer::start(|config| {
        config.presence.interval = Duration::from_millis(10);
        config.limits.presence_bytes = 16 << 10;
        config.limits.outbound_bytes = 64 << 10;
    })
    .await;
    for encoding in ENCODINGS {
        let mut slow = CheckedClient::narrow(server.address, encoding).await;
        let mut counting = CheckedClient::narrow(server.address, encoding).await;
        let mut fast = CheckedClient::connect(server.address, Encoding::Msgpack).await;
        let mut objects = Vec::new();
        for name in OBJECTS {
            slow.join(enter(name, Watch::Roster)).await;
            counting.join(enter(name, Watch::Count)).await;
            objects.push(fast.join(enter(name, Watch::Roster)).await.object);
        }
        let mut speakers = Vec::new();
        for number in 0..SPEAKERS {
            let mut speaker = CheckedClient::connect(server.address, Encoding::Msgpack).await;
            for name in OBJECTS {
                speaker.join(present(name, &format!("{number}"))).await;
            }
            speakers.push(speaker);
        }
        let before = server.metric(MISSED).await;
        let mut round = 0;
        while server.metric(MISSED).await < before + 2 {
            round += 1;
            speak(&mut speakers, &objects, round).await;
            for &object in &objects {
                fast.until(object, |seen| all_said(seen, round)).await;
            }
        }
        // Somebody comes and somebody goes, unseen by the slow one.
        speakers.pop().unwrap().close(&1000_u16.to_be_bytes()).await;
        let (mut late, _) = arrive(&server, "room/b", "late").await;
        let (a, b) = (objects[0], objects[1]);
        fast.until(a, |seen| seen.members as usize == SPEAKERS - 1).await;
        fast.until(b, |seen| seen.members as usize == SPEAKERS && is_here(seen, "late")).await;
        for &object in &objects {
            let seen = fast.sight(object);
            slow.until(object, |slow| slow.version == seen.version).await;
            assert_eq!(slow.sight(object).present, seen.present);
            counting.until(object, |counted| counted.version == seen.version).await;
            assert_eq!(counting.sight(object).members, seen.members);
        }
        let rosters = objects.iter().map(|object| slow.sight(*object).rosters.len());
        assert!(rosters.sum::<usize>() > OBJECTS.len());
        // What changes from now on it hears of as everybody does.
        for (index, &object) in objects.iter().enumerate() {
            let rosters = slow.sight(object).rosters.len();
            let (mut mark, _) = arrive(&server, OBJECTS[index], "mark").await;
            for client in [&mut slow, &mut fast] {
                client.until(object, |seen| is_here(seen, "mark")).await;
            }
            assert_eq!(slow.sight(object).rosters.len(), rosters);
            assert_eq!(slow.sight(object).told.last(), fast.sight(object).told.last());
            mark.leave(object).await;
        }
        for mut speaker in speakers {
            for &object in &objects {
                speaker.leave(object).await;
            }
        }
        late.leave(b).await;
    }
    nobody_woke(&server).await;
}

/// Promises 8 and 7: long rosters wait for the socket that they go to, whether they are asked for or watched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_rosters_at_once_wait_for_the_socket() {
    const OBJECTS: usize = 100;
    let server = TestServer::start(|config| {
        config.presence.interval = Duration::from_millis(10);
        config.limits.presence_bytes = 16 << 10;
        config.limits.outbound_bytes = 64 << 10;
        config.limits.in_flight = 16;
    })
    .await;
    let name = |number: usize| format!("room/{number}");
    let mut speakers = Vec::new();
    for _ in 0..SPEAKERS {
        let mut speaker = CheckedClient::connect(server.address, Encoding::Msgpack).await;
        let text = noise(15_000);
        for number in 0..OBJECTS {
            speaker.join(present(&name(number), &text)).await;
        }
        speakers.push(speaker);
    }
    for encoding in ENCODINGS {
        let mut slow = CheckedClient::narrow(server.address, encoding).await;
        let before = server.metric(MISSED).await;
        let mut joins = Vec::new();
        for number in 0..OBJECTS {
            let join = enter(&name(number), Watch::Roster);
            joins.push(slow.ask(|id| ClientMessage::Join(Join { id, ..join })).await);
        }
        // What changes in the first of them finds no room behind the rosters of the others.
        let mut mark = CheckedClient::connect(server.address, Encoding::Msgpack).await;
        let since = Instant::now();
        while server.metric(MISSED).await == before {
            assert!(since.elapsed() < PATIENCE, "nothing was missed");
            let first = mark.join(present(&name(0), "mark")).await.object;
            mark.leave(first).await;
        }
        let mut objects = Vec::new();
        for id in joins {
            let ServerMessage::Joined(joined) = slow.reply(id).await else { panic!("not joined") };
            objects.push(joined.object);
        }
        for &object in &objects {
            slow.until(object, |seen| seen.members as usize == SPEAKERS).await;
        }
        // Each is live.
        for (number, &object) in objects.iter().enumerate() {
            mark.join(present(&name(number), "mark")).await;
            slow.until(object, |seen| is_here(seen, "mark")).await;
            mark.leave(object).await;
        }

        // More than may be in flight: they wait in the socket, and each is answered.
        let mut gets = Vec::new();
        for object in objects {
            let get = all(object);
            gets.push(slow.ask(|id| ClientMessage::PresenceGet(PresenceGet { id, ..get })).await);
        }
        for id in gets {
            let ServerMessage::Roster(roster) = slow.reply(id).await else { panic!("refused") };
            assert!(roster.present.len() >= SPEAKERS);
        }
    }
    nobody_woke(&server).await;
}

/// All say something long and new.
async fn speak(speakers: &mut [CheckedClient], objects: &[u64], round: u32) {
    for speaker in speakers {
        let text = format!("{round} {}", noise(15_000));
        for &object in objects {
            speaker.set(object, Some(&text)).await;
        }
    }
}

fn all_said(sight: &Sight, round: u32) -> bool {
    let prefix = format!("{round} ");
    let names = sight.names();
    names.len() == SPEAKERS && names.iter().all(|name| name.starts_with(&prefix))
}

fn is_here(sight: &Sight, name: &str) -> bool {
    sight.names().iter().any(|other| other == name)
}
