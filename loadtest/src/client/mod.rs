//! A client that outlives its connections.
//!
//! It owns a session, the objects that it has joined with its position in each, and an outbox of publishes that are
//! not acknowledged yet. When the connection breaks it makes another, continues the session, resumes every
//! object at its position and sends the outbox again, in order and under the same keys. It tries for ever: how long is
//! for its owner to decide. It has no task of its own and runs while [`Client::next`] is awaited.

mod membership;
mod notice;
mod outbox;

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use dormouse_protocol::{
    CaughtUp, ClientMessage, Done, Encoding, ErrorReply, Events, History, Joined, Key, Kind,
    ObjectName, Payload, Position, Published, Reset, ServerMessage, Signal, Signals, Start,
    Welcome,
};
use tokio::time::{Instant, sleep_until};

use crate::link::{Backoff, Ended, Link};
use membership::{Membership, Progress};
pub use notice::{Notice, Tally};
use outbox::Outgoing;

/// A client.
pub struct Client {
    url: String,
    encoding: Encoding,
    state: State,
    backoff: Backoff,
    session: Option<Session>,
    /// On the present connection: `welcome` has come, and with it the limits and the joins.
    welcomed: bool,
    in_flight_max: usize,
    memberships: Vec<Membership>,
    outbox: VecDeque<Outgoing>,
    /// The leaves and changes of presence that wait for their reply on the present connection.
    changes: HashMap<u32, Object>,
    /// The same for reads of history, with the offset after which each starts.
    reads: HashMap<u32, (Object, u64)>,
    last_id: u32,
    tally: Tally,
    last_failure: Option<String>,
}

/// An object that a client has joined, or wants to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Object(usize);

struct Session {
    id: Box<str>,
    token: Box<str>,
}

enum State {
    Waiting(Instant),
    Connecting(Pin<Box<dyn Future<Output = Result<Link, Ended>> + Send>>),
    Up(Box<Link>),
}

impl Client {
    /// A client of the server at a URL like `ws://127.0.0.1:7700`; connects when it is first awaited.
    pub fn new(url: &str, encoding: Encoding) -> Self {
        Self {
            url: format!("{}/v1/connect", url.trim_end_matches('/')),
            encoding,
            state: State::Waiting(Instant::now()),
            backoff: Backoff::default(),
            session: None,
            welcomed: false,
            in_flight_max: 1,
            memberships: Vec::new(),
            outbox: VecDeque::new(),
            changes: HashMap::new(),
            reads: HashMap::new(),
            last_id: 0,
            tally: Tally::default(),
            last_failure: None,
        }
    }

    /// The same client, that never waits longer than this before it tries again.
    #[must_use]
    pub fn hurried(mut self, longest: Duration) -> Self {
        self.backoff = Backoff::up_to(longest);
        self
    }

    /// Joins an object, now and after every reconnect.
    pub fn join(&mut self, name: ObjectName, start: Start) -> Object {
        self.add(Membership::new(name, start, false))
    }

    /// The same, and watches the roster.
    pub fn join_and_watch(&mut self, name: ObjectName, start: Start) -> Object {
        self.add(Membership::new(name, start, true))
    }

    /// Leaves an object. What is not acknowledged yet in it is published when it is joined again.
    pub fn leave(&mut self, object: Object) {
        self.memberships[object.0].is_wanted = false;
        self.send_waiting();
    }

    /// Joins an object again that was left: from the position where it was left, or from somewhere else.
    pub fn join_again(&mut self, object: Object, start: Option<Start>) {
        let membership = &mut self.memberships[object.0];
        membership.is_wanted = true;
        membership.start = start.unwrap_or(membership.start);
        self.send_waiting();
    }

    /// What an object's roster is to say of this client, now and after every reconnect; `None` to be out of it.
    pub fn set_presence(&mut self, object: Object, data: Option<Payload>) {
        self.memberships[object.0].presence = data;
        self.send_waiting();
    }

    /// Sends a signal, once. Without effect where the client is no member at this moment.
    pub fn signal(&mut self, object: Object, data: Payload) {
        let number = self.memberships[object.0].number();
        if let (State::Up(link), Some(object)) = (&mut self.state, number) {
            link.send(&ClientMessage::Signal(Signal { id: None, object, data, key: None }));
        }
    }

    /// Asks once for at most so many events after an offset, of an object of which the client is a member.
    pub fn history(&mut self, object: Object, after: u64, limit: u32) {
        let number = self.memberships[object.0].number();
        if let (State::Up(link), Some(number)) = (&mut self.state, number) {
            self.last_id += 1;
            self.reads.insert(self.last_id, (object, after));
            link.send(&ClientMessage::History(History {
                id: self.last_id,
                object: number,
                after: Some(after),
                before: None,
                limit: Some(limit),
                reverse: false,
            }));
        }
    }

    /// Publishes until it is acknowledged. The outbox has no bound of its own: see [`Client::may_publish`].
    pub fn publish(&mut self, object: Object, kind: Kind, data: Payload, key: Key) {
        self.outbox.push_back(Outgoing { object, kind, data, key, id: None, sent: 0 });
        self.send_waiting();
    }

    /// Whether one more publish would be sent at once, as far as the server's limit goes.
    pub fn may_publish(&self) -> bool {
        self.outbox.len() < self.in_flight_max
    }

    /// Whether all that was wished is done: joins, leaves, presence and publishes.
    pub fn is_settled(&self) -> bool {
        let is_idle = self.outbox.is_empty() && self.changes.is_empty();
        is_idle && self.memberships.iter().all(Membership::is_settled)
    }

    /// Whether it is to be a member.
    pub fn is_wanted(&self, object: Object) -> bool {
        self.memberships[object.0].is_wanted
    }

    /// Where the next join of an object will start: its position, where it has one.
    pub fn start(&self, object: Object) -> Start {
        self.memberships[object.0].start
    }

    /// Under which number it was told to be in the roster last, and what is to be said of it there.
    pub fn place(&self, object: Object) -> Option<(u64, &Payload)> {
        let membership = &self.memberships[object.0];
        membership.member.zip(membership.presence.as_ref())
    }

    /// Who it is; known when it was connected once.
    pub fn session(&self) -> Option<&str> {
        self.session.as_ref().map(|session| &*session.id)
    }

    /// Drops the connection without a word and makes another after a pause.
    pub fn cut(&mut self, pause: Duration) {
        self.state = State::Waiting(Instant::now() + pause);
        self.welcomed = false;
        self.changes.clear();
        self.reads.clear();
        self.memberships.iter_mut().for_each(Membership::part);
        for outgoing in &mut self.outbox {
            outgoing.id = None;
        }
    }

    /// What the client went through so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Why the last connection ended or did not come about.
    pub fn last_failure(&self) -> Option<&str> {
        self.last_failure.as_deref()
    }

    /// Connects once, only to see that a server is there. Unlike [`Client::next`] it does not try again.
    pub async fn probe(&self) -> Result<()> {
        match Link::connect(self.connect_url(), self.encoding).await {
            Ok(_) => Ok(()),
            Err(ended) => bail!("no server at {}: {}", self.url, ended.why()),
        }
    }

    /// Runs until something happens. Nothing is lost where the future is dropped.
    ///
    /// Fails only where trying again is useless: the server refused for good or broke the protocol.
    pub async fn next(&mut self) -> Result<Notice> {
        loop {
            let ended = match &mut self.state {
                State::Waiting(until) => {
                    sleep_until(*until).await;
                    let attempt = Link::connect(self.connect_url(), self.encoding);
                    self.state = State::Connecting(Box::pin(attempt));
                    continue;
                }
                State::Connecting(attempt) => match attempt.await {
                    Ok(link) => {
                        self.tally.connections += 1;
                        self.state = State::Up(Box::new(link));
                        continue;
                    }
                    Err(ended) => ended,
                },
                State::Up(link) => match link.receive().await {
                    Ok(message) => match self.take(message)? {
                        Some(notice) => return Ok(notice),
                        None => continue,
                    },
                    Err(ended) => ended,
                },
            };
            match ended {
                Ended::Final(why) => bail!("{}: {why}", self.url),
                Ended::Again(why) => self.retry(why),
            }
        }
    }

    fn connect_url(&self) -> String {
        match &self.session {
            Some(session) => format!("{}?session={}", self.url, session.token),
            None => self.url.clone(),
        }
    }

    fn retry(&mut self, why: String) {
        self.last_failure = Some(why);
        let pause = self.backoff.pause();
        self.cut(pause);
    }

    fn take(&mut self, message: ServerMessage) -> Result<Option<Notice>> {
        match message {
            ServerMessage::Welcome(welcome) => self.greeted(welcome).map(|()| None),
            ServerMessage::Joined(joined) => self.joined(joined).map(Some),
            ServerMessage::Events(Events { object, events }) => {
                let object = self.by_number(object)?;
                let last = events.last().context("the server sent `events` without any")?;
                self.memberships[object.0].advance(last.offset);
                Ok(Some(Notice::Events { object, events }))
            }
            ServerMessage::Reset(Reset { object, reason, epoch, from }) => {
                let object = self.by_number(object)?;
                let position = Position { epoch, offset: from };
                self.memberships[object.0].start = Start::After(position);
                self.tally.resets += 1;
                Ok(Some(Notice::Reset { object, reason, position }))
            }
            ServerMessage::CaughtUp(CaughtUp { object, offset }) => {
                let object = self.by_number(object)?;
                Ok(Some(Notice::CaughtUp { object, offset }))
            }
            ServerMessage::Published(published) => self.published(published).map(Some),
            ServerMessage::Signals(Signals { object, signals }) => {
                let object = self.by_number(object)?;
                Ok(Some(Notice::Signals { object, signals }))
            }
            ServerMessage::Roster(roster) => {
                let object = self.by_number(roster.object)?;
                self.memberships[object.0].version = Some(roster.version);
                Ok(Some(Notice::Roster { object, roster }))
            }
            ServerMessage::Presence(changes) => {
                let object = self.by_number(changes.object)?;
                self.memberships[object.0].version = Some(changes.version);
                Ok(Some(Notice::Presence { object, changes }))
            }
            ServerMessage::History(page) => {
                let asked = self.reads.remove(&page.id);
                let (object, after) =
                    asked.context("the server answered a read that was not asked for")?;
                Ok(Some(Notice::History { object, after, page }))
            }
            ServerMessage::Done(Done { id }) => Ok(self.done(id)),
            // This client has no other token: it reports the refusal when it connects again.
            ServerMessage::TokenExpiring(_) => Ok(None),
            ServerMessage::Removed(removed) => {
                bail!("the server ended a membership: {}", removed.message)
            }
            ServerMessage::Error(error) => self.refused(&error).map(|()| None),
        }
    }

    fn greeted(&mut self, welcome: Welcome) -> Result<()> {
        if let Some(session) = &self.session {
            ensure!(
                session.id == welcome.session,
                "the token of session {} was answered with session {}",
                session.id,
                welcome.session
            );
        }
        self.session = Some(Session { id: welcome.session, token: welcome.token });
        self.welcomed = true;
        self.in_flight_max = welcome.limits.in_flight.max(1) as usize;
        self.send_waiting();
        Ok(())
    }

    fn joined(&mut self, joined: Joined) -> Result<Notice> {
        let answered =
            self.memberships.iter().enumerate().find_map(|(index, m)| match m.progress {
                Progress::Asked { id, from } if id == joined.id => Some((index, from)),
                _ => None,
            });
        let (index, asked) =
            answered.context("the server answered a join that was not asked for")?;
        let object = Object(index);
        self.memberships[index].joined(&joined);
        self.backoff.rest();
        self.tally.resumed += u64::from(joined.resumed);
        self.send_waiting();
        if let Some(reason) = joined.reset {
            self.tally.resets += 1;
            let position = Position { epoch: joined.epoch, offset: joined.from };
            return Ok(Notice::Reset { object, reason, position });
        }
        Ok(Notice::Joined { object, asked, joined })
    }

    fn published(&mut self, published: Published) -> Result<Notice> {
        let index = self
            .outbox
            .iter()
            .position(|o| o.id == Some(published.id))
            .context("the server acknowledged a publish that it was not sent")?;
        let Outgoing { object, key, sent, .. } =
            self.outbox.remove(index).expect("the index was just found");
        self.tally.duplicates += u64::from(published.duplicate);
        self.send_waiting();
        Ok(Notice::Published { object, key, sent, published })
    }

    /// A leave is done, or a presence is set.
    fn done(&mut self, id: u32) -> Option<Notice> {
        let object = self.changes.remove(&id)?;
        let membership = &mut self.memberships[object.0];
        let is_leave = membership.progress == Progress::Leaving { id };
        if is_leave {
            membership.left();
        }
        self.send_waiting();
        is_leave.then_some(Notice::Left { object })
    }

    /// What is refused for now is tried again like after a broken connection: what was sent behind it may be stored
    /// already, and its keys make that harmless.
    fn refused(&mut self, error: &ErrorReply) -> Result<()> {
        let why = format!("refused: {}: {}", error.code.as_str(), error.message);
        ensure!(error.code.is_retryable(), why);
        self.retry(why);
        Ok(())
    }

    fn by_number(&self, number: u64) -> Result<Object> {
        let index = self.memberships.iter().position(|m| m.number == Some(number));
        index.map(Object).with_context(|| format!("object {number} was not joined"))
    }

    fn add(&mut self, membership: Membership) -> Object {
        let object = Object(self.memberships.len());
        self.memberships.push(membership);
        self.send_waiting();
        object
    }

    /// Sends the requests and publishes that wait, as far as the server's limit goes.
    fn send_waiting(&mut self) {
        let State::Up(link) = &mut self.state else { return };
        if !self.welcomed {
            return;
        }
        let asked = self.memberships.iter().filter(|m| m.is_asked()).count();
        let sent = self.outbox.iter().filter(|o| o.id.is_some()).count();
        let mut free =
            self.in_flight_max.saturating_sub(asked + sent + self.changes.len() + self.reads.len());
        for (index, membership) in self.memberships.iter_mut().enumerate() {
            if free > 0
                && let Some(request) = membership.ask(self.last_id + 1)
            {
                self.last_id += 1;
                if !matches!(request, ClientMessage::Join(_)) {
                    self.changes.insert(self.last_id, Object(index));
                }
                link.send(&request);
                free -= 1;
            }
        }
        for outgoing in self.outbox.iter_mut().filter(|o| o.id.is_none()) {
            if let (1.., Some(number)) = (free, self.memberships[outgoing.object.0].number()) {
                self.last_id += 1;
                self.tally.retries += u64::from(outgoing.sent > 0);
                link.send(&outgoing.publish(self.last_id, number));
                free -= 1;
            }
        }
    }
}
