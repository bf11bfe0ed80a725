//! What connections cost that do nothing: many of them, spread over rooms that all sleep.

mod outcome;

use std::thread::sleep;
use std::time::Instant;

use anyhow::Result;

use crate::bench::proc::slab_bytes;
use crate::bench::server::{Server, Site};
use crate::bench::visit::visit;
use crate::cli::IdleOptions;
use crate::hold::holders::{Crowd, Holders};
use crate::report::{difference, per, per_second};
pub use outcome::Outcome;

/// Connections that the scenario itself needs.
const SPARE_CONNECTIONS: u32 = 64;

/// Runs the scenario. Lost connections are told in the outcome.
pub fn run(options: &IdleOptions) -> Result<Outcome> {
    let crowd = Crowd {
        connections: options.connections,
        rooms: options.rooms,
        presence_bytes: options.presence_bytes,
        source_addresses: options.source_addresses,
    };
    let connections = u64::from(crowd.connections);
    let site = Site::new(&options.server)?.over_tls(options.tls)?;
    let server = site.start(&[
        ("LIMITS_CONNECTIONS", (crowd.connections + SPARE_CONNECTIONS).to_string()),
        ("CLASSES_ROOM_SLEEP_AFTER", "1s".to_owned()),
    ])?;
    warm_up(&server)?;

    let before = (server.pss_bytes()?, slab_bytes(), server.cpu_time()?);
    eprintln!("opening {} connections", crowd.connections);
    let opening = Instant::now();
    let holders = Holders::open(&server, &crowd)?;
    let connects_per_s = per_second(connections, opening.elapsed()).round();
    let connect_cpu = server.cpu_time()?.saturating_sub(before.2);
    eprintln!("waking each of {} rooms once", crowd.rooms);
    visit(&server.url(), 0..u64::from(crowd.rooms))?;
    server.rest(connections)?;
    let growth = |pss: u64| per(difference(pss, before.0), connections);
    eprintln!("server memory at first: {} bytes a connection", growth(server.pss_bytes()?));

    eprintln!("watching for {} s", options.seconds.as_secs_f64());
    let pings = server.metrics()?.sum("dormouse_pings_total")?;
    let (start, cpu) = (Instant::now(), server.cpu_time()?);
    sleep(options.seconds);
    let cpu_share = server.cpu_time()?.saturating_sub(cpu).div_duration_f64(start.elapsed());
    let pings_sent = server.metrics()?.sum("dormouse_pings_total")? - pings;
    // Not before: pings take memory, too, and a thread gives back what it has freed only when it has something to do.
    let after = (server.pss_bytes()?, slab_bytes());
    let unexpected_closes = holders.end()?;

    // Both ends of each connection are in this system.
    let slab = before.1.zip(after.1).map(|(before, after)| difference(after, before));
    let kernel = slab.filter(|growth| *growth > 0).map(|growth| per(growth, 2 * connections));
    Ok(Outcome {
        scenario: "idle",
        connections,
        rooms: crowd.rooms,
        presence_bytes: crowd.presence_bytes,
        server_pss_bytes_per_connection: growth(after.0),
        server_cpu_percent: (cpu_share * 100_000.0).round() / 1000.0,
        connect_cpu_us_per_connection: per(connect_cpu.as_micros() as i64, connections),
        connects_per_s,
        kernel_bytes_per_connection: kernel,
        pings_sent,
        unexpected_closes,
        server_version: server.version().to_owned(),
    })
}

/// One connection joins, publishes and leaves, so that memory which the server's threads make at their first use is not
/// counted for the connections.
fn warm_up(server: &Server) -> Result<()> {
    visit(&server.url(), 0..1)?;
    server.rest(0)
}
