//! A client that outlives its connections.
//!
//! It owns a session, the objects that it has joined with its position in each, and an outbox of publishes that are
//! not acknowledged yet. When the connection breaks it makes another, continues the session, resumes every
//! object at its position and sends the outbox again, in order and under the same keys. It tries for ever: how long is
//! for its owner to decide. It has no task of its own and runs while [`Client::next`] is awaited.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use dormouse_protocol::{
    ClientMessage, Encoding, ErrorReply, Event, Events, Join, Joined, Key, Kind, ObjectName,
    Payload, Position, Publish, Published, Reset, ResetReason, ServerMessage, Start, Welcome,
};
use tokio::time::{Instant, sleep_until};

use crate::link::{Backoff, Ended, Link};

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
    last_id: u32,
    tally: Tally,
    last_failure: Option<String>,
}

/// An object that a client has joined, or wants to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object(usize);

/// What happened.
#[derive(Debug)]
pub enum Notice {
    /// The client is a member, for the first time or again.
    Joined {
        /// Of what.
        object: Object,
        /// The newest event at that moment.
        head: u64,
        /// Events follow after this offset.
        from: u64,
    },
    /// What was received of an object is to be dropped: the whole log follows.
    Reset {
        /// Of what.
        object: Object,
        /// Why.
        reason: ResetReason,
        /// Events follow after this offset.
        from: u64,
    },
    /// Events as the server sent them.
    Events {
        /// Of what.
        object: Object,
        /// The events.
        events: Vec<Event>,
    },
    /// A publish was acknowledged.
    Published {
        /// The key that it was given.
        key: Key,
        /// Where it stands in the log.
        offset: u64,
    },
}

/// What a client went through.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Connections that were established.
    pub connections: u64,
    /// Joins that continued at a position.
    pub resumed: u64,
    /// Positions that could not be continued.
    pub resets: u64,
    /// Publishes that were sent again.
    pub retries: u64,
    /// Acknowledgements that said that the event was stored before.
    pub duplicates: u64,
}

struct Session {
    id: Box<str>,
    token: Box<str>,
}

enum State {
    Waiting(Instant),
    Connecting(Pin<Box<dyn Future<Output = Result<Link, Ended>> + Send>>),
    Up(Box<Link>),
}

struct Membership {
    name: ObjectName,
    start: Start,
    progress: Progress,
}

/// How far a join has come on the present connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Apart,
    Asked { id: u32 },
    Member { number: u64 },
}

struct Outgoing {
    object: Object,
    kind: Kind,
    data: Payload,
    key: Key,
    /// The request on the present connection.
    id: Option<u32>,
    sent_before: bool,
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
            last_id: 0,
            tally: Tally::default(),
            last_failure: None,
        }
    }

    /// Joins an object, now and after every reconnect.
    pub fn join(&mut self, name: ObjectName, start: Start) -> Object {
        let object = Object(self.memberships.len());
        self.memberships.push(Membership { name, start, progress: Progress::Apart });
        self.send_waiting();
        object
    }

    /// Publishes until it is acknowledged. The outbox has no bound of its own: see [`Client::may_publish`].
    pub fn publish(&mut self, object: Object, kind: Kind, data: Payload, key: Key) {
        self.outbox.push_back(Outgoing { object, kind, data, key, id: None, sent_before: false });
        self.send_waiting();
    }

    /// Whether one more publish would be sent at once, as far as the server's limit goes.
    pub fn may_publish(&self) -> bool {
        self.outbox.len() < self.in_flight_max
    }

    /// Drops the connection without a word and makes another after a pause.
    pub fn cut(&mut self, pause: Duration) {
        self.state = State::Waiting(Instant::now() + pause);
        self.welcomed = false;
        for membership in &mut self.memberships {
            membership.progress = Progress::Apart;
        }
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
            ServerMessage::Joined(joined) => self.joined(&joined).map(Some),
            ServerMessage::Events(Events { object, events }) => {
                let object = self.by_number(object)?;
                let last = events.last().context("the server sent `events` without any")?;
                self.advance(object, last.offset);
                Ok(Some(Notice::Events { object, events }))
            }
            ServerMessage::Reset(Reset { object, reason, epoch, from }) => {
                let object = self.by_number(object)?;
                self.memberships[object.0].start = Start::After(Position { epoch, offset: from });
                self.tally.resets += 1;
                Ok(Some(Notice::Reset { object, reason, from }))
            }
            ServerMessage::Published(published) => self.published(&published).map(Some),
            ServerMessage::Error(error) => self.refused(&error).map(|()| None),
            ServerMessage::CaughtUp(_)
            | ServerMessage::Done(_)
            | ServerMessage::Signals(_)
            | ServerMessage::History(_)
            | ServerMessage::Roster(_)
            | ServerMessage::Presence(_) => Ok(None),
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

    fn joined(&mut self, joined: &Joined) -> Result<Notice> {
        let asked = Progress::Asked { id: joined.id };
        let index = self
            .memberships
            .iter()
            .position(|m| m.progress == asked)
            .context("the server answered a join that was not asked for")?;
        let object = Object(index);
        let membership = &mut self.memberships[index];
        membership.progress = Progress::Member { number: joined.object };
        membership.start = Start::After(Position { epoch: joined.epoch, offset: joined.from });
        self.backoff = Backoff::default();
        self.tally.resumed += u64::from(joined.resumed);
        self.send_waiting();
        if let Some(reason) = joined.reset {
            self.tally.resets += 1;
            return Ok(Notice::Reset { object, reason, from: joined.from });
        }
        Ok(Notice::Joined { object, head: joined.head, from: joined.from })
    }

    fn published(&mut self, published: &Published) -> Result<Notice> {
        let index = self
            .outbox
            .iter()
            .position(|o| o.id == Some(published.id))
            .context("the server acknowledged a publish that it was not sent")?;
        let outgoing = self.outbox.remove(index).expect("the index was just found");
        self.tally.duplicates += u64::from(published.duplicate);
        self.send_waiting();
        Ok(Notice::Published { key: outgoing.key, offset: published.offset })
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
        let member = Progress::Member { number };
        let index = self.memberships.iter().position(|m| m.progress == member);
        index.map(Object).with_context(|| format!("object {number} was not joined"))
    }

    fn advance(&mut self, object: Object, offset: u64) {
        if let Start::After(position) = &mut self.memberships[object.0].start {
            position.offset = offset;
        }
    }

    /// Sends the joins and publishes that wait, as far as the server's limit goes.
    fn send_waiting(&mut self) {
        let State::Up(link) = &mut self.state else { return };
        if !self.welcomed {
            return;
        }
        let asked = self.memberships.iter().filter(|m| m.is_asked()).count();
        let sent = self.outbox.iter().filter(|o| o.id.is_some()).count();
        let mut free = self.in_flight_max.saturating_sub(asked + sent);
        for membership in &mut self.memberships {
            if free > 0 && membership.progress == Progress::Apart {
                self.last_id += 1;
                link.send(&membership.ask(self.last_id));
                free -= 1;
            }
        }
        for outgoing in self.outbox.iter_mut().filter(|o| o.id.is_none()) {
            let progress = self.memberships[outgoing.object.0].progress;
            if let (1.., Progress::Member { number }) = (free, progress) {
                self.last_id += 1;
                link.send(&outgoing.publish(self.last_id, number));
                self.tally.retries += u64::from(outgoing.sent_before);
                outgoing.sent_before = true;
                free -= 1;
            }
        }
    }
}

impl Membership {
    fn is_asked(&self) -> bool {
        matches!(self.progress, Progress::Asked { .. })
    }

    fn ask(&mut self, id: u32) -> ClientMessage {
        self.progress = Progress::Asked { id };
        ClientMessage::Join(Join::new(id, self.name.clone(), self.start))
    }
}

impl Outgoing {
    fn publish(&mut self, id: u32, number: u64) -> ClientMessage {
        self.id = Some(id);
        ClientMessage::Publish(Publish {
            id,
            object: number,
            kind: self.kind.clone(),
            data: self.data.clone(),
            key: Some(self.key.clone()),
        })
    }
}
