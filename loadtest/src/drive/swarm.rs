//! Many members on one poller and one thread.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, ensure};
use mio::{Events, Poll, Token};

use super::socket::{Arrival, Ends, More, READ_BYTES, Socket};
use super::tls::{self, Tls};
use crate::wire::{Membership, Notice, Wire};

/// Connections that are on their way at one time.
const OPENING_MAX: usize = 256;
/// How long nothing may come from the server while connections are on their way.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a slow member reads.
pub(crate) const SLOW_BYTES_PER_S: usize = 1_000;
/// In so many parts.
const SIPS_PER_S: usize = 10;

/// The members, numbered from 0 in the order in which they were seated.
pub(crate) struct Swarm<W: Wire> {
    wire: W,
    address: SocketAddr,
    tls: Option<tls::Config>,
    host: String,
    /// Over how many addresses of the loopback network the connections are spread; each has some 28,000 ports.
    sources: u8,
    start: Instant,
    poll: Poll,
    events: Events,
    seats: Vec<Seat<W::Peer>>,
    /// Those that are to connect.
    waiting: VecDeque<u32>,
    /// How many are on their way.
    opening: usize,
    /// Those that have something to send.
    sending: Vec<u32>,
    /// Those that have more to read, without an event that says so.
    reading: Vec<u32>,
    buffer: Vec<u8>,
    /// Those that read slowly.
    slow: Range<u32>,
    /// When they read again.
    next_sip: Duration,
    received: Received,
}

struct Seat<P> {
    peer: P,
    socket: Option<Socket>,
    /// It has joined, on the present connection.
    is_member: bool,
    receive_buffer: Option<usize>,
}

/// What has arrived for all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Received {
    /// Messages.
    pub(crate) messages: u64,
    /// Their bytes, without the frames.
    pub(crate) bytes: u64,
}

/// Who is told what arrives.
pub(crate) trait Listener {
    /// This arrived for a member; the time is since the run's start.
    fn notice(&mut self, member: u32, now: Duration, notice: Notice<'_>);

    /// A member's connection is gone, and won't come again by itself.
    fn closed(&mut self, member: u32, why: &Error);
}

impl<W: Wire> Swarm<W> {
    /// Nobody yet, on the way to a server.
    pub(crate) fn new(wire: W, address: SocketAddr, sources: u8) -> Result<Self> {
        // Where that is not enough, connecting tells.
        let _ = rlimit::increase_nofile_limit(u64::MAX);
        Ok(Self {
            wire,
            address,
            tls: None,
            host: address.to_string(),
            sources,
            start: Instant::now(),
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            seats: Vec::new(),
            waiting: VecDeque::new(),
            opening: 0,
            sending: Vec::new(),
            reading: Vec::new(),
            buffer: Vec::new(),
            slow: 0..0,
            next_sip: Duration::ZERO,
            received: Received::default(),
        })
    }

    /// Connects over TLS, if the server's certificate is named: a PEM file.
    pub(crate) fn over_tls(mut self, certificate: Option<&Path>) -> Result<Self> {
        self.tls = certificate.map(tls::Config::trusting).transpose()?;
        Ok(self)
    }

    /// The time since the run's start.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Adds a member of a room, which is not connected yet. The system takes in so many bytes for it, if that is told.
    pub(crate) fn seat(&mut self, room: u32, receive_buffer: Option<usize>) {
        let member = self.seats.len() as u32;
        let peer = self.wire.peer(member, room);
        let seat = Seat { peer, socket: None, is_member: false, receive_buffer };
        self.seats.push(seat);
    }

    /// Lets a member connect and join, in the turns that follow.
    pub(crate) fn admit(&mut self, member: u32) {
        self.waiting.push_back(member);
    }

    /// How many of those that were admitted have not joined.
    pub(crate) fn expected(&self) -> usize {
        self.waiting.len() + self.opening
    }

    /// Admits all that are seated, and waits until they have joined.
    pub(crate) fn open(&mut self, listener: &mut impl Listener) -> Result<()> {
        self.waiting.extend(0..self.seats.len() as u32);
        while self.expected() > 0 {
            let has_more = !self.reading.is_empty();
            self.turn(PATIENCE, listener)?;
            ensure!(
                has_more
                    || !self.events.is_empty()
                    || !self.reading.is_empty()
                    || self.expected() == 0,
                "the server is silent, and {} members wait for it",
                self.expected()
            );
        }
        for socket in self.seats.iter().filter_map(|seat| seat.socket.as_ref()) {
            socket.acknowledge()?;
        }
        Ok(())
    }

    /// Queues a publish, which is sent with the next turn.
    pub(crate) fn publish(&mut self, member: u32, payload: &[u8]) {
        let Seat { peer, socket, .. } = &mut self.seats[member as usize];
        let Some(socket) = socket else { return };
        if socket.out.is_empty() {
            self.sending.push(member);
        }
        self.wire.publish(peer, payload, &mut socket.out);
    }

    /// Cuts a member's connection, without a word. The member keeps its place.
    pub(crate) fn cut(&mut self, member: u32) {
        let seat = &mut self.seats[member as usize];
        seat.socket = None;
        seat.is_member = false;
    }

    /// What has arrived so far.
    pub(crate) fn received(&self) -> Received {
        self.received
    }

    /// Makes members read no more than [`SLOW_BYTES_PER_S`].
    pub(crate) fn slow_down(&mut self, members: Range<u32>) {
        self.slow = members;
    }

    /// Makes all members read all that there is again.
    pub(crate) fn speed_up(&mut self) -> Result<()> {
        for member in mem::take(&mut self.slow) {
            if let Some(socket) = &self.seats[member as usize].socket {
                socket.take_in(READ_BYTES)?;
            }
            self.reading.push(member);
        }
        Ok(())
    }

    /// Sends what is queued, waits for something to arrive, at most so long, and reads it: once from each connection.
    pub(crate) fn turn(&mut self, wait: Duration, listener: &mut impl Listener) -> Result<()> {
        while self.opening < OPENING_MAX
            && let Some(member) = self.waiting.pop_front()
        {
            self.connect(member)?;
        }
        self.send_all(listener)?;
        let wait = wait.min(self.sip(listener)?);
        let reading = mem::take(&mut self.reading);
        let wait = if reading.is_empty() { wait } else { Duration::ZERO };
        loop {
            match self.poll.poll(&mut self.events, Some(wait)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                done => break done?,
            }
        }
        for member in reading {
            self.ready(member, listener)?;
        }
        // They are put back, so that nothing is allocated.
        let events = mem::replace(&mut self.events, Events::with_capacity(0));
        let mut done = Ok(());
        for event in &events {
            let member = event.token().0 as u32;
            if event.is_writable() {
                done = done.and_then(|()| self.writable(member, listener));
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                done = done.and_then(|()| self.ready(member, listener));
            }
            if event.is_read_closed() {
                // After the last bytes there is the end to be read, of which no further event tells.
                self.reading.push(member);
            }
        }
        self.events = events;
        done?;
        self.send_all(listener)
    }

    /// Lets those that are slow read a little, if it is time. Gives the time until then.
    fn sip(&mut self, listener: &mut impl Listener) -> Result<Duration> {
        if self.slow.is_empty() {
            return Ok(Duration::MAX);
        }
        let now = self.now();
        if now >= self.next_sip {
            self.next_sip = now + Duration::from_secs(1) / SIPS_PER_S as u32;
            for member in self.slow.clone() {
                let done = self.read(member, SLOW_BYTES_PER_S / SIPS_PER_S, listener);
                self.settle(member, done.map(drop), listener)?;
            }
        }
        Ok(self.next_sip.saturating_sub(now))
    }

    fn connect(&mut self, member: u32) -> Result<()> {
        let seat = &mut self.seats[member as usize];
        let nth = (member % u32::from(self.sources)) as u8;
        let from = (self.sources > 1).then_some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1 + nth)));
        let ends = Ends { address: self.address, from, receive_buffer: seat.receive_buffer };
        let tls = self.tls.as_ref().map(Tls::new).transpose()?;
        let mut socket = Socket::connect(ends, tls)?;
        socket.register(self.poll.registry(), Token(member as usize))?;
        seat.socket = Some(socket);
        self.opening += 1;
        Ok(())
    }

    fn writable(&mut self, member: u32, listener: &mut impl Listener) -> Result<()> {
        let Seat { peer, socket, .. } = &mut self.seats[member as usize];
        let Some(socket) = socket else { return Ok(()) };
        let greeted = socket.greet(&self.host, || self.wire.upgrade(peer));
        let done = greeted.and_then(|()| socket.send());
        self.settle(member, done, listener)
    }

    fn ready(&mut self, member: u32, listener: &mut impl Listener) -> Result<()> {
        if self.slow.contains(&member) {
            return Ok(());
        }
        let done = self.read(member, usize::MAX, listener).map(|more| {
            if more == More::Maybe {
                self.reading.push(member);
            }
        });
        self.settle(member, done, listener)
    }

    /// Reads once.
    fn read(
        &mut self,
        member: u32,
        bytes_max: usize,
        listener: &mut impl Listener,
    ) -> Result<More> {
        let Seat { peer, socket, is_member, .. } = &mut self.seats[member as usize];
        let Some(socket) = socket else { return Ok(More::No) };
        let has_sent_all = socket.out.is_empty();
        // After the read, but before what it brought is looked at: once for all of it.
        let mut now = None;
        let (wire, start) = (&self.wire, self.start);
        let (was_member, received) = (*is_member, &mut self.received);
        let done = socket.receive(&mut self.buffer, bytes_max, |arrival, out| {
            let now = *now.get_or_insert_with(|| start.elapsed());
            let notice = &mut |notice: Notice<'_>| {
                *is_member |= matches!(notice, Notice::Joined { .. });
                listener.notice(member, now, notice);
            };
            match arrival {
                Arrival::Upgraded => {
                    if wire.join(peer, out) == Membership::Complete {
                        notice(Notice::Joined { from: None });
                    }
                    Ok(())
                }
                Arrival::Message(message) => {
                    received.messages += 1;
                    received.bytes += message.len() as u64;
                    wire.message(peer, message, out, notice)
                }
            }
        });
        self.opening -= usize::from(!was_member && *is_member);
        if has_sent_all && !socket.out.is_empty() {
            self.sending.push(member);
        }
        done
    }

    fn send_all(&mut self, listener: &mut impl Listener) -> Result<()> {
        let mut sending = mem::take(&mut self.sending);
        for member in sending.drain(..) {
            if let Some(socket) = &mut self.seats[member as usize].socket {
                let done = socket.send();
                self.settle(member, done, listener)?;
            }
        }
        self.sending = sending;
        Ok(())
    }

    /// The end of a member's connection is told; that of one that has not joined is the end of the run.
    fn settle(
        &mut self,
        member: u32,
        done: Result<()>,
        listener: &mut impl Listener,
    ) -> Result<()> {
        let Err(why) = done else { return Ok(()) };
        let was_member = self.seats[member as usize].is_member;
        self.cut(member);
        if was_member {
            listener.closed(member, &why);
            return Ok(());
        }
        let open = self.seats.iter().filter(|seat| seat.is_member).count();
        let address = self.address;
        Err(why).with_context(|| {
            format!("a connection to {address} could not be opened, with {open} open")
        })
    }
}
