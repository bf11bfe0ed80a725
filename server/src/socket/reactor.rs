//! The loop of a thread that owns sockets.
//!
//! One iteration reads from ready sockets and executes the requests, takes commands, checks deadlines, and at its end writes once to
//! every socket that has queued bytes. Each step is bounded, so that no fan-out starves reads or timers.

use std::io;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use dormouse_protocol::{CloseCode, ErrorCode, ServerMessage, Welcome};
use mio::Events;
use tokio::time::Instant;

#[cfg(test)]
pub(crate) mod stepped;

use super::connections::activity::Unread;
use super::connections::connection::{Connection, Membership};
use super::connections::wheel::Wheel;
use super::connections::{Connections, LINE_WORK};
use super::inbox::{Command, Inbox, ReactorBuilder};
use super::memberships::Memberships;
use super::memberships::subscribers::Member;
use super::survey::Survey;
use super::{Accepted, Common};
use crate::auth::Refusal;
use crate::log::ObjectId;
use crate::memory::Tidy;
use crate::object::Address;
use crate::session::SessionId;

/// Commands taken in one iteration, unless they are more work than [`LINE_WORK`].
const COMMANDS: usize = 1_024;
/// A new connection, in the unit of [`super::read`].
const ACCEPT_WORK: u64 = 128;

/// A thread that owns sockets: its connections and their memberships, which it drives.
pub(super) struct Reactor {
    pub(super) inbox: Arc<Inbox>,
    pub(super) common: Common,
    pub(super) connections: Connections,
    pub(super) memberships: Memberships,
    commands: mpsc::Receiver<Command>,
    stopped: bool,
    tidy: Tidy,
}

impl Reactor {
    pub(super) fn new(index: usize, builder: ReactorBuilder, common: Common) -> Self {
        let ReactorBuilder { poll, inbox, commands } = builder;
        Self {
            connections: Connections::new(poll, common.clone()),
            memberships: Memberships::new(index, inbox.clone(), common.clone()),
            inbox,
            common,
            commands,
            stopped: false,
            tidy: Tidy::new(),
        }
    }

    /// Runs until it is drained or stopped.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1_024);
        let mut due = Vec::new();
        while !self.is_done() {
            match self.connections.poll.poll(&mut events, self.timeout()) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.turn(&events, &mut due, || ());
            if events.is_empty() {
                self.tidy.look(Instant::now().into_std());
            } else {
                self.tidy.after_work(Instant::now().into_std());
            }
        }
        Ok(())
    }

    /// One iteration. `due` is empty before and after. `meanwhile` runs where it matters what other threads do.
    fn turn(&mut self, events: &Events, due: &mut Vec<Address>, meanwhile: impl FnMut()) {
        // First, because this iteration computes its deadlines from the wheel's time. Due deadlines are checked after the reads, which
        // may bring the sign of life that a deadline waits for.
        self.connections.wheel.advance(Instant::now(), due);
        self.inbox.hold();
        for event in events {
            self.socket_ready(event);
        }
        self.go_on_reading();
        self.take_commands(meanwhile);
        for address in due.drain(..) {
            self.deadline(address);
        }
        self.memberships.fan_out_all(&mut self.connections);
        self.memberships.retry_all_stalled(&mut self.connections);
        self.feed_starved();
        self.memberships.catch_up_all(&mut self.connections);
        for (address, code) in self.connections.take_closes() {
            if let Some(key) = self.connections.find(address) {
                self.close(key, code);
            }
        }
        self.write_queued();
    }

    fn is_done(&self) -> bool {
        self.stopped || self.connections.draining.is_some() && self.connections.is_empty()
    }

    fn timeout(&self) -> Option<Duration> {
        let now = Instant::now();
        let (connections, memberships) = (&self.connections, &self.memberships);
        [connections.timeout(now), memberships.timeout(now), self.tidy.due_in(now.into_std())]
            .into_iter()
            .flatten()
            .min()
    }

    fn take_commands(&mut self, mut meanwhile: impl FnMut()) {
        let end = self.connections.work + LINE_WORK;
        let mut is_listening = false;
        for _ in 0..COMMANDS {
            match self.commands.try_recv() {
                Ok(command) => self.command(command),
                Err(_) if is_listening => return,
                Err(_) => {
                    // Later commands wake the reactor. Commands that arrived before this are still to be taken.
                    is_listening = true;
                    self.inbox.listen();
                    meanwhile();
                }
            }
            if self.connections.work >= end {
                break;
            }
        }
        // More commands may wait, and their senders do not wake the reactor again.
        self.inbox.listen();
        self.inbox.wake();
    }

    fn command(&mut self, command: Command) {
        let (memberships, connections) = (&mut self.memberships, &mut self.connections);
        match command {
            Command::Accepted(accepted) => self.accept(*accepted),
            Command::Delivery(delivery) => memberships.delivery(connections, delivery),
            Command::Lagging => memberships.lagging(connections),
            Command::Opened(join) => memberships.join_opened(connections, *join),
            Command::Page(page) => memberships.page_read(connections, page),
            Command::History(address, reply) => {
                connections.history_read(address, reply);
            }
            // The caller may have timed out, and then the reply fails.
            Command::Census(objects, reply) => {
                let census = |object: &ObjectId| memberships.census(connections, *object);
                _ = reply.send(objects.iter().map(census).collect());
            }
            Command::Survey(reply) => _ = reply.send(self.survey()),
            Command::CloseRevoked(reply) => _ = reply.send(self.close_revoked()),
            Command::Shed(bytes) => self.shed(bytes),
            Command::Drain(code) => self.drain(code),
            Command::Stop => self.stopped = true,
        }
    }

    fn accept(&mut self, accepted: Accepted) {
        self.connections.work += ACCEPT_WORK;
        let Accepted { stream, tls, answer, read, format, echoes, session, .. } = accepted;
        let Accepted { admitted, client, slot, .. } = accepted;
        // A connection with a bad token is closed below and sends nothing under this id.
        let session_id = session.as_ref().map_or(SessionId::NONE, |session| session.id);
        let (admitted, refusal) = match admitted {
            // It may have been revoked on the way here.
            Ok(Some(admitted)) if self.common.auth.is_revoked(&admitted.access) => {
                (None, Some(Refusal::Revoked))
            }
            Ok(admitted) => (admitted, None),
            Err(refusal) => (None, Some(refusal)),
        };
        let client = (admitted, client);
        let key = self.connections.insert((stream, tls), format, echoes, session_id, client, slot);
        let Some(key) = key else { return };
        if !answer.is_empty() {
            self.connections[key].queue_frame(answer);
        }
        match (session, refusal) {
            (_, Some(refusal)) => {
                let why = refusal.to_string();
                self.connections.refuse(key, None, ErrorCode::Forbidden, &why);
                self.close(key, CloseCode::Unauthorized);
            }
            (Ok(_), None) if echoes => {}
            (Ok(session), None) => {
                self.connections[key].queue(&ServerMessage::Welcome(Welcome {
                    session: (&*session.id).into(),
                    token: session.token,
                    server: concat!("dormouse/", env!("CARGO_PKG_VERSION")).into(),
                    ping_interval_ms: self.common.settings.ping_interval.as_millis() as u64,
                    limits: self.common.settings.limits,
                }));
            }
            (Err(_), None) => self.close(key, CloseCode::BadToken),
        }
        if let Some(code) = self.connections.draining {
            self.close(key, code);
        }
        self.connections.queue_write(key);
        // A copy: the bytes may keep a large buffer alive.
        if !read.is_empty() {
            self.connections[key].activity.begin().unread = Unread::new(&read, &self.common.budget);
        }
        self.connections.go_on(key);
    }

    /// Counts the connections of this reactor, the memory of those at rest with their memberships and deadlines, and what is
    /// kept for the others and for who catches up. What objects take is not in it, nor what the kernel does.
    fn survey(&self) -> Survey {
        let (subscribers, recent_bytes) = self.memberships.survey();
        let mut survey = Survey { subscribers, recent_bytes, ..Survey::default() };
        for (key, connection) in self.connections.iter() {
            if connection.activity.is_at_rest() {
                let memberships = connection.joins.len() * size_of::<Member>();
                let spilled = if connection.joins.spilled() {
                    connection.joins.capacity() * size_of::<Membership>()
                } else {
                    0
                };
                survey.at_rest += 1;
                survey.rest_bytes += size_of::<Connection>() + memberships + spilled;
                survey.rest_bytes += Wheel::<Address>::ENTRY_BYTES;
                survey.rest_bytes += self.connections.tls_bytes(key);
            } else {
                survey.busy += 1;
                survey.queued_bytes += connection.activity.outbox.bytes();
            }
        }
        survey
    }
}
