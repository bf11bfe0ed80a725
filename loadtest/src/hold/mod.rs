//! The hidden command `hold`: a process that opens many connections, joins with each, and keeps them open at little cost.
//!
//! One process can't open enough files for a large test, so a scenario runs several of these ([`holders`]). It says
//! `ready N` on standard output when all have joined, and when its standard input ends, `closed N`: how many were
//! lost meanwhile.

pub(crate) mod holders;
mod member;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::cli::HoldOptions;
use member::Member;

/// How long pings gather before they are answered.
const NAP: Duration = Duration::from_millis(20);
/// Connections that are on their way at one time.
const OPENING_MAX: usize = 256;
/// How long nothing may come from the server while connections are on their way.
const PATIENCE: Duration = Duration::from_secs(30);
const READ_BYTES: usize = 64 << 10;
const INPUT_ENDED: Token = Token(usize::MAX);

/// Runs until standard input ends.
pub fn run(options: &HoldOptions) -> Result<()> {
    // Where that is not enough, connecting tells.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let mut held = Held::new(options)?;
    held.open()?;
    println!("ready {}", options.count);
    held.wait()?;
    for (why, count) in &held.lost {
        eprintln!("{count} connections were lost: {why}");
    }
    println!("closed {}", held.lost.values().sum::<usize>());
    Ok(())
}

struct Held<'a> {
    options: &'a HoldOptions,
    poll: Poll,
    /// Outlives the thread that uses it: with the waker, a wake that is not noticed yet would be lost.
    _waker: Arc<Waker>,
    events: Events,
    connections: Vec<Option<Connection>>,
    at_rest: usize,
    /// How many were lost, by the reason.
    lost: BTreeMap<String, usize>,
    buffer: Box<[u8]>,
}

struct Connection {
    socket: TcpStream,
    is_connected: bool,
    member: Member,
}

/// Whether there is a reason to go on.
#[derive(PartialEq, Eq)]
enum Input {
    Open,
    Ended,
}

impl<'a> Held<'a> {
    fn new(options: &'a HoldOptions) -> Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), INPUT_ENDED)?);
        thread::spawn({
            let waker = Arc::clone(&waker);
            move || {
                // However it ends, there is nobody left to hold the connections for.
                let _ = io::stdin().read_to_end(&mut Vec::new());
                let _ = waker.wake();
            }
        });
        Ok(Self {
            options,
            poll,
            _waker: waker,
            events: Events::with_capacity(1024),
            connections: Vec::with_capacity(options.count),
            at_rest: 0,
            lost: BTreeMap::new(),
            buffer: vec![0; READ_BYTES].into(),
        })
    }

    /// Opens all connections and waits until all have joined.
    fn open(&mut self) -> Result<()> {
        while self.at_rest < self.options.count {
            while self.connections.len() < self.options.count.min(self.at_rest + OPENING_MAX) {
                let connection = self.connect(self.connections.len())?;
                self.connections.push(Some(connection));
            }
            let input = self.turn(Some(PATIENCE))?;
            ensure!(input == Input::Open, "stopped");
            ensure!(!self.events.is_empty(), "the server is silent");
            if let Some(why) = self.lost.keys().next() {
                bail!("{why} ({} connections were open)", self.at_rest);
            }
        }
        Ok(())
    }

    /// Answers pings until standard input ends.
    fn wait(&mut self) -> Result<()> {
        while self.turn(None)? == Input::Open {
            // Clients elsewhere would not take turns with the server on its own cores: to be woken by each ping
            // alone costs the server half as much again as the ping.
            thread::sleep(NAP);
        }
        Ok(())
    }

    fn connect(&self, nth: usize) -> Result<Connection> {
        let HoldOptions { address, first, rooms, presence_bytes, .. } = *self.options;
        let mut socket = TcpStream::connect(address).context("cannot open one more connection")?;
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut socket, Token(nth), both)?;
        let object = format!("room/{}", (first + nth) % rooms);
        let member = Member::new(first + nth, &object, presence_bytes);
        Ok(Connection { socket, is_connected: false, member })
    }

    /// Waits for something to happen and deals with it.
    fn turn(&mut self, patience: Option<Duration>) -> Result<Input> {
        loop {
            match self.poll.poll(&mut self.events, patience) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                done => break done?,
            }
        }
        let mut input = Input::Open;
        for event in &self.events {
            if event.token() == INPUT_ENDED {
                input = Input::Ended;
                continue;
            }
            let slot = &mut self.connections[event.token().0];
            let Some(connection) = slot else { continue };
            let was_at_rest = connection.member.is_at_rest();
            match connection.ready(&self.options.address.to_string(), &mut self.buffer) {
                Ok(()) => {
                    self.at_rest += usize::from(!was_at_rest && connection.member.is_at_rest());
                }
                Err(error) => {
                    *self.lost.entry(format!("{error:#}")).or_default() += 1;
                    *slot = None;
                }
            }
        }
        Ok(input)
    }
}

impl Connection {
    /// Reads all that there is and answers it. An error is the end of the connection.
    fn ready(&mut self, host: &str, buffer: &mut [u8]) -> Result<()> {
        if !self.is_connected {
            if let Some(error) = self.socket.take_error()? {
                return Err(error.into());
            }
            match self.socket.peer_addr() {
                Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(()),
                done => done?,
            };
            self.is_connected = true;
            self.socket.set_nodelay(true)?;
            self.write(Member::upgrade(host).as_bytes())?;
        }
        let mut out = Vec::new();
        loop {
            match self.socket.read(buffer) {
                Ok(0) => bail!("the connection ended"),
                Ok(count) => self.member.receive(&buffer[..count], &mut out)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.write(&out)
    }

    /// What is sent are a few bytes at a time, which any socket takes at once.
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.socket.write_all(bytes).context("the socket takes nothing")
    }
}
