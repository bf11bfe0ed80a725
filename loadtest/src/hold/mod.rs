//! The hidden command `hold`: a process that opens many connections, joins with each, and keeps them open at little cost.
//!
//! One process can't open enough files for a large test, so a scenario runs several of these ([`holders`]). It says
//! `ready N` on standard output when all have joined, and when its standard input ends, `closed N`: how many were
//! lost meanwhile.

pub(crate) mod holders;

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Error, Result};
use dormouse_protocol::Encoding;

use crate::cli::HoldOptions;
use crate::drive::swarm::{Listener, Swarm};
use crate::wire::Notice;
use crate::wire::dormouse::{Company, Dormouse};

/// How long pings gather before they are answered. Clients elsewhere would not take turns with the server on its own cores: to be woken by
/// each ping alone costs the server half as much again as the ping.
const NAP: Duration = Duration::from_millis(20);
/// How often to look whether the input has ended.
const LOOK: Duration = Duration::from_millis(200);

/// How many connections were lost, by the reason.
#[derive(Default)]
struct Lost(BTreeMap<String, usize>);

/// Runs until standard input ends.
pub fn run(options: &HoldOptions) -> Result<()> {
    let HoldOptions { address, first, count, rooms, presence_bytes, source_addresses, .. } =
        *options;
    let mut wire = Dormouse::new(Encoding::Json).in_plain_rooms();
    if presence_bytes > 0 {
        wire = wire.in_company(Company::Present { bytes: presence_bytes });
    }
    let mut swarm =
        Swarm::new(wire, address, source_addresses)?.over_tls(options.tls.as_deref())?;
    for nth in first..first + count {
        swarm.seat(nth % rooms, None);
    }
    let mut lost = Lost::default();
    swarm.open(&mut lost)?;
    println!("ready {count}");

    let has_ended = input_end();
    while !has_ended.load(Ordering::Relaxed) {
        swarm.turn(LOOK, &mut lost)?;
        thread::sleep(NAP);
    }
    for (why, count) in &lost.0 {
        eprintln!("{count} connections were lost: {why}");
    }
    println!("closed {}", lost.0.values().sum::<usize>());
    Ok(())
}

/// Becomes true when standard input ends: there is nobody left to hold the connections for.
fn input_end() -> Arc<AtomicBool> {
    let has_ended = Arc::new(AtomicBool::new(false));
    thread::spawn({
        let has_ended = Arc::clone(&has_ended);
        move || {
            // However it ends.
            let _ = io::stdin().read_to_end(&mut Vec::new());
            has_ended.store(true, Ordering::Relaxed);
        }
    });
    has_ended
}

impl Listener for Lost {
    fn notice(&mut self, _: u32, _: Duration, _: Notice<'_>) {}

    fn closed(&mut self, _: u32, why: &Error) {
        *self.0.entry(format!("{why:#}")).or_default() += 1;
    }
}
