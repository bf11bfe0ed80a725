//! A client that checks everything it is told of who is here, as it arrives (promise 8): a version that does not follow, a
//! member that comes twice, a count or a flag that is not what the roster says fails the test, whatever it waits for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

use dormouse_protocol::{
    ClientMessage, Encoding, ErrorCode, Join, Joined, Leave, Payload, Ping, Presence, PresenceGet,
    PresenceSet, Roster, ServerMessage, Start, Watch,
};
use tokio::time::timeout;

use crate::client::reply_id;
use crate::raw::{CLOSE, Raw, SmallWindow, frame};
use crate::server::TestServer;
use crate::support::PATIENCE;

/// One connection, and what it sees of the objects that it watches.
pub(crate) struct CheckedClient {
    pub(crate) raw: Raw,
    pub(crate) session: String,
    pub(crate) token: String,
    requests: u32,
    /// What is watched by the joins that wait for their reply.
    joining: HashMap<u32, Watch>,
    /// Leaves that wait for their reply, with their object.
    leaving: HashMap<u32, u64>,
    /// By object, from `joined` on.
    sights: HashMap<u64, Sight>,
    /// What it had seen before this connection, for the next join that watches since then.
    pub(crate) memory: Option<Sight>,
}

/// What a member knows of a roster.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    pub(crate) watch: Watch,
    pub(crate) version: u64,
    pub(crate) members: u32,
    pub(crate) users: u32,
    /// By number: whose connection it is, and what it says of itself.
    pub(crate) present: BTreeMap<u64, (Box<str>, Payload)>,
    /// The last member of the last page, where there are more.
    frontier: Option<u64>,
    /// The rosters that came without being asked for.
    pub(crate) rosters: Vec<Roster>,
    /// The changes that came.
    pub(crate) told: Vec<Presence>,
}

impl CheckedClient {
    pub(crate) async fn connect(address: SocketAddr, encoding: Encoding) -> Self {
        Self::welcomed(Raw::open(address, encoding, "", None).await).await
    }

    /// A client whose kernel takes little that is not read.
    pub(crate) async fn narrow(address: SocketAddr, encoding: Encoding) -> Self {
        Self::welcomed(Raw::open(address, encoding, "", Some(SmallWindow::READ)).await).await
    }

    /// Connects in the session of another client.
    pub(crate) async fn again(address: SocketAddr, encoding: Encoding, token: &str) -> Self {
        let query = format!("?session={token}");
        Self::welcomed(Raw::open(address, encoding, &query, None).await).await
    }

    async fn welcomed(mut raw: Raw) -> Self {
        let ServerMessage::Welcome(welcome) = raw.message().await else {
            panic!("welcome is the first message");
        };
        let (session, token) = (welcome.session.into(), welcome.token.into());
        let (joining, leaving, sights) = Default::default();
        Self { raw, session, token, requests: 0, joining, leaving, sights, memory: None }
    }

    /// Sends a request under a new id.
    pub(crate) async fn ask(&mut self, make: impl FnOnce(u32) -> ClientMessage) -> u32 {
        let message = self.note(make);
        self.raw.request(&message).await;
        self.requests
    }

    /// A request under a new id, which is to be sent now.
    pub(crate) fn note(&mut self, make: impl FnOnce(u32) -> ClientMessage) -> ClientMessage {
        self.requests += 1;
        let message = make(self.requests);
        match &message {
            ClientMessage::Join(join) => _ = self.joining.insert(join.id, join.watch),
            ClientMessage::Leave(leave) => _ = self.leaving.insert(leave.id, leave.object),
            _ => {}
        }
        message
    }

    /// The next message, checked.
    pub(crate) async fn arrive(&mut self) -> ServerMessage {
        let message = self.raw.message().await;
        match &message {
            ServerMessage::Joined(joined) => {
                let watch = self.joining.remove(&joined.id).expect("a join waits for its reply");
                let sight = match watch {
                    Watch::Since(_) => {
                        let before = self.memory.take().expect("something was seen before");
                        Sight { rosters: Vec::new(), told: Vec::new(), ..before }
                    }
                    _ => Sight::new(watch),
                };
                assert!(self.sights.insert(joined.object, sight).is_none(), "joined twice");
            }
            ServerMessage::Done(done) => {
                if let Some(object) = self.leaving.remove(&done.id) {
                    self.sights.remove(&object).expect("it was a member");
                }
            }
            ServerMessage::Roster(roster) if roster.id.is_none() => {
                self.sights.get_mut(&roster.object).expect("after joined").look(roster);
            }
            ServerMessage::Presence(changes) => {
                self.sights.get_mut(&changes.object).expect("after joined").hear(changes);
            }
            _ => {}
        }
        message
    }

    pub(crate) async fn reply(&mut self, id: u32) -> ServerMessage {
        loop {
            let message = self.arrive().await;
            if reply_id(&message) == Some(id) {
                return message;
            }
        }
    }

    pub(crate) async fn refusal(&mut self, id: u32) -> ErrorCode {
        match self.reply(id).await {
            ServerMessage::Error(error) => error.code,
            other => panic!("{other:?} instead of an error"),
        }
    }

    pub(crate) async fn done(&mut self, id: u32) {
        let reply = self.reply(id).await;
        assert!(matches!(reply, ServerMessage::Done(_)), "{reply:?} instead of done");
    }

    /// Joins, and sees the roster if that is watched.
    pub(crate) async fn join(&mut self, join: Join) -> Joined {
        let is_watching = join.watch != Watch::None;
        let id = self.ask(|id| ClientMessage::Join(Join { id, ..join })).await;
        let joined = match self.reply(id).await {
            ServerMessage::Joined(joined) => joined,
            other => panic!("{other:?} instead of joined"),
        };
        if is_watching {
            self.until(joined.object, |sight| !sight.rosters.is_empty()).await;
        }
        joined
    }

    pub(crate) async fn set(&mut self, object: u64, data: Option<&str>) {
        let data = data.map(says);
        let id = self.ask(|id| ClientMessage::PresenceSet(PresenceSet { id, object, data })).await;
        self.done(id).await;
    }

    pub(crate) async fn get(&mut self, get: PresenceGet) -> Roster {
        let id = self.ask(|id| ClientMessage::PresenceGet(PresenceGet { id, ..get })).await;
        match self.reply(id).await {
            ServerMessage::Roster(roster) => roster,
            other => panic!("{other:?} instead of a roster"),
        }
    }

    /// Gets the next page of a roster of which the member has seen a part.
    pub(crate) async fn page(&mut self, object: u64) {
        let after = self.sight(object).frontier;
        let page = self.get(PresenceGet { after, ..all(object) }).await;
        self.sights.get_mut(&object).unwrap().turn(&page);
    }

    pub(crate) async fn leave(&mut self, object: u64) {
        let id = self.ask(|id| ClientMessage::Leave(Leave { id, object })).await;
        self.done(id).await;
    }

    /// Takes what was sent before this; a client that is told what it does not watch fails meanwhile.
    pub(crate) async fn ping(&mut self) {
        let id = self.ask(|id| ClientMessage::Ping(Ping { id })).await;
        self.done(id).await;
    }

    pub(crate) fn sight(&self, object: u64) -> &Sight {
        &self.sights[&object]
    }

    /// What it is a member of.
    pub(crate) fn objects(&self) -> Vec<u64> {
        self.sights.keys().copied().collect()
    }

    /// None before `joined`.
    pub(crate) fn try_sight(&self, object: u64) -> Option<&Sight> {
        self.sights.get(&object)
    }

    /// Waits until what it sees of an object is as wanted.
    pub(crate) async fn until(&mut self, object: u64, wanted: impl Fn(&Sight) -> bool) {
        let seen = timeout(PATIENCE, async {
            while !wanted(self.sight(object)) {
                self.arrive().await;
            }
        });
        let is_seen = seen.await.is_ok();
        assert!(is_seen, "it never comes: {:?}", self.sight(object));
    }

    /// Waits until exactly these are here.
    pub(crate) async fn until_names(&mut self, object: u64, names: &[&str]) {
        self.until(object, |sight| sight.names() == names).await;
    }

    /// Closes with what stands in the close frame, and reads until the server has closed too.
    pub(crate) async fn close(mut self, payload: &[u8]) {
        self.raw.send(&frame(CLOSE, payload)).await;
        while self.raw.frame().await.is_some() {}
    }
}

impl Sight {
    fn new(watch: Watch) -> Self {
        let (version, members, users) = Default::default();
        let (present, rosters, told) = Default::default();
        Self { watch, version, members, users, present, frontier: None, rosters, told }
    }

    /// What those who are here say, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.present.values().map(|(_, data)| data.read().unwrap()).collect();
        names.sort_unstable();
        names
    }

    /// Whether there are members whose page it has not read.
    pub(crate) fn is_partial(&self) -> bool {
        self.frontier.is_some()
    }

    fn look(&mut self, roster: &Roster) {
        assert!(roster.version >= self.version, "{roster:?} after version {}", self.version);
        if let Some(since) = roster.since {
            assert_eq!(since, self.version);
            assert!(!roster.more, "changes are told as a whole");
            for member in &roster.left {
                assert!(self.present.remove(member).is_some(), "{member} was not here");
            }
        } else {
            assert!(roster.left.is_empty(), "{roster:?}");
            self.present.clear();
        }
        self.frontier = None;
        self.rosters.push(roster.clone());
        self.take_page(roster);
    }

    /// A further page. It was made between the changes before and after it, so it is of the same version.
    fn turn(&mut self, page: &Roster) {
        assert_eq!((page.version, page.since), (self.version, None));
        self.take_page(page);
    }

    fn take_page(&mut self, page: &Roster) {
        assert!(page.present.is_sorted_by_key(|present| present.member));
        self.version = page.version;
        if self.watch == Watch::Count {
            assert!(page.present.is_empty() && page.left.is_empty(), "{page:?}");
        }
        for present in &page.present {
            self.present.insert(present.member, (present.user.clone(), present.data.clone()));
        }
        self.frontier = if page.more { self.present.keys().next_back().copied() } else { None };
        self.count(page.members, page.users);
    }

    fn hear(&mut self, changes: &Presence) {
        assert_eq!(changes.version, self.version + 1, "a hole or a repeat: {changes:?}");
        assert!(!self.rosters.is_empty(), "changes before the roster: {changes:?}");
        self.version = changes.version;
        self.told.push(changes.clone());
        let Presence { join, update, leave, .. } = changes;
        let is_silent = join.is_empty() && update.is_empty() && leave.is_empty();
        assert_eq!(is_silent, self.watch == Watch::Count, "{changes:?}");
        let frontier = self.frontier;
        let is_known = |member: u64| frontier.is_none_or(|frontier| member <= frontier);
        for arrival in join.iter().filter(|arrival| is_known(arrival.member)) {
            if frontier.is_none() {
                assert_eq!(arrival.first, self.is_away(&arrival.user), "{arrival:?}");
            }
            let seen = (arrival.user.clone(), arrival.data.clone());
            let before = self.present.insert(arrival.member, seen);
            assert_eq!(before, None, "{arrival:?} was here");
        }
        for update in update.iter().filter(|update| is_known(update.member)) {
            let seen = self.present.get_mut(&update.member).expect("who changes is here");
            assert_ne!(seen.1, update.data, "nothing new is told");
            seen.1 = update.data.clone();
        }
        for gone in leave.iter().filter(|gone| is_known(gone.member)) {
            let (user, _) = self.present.remove(&gone.member).expect("who goes was here");
            assert_eq!(user, gone.user);
            if frontier.is_none() {
                assert_eq!(gone.last, self.is_away(&gone.user), "{gone:?}");
            }
        }
        self.count(changes.members, changes.users);
    }

    fn is_away(&self, user: &str) -> bool {
        self.present.values().all(|(other, _)| **other != *user)
    }

    fn count(&mut self, members: u32, users: u32) {
        (self.members, self.users) = (members, users);
        if self.watch != Watch::Count && self.frontier.is_none() {
            assert_eq!(members as usize, self.present.len());
            let distinct: BTreeSet<_> = self.present.values().map(|(user, _)| user).collect();
            assert_eq!(users as usize, distinct.len());
        }
    }
}

/// Who says this of itself.
pub(crate) fn says(name: &str) -> Payload {
    Payload::of(&name).unwrap()
}

/// A join, without presence.
pub(crate) fn enter(object: &str, watch: Watch) -> Join {
    Join { watch, ..Join::new(0, object.parse().unwrap(), Start::Now) }
}

/// A join of one who says this of itself.
pub(crate) fn present(object: &str, name: &str) -> Join {
    Join { presence: Some(says(name)), ..enter(object, Watch::None) }
}

/// Asks for everything.
pub(crate) fn all(object: u64) -> PresenceGet {
    PresenceGet { id: 0, object, since: None, after: None, limit: None }
}

/// A new checked client that is here.
pub(crate) async fn arrive(
    server: &TestServer,
    object: &str,
    name: &str,
) -> (CheckedClient, Joined) {
    let mut client = CheckedClient::connect(server.address, Encoding::Msgpack).await;
    let joined = client.join(present(object, name)).await;
    (client, joined)
}

/// A new checked client that only watches, and the object's id.
pub(crate) async fn watcher(server: &TestServer, object: &str) -> (CheckedClient, u64) {
    let mut client = CheckedClient::connect(server.address, Encoding::Json).await;
    let joined = client.join(enter(object, Watch::Roster)).await;
    (client, joined.object)
}

/// How often an object was woken, for whatever cause.
pub(crate) async fn wakes(server: &TestServer) -> u64 {
    let metrics = server.metrics().await;
    let lines = metrics.lines().filter(|line| line.starts_with("dormouse_object_wakes_total"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// Promise 6: nothing about presence needs an instance.
pub(crate) async fn nobody_woke(server: &TestServer) {
    assert_eq!(wakes(server).await, 0, "an object was woken");
}
