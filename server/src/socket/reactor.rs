//! The loop of a thread that owns sockets.
//!
//! One iteration reads from ready sockets and executes the requests, takes commands, checks deadlines, and at its end writes once to
//! every socket that has queued bytes. Each step is bounded, so that no fan-out starves reads or timers.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use dormouse_protocol::{CloseCode, ServerMessage, Welcome};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use smallvec::SmallVec;
use tokio::time::Instant;
use tracing::error;

#[cfg(test)]
pub(crate) mod stepped;

use super::activity::{Activity, Unread};
use super::catch_up::Reader;
use super::connection::{Connection, Phase};
use super::inbox::{Command, Inbox, ReactorBuilder};
use super::join::PendingJoin;
use super::memory::RETRY as RETRY_MEMORY;
use super::metrics::Metrics;
use super::page::PageKey;
use super::read::LINE_WORK;
use super::subscribers::Subscribers;
use super::wheel::Wheel;
use super::write::WriteQueue;
use super::{Accepted, Settings};
use crate::limits::Budget;
use crate::log::ObjectId;
use crate::memory::Tidy;
use crate::object::{Address, Registry};
use crate::session::SessionId;

/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;
/// Commands taken in one iteration, unless they are more work than [`LINE_WORK`].
const COMMANDS: usize = 1_024;
/// A new connection, in the unit of [`super::read`].
const ACCEPT_WORK: u64 = 128;
/// The time until the next iteration while an input waits for room in a mailbox: mailboxes do not report room.
const RETRY: Duration = Duration::from_millis(1);

/// What all reactors share.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) registry: Registry,
    pub(super) settings: Settings,
    pub(super) budget: Budget,
    pub(super) metrics: Metrics,
}

/// A thread's sockets and their memberships.
pub(super) struct Reactor {
    pub(super) index: usize,
    pub(super) inbox: Arc<Inbox>,
    pub(super) common: Common,
    pub(super) connections: Slab<Connection>,
    pub(super) subscribers: Slab<Subscribers>,
    pub(super) subscribers_of: HashMap<ObjectId, u32>,
    pub(super) wheel: Wheel<Address>,
    /// Connections with queued bytes.
    pub(super) write_queue: WriteQueue,
    /// Objects with a batch.
    pub(super) batch: Vec<ObjectId>,
    /// The earliest end of a linger.
    pub(super) next_flush: Option<Instant>,
    /// Connections with members that have fallen behind in this iteration.
    pub(super) behind: Vec<u32>,
    /// Joins that their objects have not answered yet.
    pub(super) joining: HashMap<Address, PendingJoin>,
    /// The members that wait for each page of the log.
    pub(super) readers: HashMap<PageKey, Vec<Reader>>,
    /// Connections with an input that waits for room in a mailbox.
    pub(super) stalled: Vec<Address>,
    /// Connections that wait for memory.
    pub(super) starved: VecDeque<Address>,
    /// Connections that may have more to read.
    pub(super) ready: VecDeque<Address>,
    pub(super) poll: Poll,
    commands: mpsc::Receiver<Command>,
    /// The read buffer; it is taken out during a read.
    pub(super) buffer: Vec<u8>,
    /// Work done so far, in the unit of [`super::read`].
    pub(super) work: u64,
    generation: u32,
    /// The number of memberships so far.
    pub(super) joins: u32,
    pub(super) draining: Option<CloseCode>,
    stopped: bool,
    tidy: Tidy,
}

impl Reactor {
    pub(super) fn new(index: usize, builder: ReactorBuilder, common: Common) -> Self {
        Self {
            index,
            inbox: builder.inbox,
            common,
            connections: Slab::new(),
            subscribers: Slab::new(),
            subscribers_of: HashMap::new(),
            wheel: Wheel::new(Instant::now()),
            write_queue: WriteQueue::default(),
            batch: Vec::new(),
            next_flush: None,
            behind: Vec::new(),
            joining: HashMap::new(),
            readers: HashMap::new(),
            stalled: Vec::new(),
            starved: VecDeque::new(),
            ready: VecDeque::new(),
            poll: builder.poll,
            commands: builder.commands,
            buffer: vec![0; READ_BYTES],
            work: 0,
            generation: 0,
            joins: 0,
            draining: None,
            stopped: false,
            tidy: Tidy::new(),
        }
    }

    /// Runs until it is drained or stopped.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1_024);
        let mut due = Vec::new();
        while !self.is_done() {
            match self.poll.poll(&mut events, self.timeout()) {
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
        self.wheel.advance(Instant::now(), due);
        self.inbox.hold();
        for event in events {
            self.socket_ready(event);
        }
        self.go_on_reading();
        self.take_commands(meanwhile);
        for address in due.drain(..) {
            self.deadline(address);
        }
        self.fan_out_all();
        self.retry_all_stalled();
        self.feed_starved();
        for key in std::mem::take(&mut self.behind) {
            self.catch_up(key as usize);
        }
        self.write_queued();
    }

    fn is_done(&self) -> bool {
        self.stopped || self.draining.is_some() && self.connections.is_empty()
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.write_queue.is_empty() || !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let retry = (!self.stalled.is_empty()).then_some(RETRY);
        let starved = (!self.starved.is_empty()).then_some(RETRY_MEMORY);
        let flush = self.next_flush.map(|at| at.saturating_duration_since(now));
        [self.wheel.timeout(now), self.tidy.due_in(now.into_std()), retry, starved, flush]
            .into_iter()
            .flatten()
            .min()
    }

    fn take_commands(&mut self, mut meanwhile: impl FnMut()) {
        let end = self.work + LINE_WORK;
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
            if self.work >= end {
                break;
            }
        }
        // More commands may wait, and their senders do not wake the reactor again.
        self.inbox.listen();
        self.inbox.wake();
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Accepted(accepted) => self.accept(*accepted),
            Command::Delivery(delivery) => self.delivery(delivery),
            Command::Lagging => self.lagging(),
            Command::Opened(join) => self.join_opened(*join),
            Command::Page(page) => self.page_read(page),
            Command::History(address, reply) => self.history_read(address, reply),
            Command::Query(query) => query(self),
            Command::Shed(bytes) => self.shed(bytes),
            Command::Drain(code) => self.drain(code),
            Command::Stop => self.stopped = true,
        }
    }

    /// The key of a connection, if the address is still that of this connection.
    pub(super) fn find(&self, address: Address) -> Option<usize> {
        let key = address.connection as usize;
        let connection = self.connections.get(key)?;
        (connection.generation == address.generation).then_some(key)
    }

    fn accept(&mut self, accepted: Accepted) {
        self.work += ACCEPT_WORK;
        let Accepted { stream, answer, read, format, echoes, session, slot } = accepted;
        // A connection with a bad token is closed below and sends nothing under this id.
        let session_id = session.as_ref().map_or(SessionId::NONE, |session| session.id);
        let mut socket = TcpStream::from_std(stream);
        self.generation = self.generation.wrapping_add(1);
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut socket, Token(key), interest) {
            error!(%error, "a connection can't be watched and is dropped");
            return;
        }
        entry.insert(Connection {
            socket,
            generation: self.generation,
            format,
            echoes,
            session: session_id,
            joins: SmallVec::new(),
            activity: Activity::default(),
            heard: self.wheel.now(),
            unanswered: 0,
            pong_due: None,
            phase: Phase::Open,
            readable: true,
            hung_up: false,
            write_queued: false,
            in_line: false,
            slot,
        });
        self.common.metrics.connections.inc();
        let address = self.connections[key].address(key, 0);
        self.wheel.insert(self.wheel.after(self.silence(self.generation)), address);
        if !answer.is_empty() {
            self.connections[key].queue_frame(answer);
        }
        match session {
            Ok(_) if echoes => {}
            Ok(session) => self.connections[key].queue(&ServerMessage::Welcome(Welcome {
                session: (&*session.id).into(),
                token: session.token,
                server: concat!("dormouse/", env!("CARGO_PKG_VERSION")).into(),
                ping_interval_ms: self.common.settings.ping_interval.as_millis() as u64,
                limits: self.common.settings.limits,
            })),
            Err(_) => self.close(key, CloseCode::BadToken),
        }
        if let Some(code) = self.draining {
            self.close(key, code);
        }
        self.queue_write(key);
        // A copy: the bytes may keep a large buffer alive.
        if !read.is_empty() {
            self.connections[key].activity.begin().unread = Unread::new(&read, &self.common.budget);
        }
        self.go_on(key);
    }
}
