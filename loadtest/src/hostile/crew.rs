//! The peers of an attack, on a thread of their own, at a steady rate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use nix::time::ClockId;

use super::attack::{Room, Script};
use super::peer::Peer;

/// Acts are done in bursts, one after each such time.
const BEAT: Duration = Duration::from_millis(1);
const READ_BYTES: usize = 64 << 10;

/// An attack under way. It ends when it is stopped.
pub(super) struct Crew {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Spent>>,
}

/// What an attack has done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spent {
    /// Connects, and times that a peer said its refrain or a part of it.
    pub(super) acts: u64,
    /// The processor time that took.
    pub(super) cpu: Duration,
    pub(super) took: Duration,
}

impl Crew {
    /// Starts so many peers. The rooms are those of the members.
    pub(super) fn start(
        address: SocketAddr,
        script: Script,
        peers: u32,
        rooms: Vec<String>,
    ) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let is_over = is_over.clone();
            move || attack(address, &script, peers + script.more_peers, &rooms, &is_over)
        });
        Self { is_over, thread }
    }

    /// Ends it, and all connections of it.
    pub(super) fn stop(self) -> Result<Spent> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the attackers have panicked"))?
    }
}

fn attack(
    address: SocketAddr,
    script: &Script,
    count: u32,
    rooms: &[String],
    is_over: &AtomicBool,
) -> Result<Spent> {
    let mut peers: Vec<Option<Peer>> = (0..count).map(|_| None).collect();
    let mut buffer = vec![0; READ_BYTES];
    let start = Instant::now();
    let (mut acts, mut due) = (0, 0.0);
    let mut last = start;
    while !is_over.load(Ordering::Relaxed) {
        let now = Instant::now();
        // What it is too slow for it leaves out: the rate says how much it may do, not how much it must.
        due += script.rate * now.duration_since(last).min(BEAT * 20).as_secs_f64();
        last = now;
        while due >= 1.0 && !is_over.load(Ordering::Relaxed) {
            due -= 1.0;
            let nth = acts as usize % peers.len();
            acts += 1;
            if let Some(peer) = &mut peers[nth] {
                if !peer.act(script.reads, &mut buffer) {
                    peers[nth] = None;
                }
                continue;
            }
            let room = match script.room {
                Room::None => None,
                Room::Own => Some(format!("room/hostile-{nth}")),
                Room::Theirs => Some(rooms[nth % rooms.len()].clone()),
            };
            // A refusal is what it is about.
            peers[nth] = Peer::connect(address, script, room.as_deref(), &mut buffer).ok();
        }
        sleep(BEAT);
    }
    let cpu = ClockId::CLOCK_THREAD_CPUTIME_ID.now().context("the time of a thread is not told")?;
    Ok(Spent { acts, cpu: cpu.into(), took: start.elapsed() })
}
