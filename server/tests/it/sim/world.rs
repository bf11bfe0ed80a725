//! A server in this process, the clients of a plan, and what goes wrong meanwhile; from it all, a history.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dormouse_protocol::{ClientMessage, Encoding, PresenceGet, Roster, ServerMessage, Start};
use tokio::sync::{Barrier, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::actor::{Actor, Goals, Signposts};
use super::history::{Diary, History, Place, Room};
use super::plan::{Fault, FaultKind, Plan};
use super::tally::Tally;
use crate::client::Client;
use crate::server::TestServer;
use crate::support::PATIENCE;

/// Plays a plan.
pub(super) async fn play(plan: Plan) -> (History, Tally) {
    let names: Vec<String> = (0..plan.rooms).map(|room| format!("room/{room}")).collect();
    let mut server = TestServer::start(|config| plan.bounds.apply(config)).await;
    // Where another program may take the port meanwhile.
    server.config.listen.set_port(0);
    server.config.internal.set_port(0);
    let sessions = sessions(&server, plan.sessions).await;

    let (address, address_read) = watch::channel(Some(server.address));
    let (goals, goals_read) = watch::channel(None);
    let (settled, mut settling) = mpsc::unbounded_channel();
    let count = plan.clients.len();
    let joined = Arc::new(Barrier::new(count + 1));
    let signposts = Signposts { joined, address: address_read, settled, goals: goals_read };
    let mut actors = JoinSet::new();
    for (number, part) in plan.clients.into_iter().enumerate() {
        let session = sessions[part.session].clone();
        let actor = Actor::new(number, part, &names, session, signposts.clone());
        actors.spawn(async move { (number, actor.play().await) });
    }
    let mut tally = Tally::default();
    let mut crashed = BTreeSet::new();
    let mut places = Vec::new();
    let run = async {
        signposts.joined.wait().await;
        for fault in plan.faults {
            crashed.extend(cause(&mut server, fault, &names, &address, &mut tally).await);
        }
        server.ask("POST /v1/log/delay?ms=0").await;
        for _ in 0..count {
            places.extend(settling.recv().await.expect("this side has a sender too"));
        }
        goals.send_replace(Some(Arc::new(set_goals(&server, &names, &places).await)));
    };
    let diaries = tokio::select! {
        // When a client fails, the others would wait for it.
        diaries = all(&mut actors, count) => diaries,
        diaries = async { run.await; std::future::pending().await } => diaries,
    };
    let goals = goals.borrow().clone().expect("nobody ends before");
    let mut history = History { clients: diaries, crashed, ..History::default() };
    let mut reader = Client::connect(server.address, Encoding::Msgpack).await;
    for name in &names {
        let joined = reader.join(name, Start::Now).await;
        let log = reader.whole_log(joined.object).await;
        let roster = roster(&mut reader, joined.object).await;
        let (head, version) = goals[name];
        let room = Room { epoch: joined.epoch, head, version, log, roster };
        history.rooms.insert(name.clone(), room);
        reader.leave(joined.object).await;
    }
    drop(reader);
    history.restarts = tally.restarts;
    tally.count(&server.metrics().await);
    server.stop().await;
    (history, tally)
}

async fn all(actors: &mut JoinSet<(usize, Diary)>, count: usize) -> Vec<Diary> {
    let mut diaries: Vec<Diary> = (0..count).map(|_| Diary::default()).collect();
    while let Some(played) = actors.join_next().await {
        match played {
            Ok((number, diary)) => diaries[number] = diary,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    diaries
}

/// New sessions, with their tokens.
async fn sessions(server: &TestServer, count: usize) -> Vec<(String, String)> {
    let mut sessions = Vec::new();
    for _ in 0..count {
        let client = Client::connect(server.address, Encoding::Json).await;
        sessions.push((client.session().to_owned(), client.token().to_owned()));
    }
    sessions
}

/// Makes something go wrong; the room whose instance crashes.
async fn cause(
    server: &mut TestServer,
    fault: Fault,
    names: &[String],
    address: &watch::Sender<Option<std::net::SocketAddr>>,
    tally: &mut Tally,
) -> Option<String> {
    sleep(fault.after).await;
    match fault.kind {
        FaultKind::Sleep(room) => {
            server.ask(&format!("POST /v1/objects/{}/sleep", names[room])).await;
        }
        FaultKind::Crash(room) => {
            let (status, _) = server.ask(&format!("POST /v1/objects/{}/crash", names[room])).await;
            return (status == 202).then(|| names[room].clone());
        }
        FaultKind::SlowDisk(time) => {
            server.ask(&format!("POST /v1/log/delay?ms={}", time.as_millis())).await;
        }
        FaultKind::Restart => {
            tally.count(&server.metrics().await);
            tally.restarts += 1;
            address.send_replace(None);
            server.restart().await;
            address.send_replace(Some(server.address));
        }
    }
    None
}

/// Where everybody has to arrive: who is here is told in every roster by then.
async fn set_goals(server: &TestServer, names: &[String], places: &[Place]) -> Goals {
    let mut expected: HashMap<&str, Vec<&Place>> = HashMap::new();
    for place in places {
        expected.entry(&place.room).or_default().push(place);
    }
    let mut client = Client::connect(server.address, Encoding::Msgpack).await;
    let mut goals = Goals::new();
    for name in names {
        let joined = client.join(name, Start::Now).await;
        let expected = expected.get(&**name).map_or(&[][..], |places| places);
        let since = Instant::now();
        let version = loop {
            let roster = roster(&mut client, joined.object).await;
            let is_told = |place: &&Place| {
                roster.present.iter().any(|p| p.member == place.member && p.data == place.data)
            };
            // What is missing at last is the checker's to tell.
            if expected.iter().all(is_told) || since.elapsed() > PATIENCE / 4 {
                break roster.version;
            }
            sleep(Duration::from_millis(5)).await;
        };
        goals.insert(name.clone(), (joined.head, version));
        client.leave(joined.object).await;
    }
    goals
}

async fn roster(client: &mut Client, object: u64) -> Roster {
    let id = client.id();
    let get = PresenceGet { id, object, since: None, after: None, limit: None };
    client.send(&ClientMessage::PresenceGet(get)).await;
    match client.reply(id).await {
        ServerMessage::Roster(roster) => roster,
        other => panic!("{other:?} instead of a roster"),
    }
}
