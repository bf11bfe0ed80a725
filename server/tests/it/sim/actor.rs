//! A client that does what its plan says, comes back whenever its connection ends, and writes everything down. It judges
//! nothing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dormouse_protocol::{
    ClientMessage, ErrorCode, History, Leave, Ping, PresenceGet, PresenceSet, ServerMessage, Signal,
};
use tokio::sync::{Barrier, mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::client_state::{ClientState, Stage};
use super::history::{Connection, Diary, End, Line, Place};
use super::link::{Arrival, Link};
use super::plan::{Part, Step};
use crate::checked_client::says;
use crate::client::reply_id;
use crate::support::PATIENCE;

/// Requests that one client lets wait.
const MOST_WAITING: usize = 150;

/// What clients are told by the world.
#[derive(Clone)]
pub(super) struct Signposts {
    /// Nothing goes wrong before everybody has joined.
    pub(super) joined: Arc<Barrier>,
    /// Where the server is, while there is one.
    pub(super) address: watch::Receiver<Option<SocketAddr>>,
    /// Takes where a client stands when it has done everything.
    pub(super) settled: mpsc::UnboundedSender<Vec<Place>>,
    /// How far to read, at last.
    pub(super) goals: watch::Receiver<Option<Arc<Goals>>>,
}

/// By room: the end of its log and the version of its roster.
pub(super) type Goals = HashMap<String, (u64, u64)>;

pub(super) struct Actor {
    part: Part,
    session: String,
    token: String,
    signposts: Signposts,
    link: Option<Link>,
    state: ClientState,
    past: Vec<Connection>,
    present: Connection,
    /// Requests that wait for their reply on this connection.
    waiting: HashMap<u32, ClientMessage>,
    requests: u32,
    /// Connections that were let be.
    abandoned: Vec<Link>,
}

impl Actor {
    pub(super) fn new(
        number: usize,
        mut part: Part,
        names: &[String],
        session: (String, String),
        signposts: Signposts,
    ) -> Self {
        let state = ClientState::new(number, std::mem::take(&mut part.rooms), names);
        let (session, token) = session;
        let (link, waiting, abandoned) = Default::default();
        let requests = 0;
        Self {
            part,
            session,
            token,
            signposts,
            link,
            state,
            past: Vec::new(),
            present: Connection::default(),
            waiting,
            requests,
            abandoned,
        }
    }

    /// Everything, from the first join to the last event.
    pub(super) async fn play(mut self) -> Diary {
        self.until("joined", |actor| actor.state.is_everywhere()).await;
        self.signposts.joined.clone().wait().await;
        for step in std::mem::take(&mut self.part.steps) {
            self.act(step).await;
        }
        self.settle().await;
        self.arrive_at_goals().await;
        self.past.push(self.present);
        let places = self.state.places(&self.session);
        Diary { session: self.session, connections: self.past, places }
    }

    /// Gets an answer to everything, and says a last word in every roster.
    async fn settle(&mut self) {
        self.until("stored", |actor| actor.state.is_stored() && actor.waiting.is_empty()).await;
        for room in 0..self.state.rooms.len() {
            if self.state.rooms[room].says.is_some() {
                self.say(room, true).await;
            }
        }
        self.until("said", |actor| actor.state.is_everywhere() && actor.waiting.is_empty()).await;
        let places = self.state.places(&self.session);
        self.signposts.settled.send(places).expect("the world waits for all");
    }

    async fn arrive_at_goals(&mut self) {
        let goals = {
            let set = self.signposts.goals.wait_for(Option::is_some).await;
            set.expect("the world sets goals").clone().expect("it was waited for")
        };
        let is_at_end = |actor: &Self| {
            actor.link.is_some() && actor.waiting.is_empty() && actor.state.is_at(&goals)
        };
        // All that was sent before a last answer has been seen; a connection may turn out to have ended long ago.
        let mut before = None;
        while before != Some(self.past.len()) {
            self.until("the end", is_at_end).await;
            before = Some(self.past.len());
            self.ask(|id| ClientMessage::Ping(Ping { id })).await;
            self.until("the last answer", is_at_end).await;
        }
    }

    async fn act(&mut self, step: Step) {
        let is_free = self.waiting.len() < MOST_WAITING;
        match step {
            Step::Publish { room, count, bytes, is_keyed } if is_free => {
                self.state.publish(room, count, bytes, is_keyed);
                self.send_due().await;
            }
            Step::Repeat { room } if is_free => {
                self.state.repeat(room);
                self.send_due().await;
            }
            Step::Say { room } if is_free => self.say(room, true).await,
            Step::Hush { room } if is_free => self.say(room, false).await,
            Step::Leave { room } => {
                if let Some(object) = self.state.leave(room) {
                    self.ask(|id| ClientMessage::Leave(Leave { id, object })).await;
                }
            }
            Step::Return { room, from } => {
                self.state.come_back(room, from);
                self.send_due().await;
            }
            Step::Listen(time) => self.listen(time).await,
            Step::Ignore(time) => sleep(time).await,
            Step::Cut => {
                self.link = None;
                self.ended(End::Cut);
            }
            Step::Abandon => {
                self.abandoned.extend(self.link.take());
                self.ended(End::Cut);
            }
            Step::Close => self.close().await,
            Step::Ping if is_free => self.ask(|id| ClientMessage::Ping(Ping { id })).await,
            Step::Signal { room } => self.ask_in(room, signal).await,
            Step::ReadLog { room } if is_free => self.ask_in(room, history).await,
            Step::ReadRoster { room } if is_free => self.ask_in(room, roster).await,
            _ => {}
        }
    }

    async fn say(&mut self, room: usize, something: bool) {
        let Some((object, data)) = self.state.say(room, something) else { return };
        let data = data.as_deref().map(says);
        self.ask(|id| ClientMessage::PresenceSet(PresenceSet { id, object, data })).await;
    }

    /// Asks something of a room, as a member.
    async fn ask_in(&mut self, room: usize, make: fn(u32, u64) -> ClientMessage) {
        if let Stage::In(object) = self.state.rooms[room].stage {
            self.ask(|id| make(id, object)).await;
        }
    }

    async fn close(&mut self) {
        let Some(mut link) = self.link.take() else { return };
        // Where the server stops, the end just comes in another way.
        let _ = link.close().await;
        while let Ok(Arrival::Message(message)) =
            timeout(PATIENCE, link.arrive()).await.expect("the server closes too")
        {
            self.note(message);
        }
        self.ended(End::Closed);
        self.state.closed();
    }

    /// Reads for a while.
    async fn listen(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.hear(end).await;
        }
    }

    /// Reads until it is so.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(
                Instant::now() < end,
                "{} waits in vain: {what}; {:?}",
                self.session,
                self.waits_for()
            );
            self.hear(end).await;
        }
    }

    fn waits_for(&self) -> impl std::fmt::Debug {
        (self.link.is_some(), self.waiting.values().collect::<Vec<_>>(), &self.state.rooms)
    }

    /// Takes what arrives next, if anything does in time; on a new connection where there is none.
    async fn hear(&mut self, end: Instant) {
        let Some(link) = &mut self.link else { return self.connect().await };
        let Ok(arrival) = timeout_at(end, link.arrive()).await else { return };
        let code = match arrival {
            Ok(Arrival::Message(message)) => return self.take(message).await,
            Ok(Arrival::Closed(code)) => Some(code),
            Err(_) => None,
        };
        self.link = None;
        self.ended(End::ByServer(code));
    }

    async fn connect(&mut self) {
        let there_is_one = self.signposts.address.wait_for(Option::is_some).await;
        let address = there_is_one.expect("the world outlives its clients").expect("waited for");
        match Link::open(address, self.part.encoding, &self.token, self.part.is_narrow).await {
            Ok(link) => {
                self.link = Some(link);
                self.send_due().await;
            }
            // A server that stops.
            Err(_) => sleep(Duration::from_millis(1)).await,
        }
    }

    async fn take(&mut self, message: ServerMessage) {
        let is_refused = matches!(&message, ServerMessage::Error(error)
            if matches!(error.code, ErrorCode::Unavailable | ErrorCode::Overloaded));
        self.note(message);
        if is_refused {
            sleep(Duration::from_millis(1)).await;
        }
        self.send_due().await;
    }

    fn note(&mut self, message: ServerMessage) {
        let request = reply_id(&message).and_then(|id| self.waiting.remove(&id));
        self.state.take(&message, request.as_ref());
        self.present.lines.push(Line::Got(message));
    }

    /// Sends the joins and the publishes that are due.
    async fn send_due(&mut self) {
        while self.link.is_some() && self.waiting.len() < MOST_WAITING {
            let id = self.requests + 1;
            let Some(message) = self.state.due(id) else { return };
            self.ask(|_| message).await;
        }
    }

    async fn ask(&mut self, make: impl FnOnce(u32) -> ClientMessage) {
        let Some(link) = &mut self.link else { return };
        self.requests += 1;
        let message = make(self.requests);
        // Where it fails, what has arrived before the end can still be read, and then the end.
        let _ = link.send(&message).await;
        if !matches!(&message, ClientMessage::Signal(Signal { id: None, .. })) {
            self.waiting.insert(self.requests, message.clone());
        }
        self.present.lines.push(Line::Sent(message));
    }

    fn ended(&mut self, end: End) {
        self.present.end = end;
        self.past.push(std::mem::take(&mut self.present));
        self.waiting.clear();
        self.state.lost();
    }
}

fn signal(_: u32, object: u64) -> ClientMessage {
    ClientMessage::Signal(Signal { id: None, object, data: says("hello"), key: None })
}

fn history(id: u32, object: u64) -> ClientMessage {
    let reverse = id.is_multiple_of(2);
    let limit = Some(1 + id % 50);
    ClientMessage::History(History { id, object, after: None, before: None, limit, reverse })
}

fn roster(id: u32, object: u64) -> ClientMessage {
    ClientMessage::PresenceGet(PresenceGet { id, object, since: None, after: None, limit: None })
}
