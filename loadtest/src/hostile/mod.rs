//! Hostile peers beside members who behave: what the members feel of each attack, and what the server does about it.
//!
//! The members publish at a steady rate, and are measured by turns in quiet and under an attack, in several rounds: what else
//! the machine does falls on both alike, and the medians tell of neither's worst moment. The attackers have a
//! thread of this process; what they take of the machine is told, since that shows in the latencies too.

mod attack;
mod crew;
mod outcome;
mod peer;

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::ValueEnum as _;

pub use attack::Attack;
pub use outcome::{Line, Outcome};

use self::crew::{Crew, Spent};
use crate::bench::metrics::Metrics;
use crate::cli::HostileOptions;
use crate::drive::pacer::Load;
use crate::drive::plan::Plan;
use crate::load::session::{Measured, Session, Setup};
use crate::load::steady::WARM_UP;
use crate::load::target::Target;
use crate::report::{Latency, difference, median, per_second, ratio};
use crate::wire::dormouse::Dormouse;

/// How long an attack may take to get under way before it is measured.
const BEGIN: Duration = Duration::from_millis(500);
/// And the server to get over it.
const GET_OVER: Duration = Duration::from_secs(1);

/// What is known of an attack in one round besides the latencies.
struct Told {
    spent: Spent,
    refused: u64,
    closed: u64,
}

/// Runs the scenario. What the members lost, or got twice, is told in the outcome.
pub fn run(options: &HostileOptions) -> Result<Outcome> {
    let HostileOptions { target: aim, rooms, members, publish_rate, attackers, rounds, .. } =
        options;
    let plan = Plan { rooms: *rooms, members_each: *members, publishers_each: 1 };
    let settings = [("COMPRESSION", "true"), ("RATES_ON_LOOPBACK", "true")];
    let settings = settings.map(|(key, value)| (key, value.to_owned()));
    ensure!(!aim.tls, "hostile peers speak no TLS: leave out --tls");
    let target = Target::new_with(aim, plan.members() + attackers, &settings)?;
    let wire = aim.wire();
    let setup = Setup {
        plan,
        payload: options.payload,
        sources: aim.source_addresses,
        timed_members: 0..plan.members(),
        shows_progress: !aim.json,
    };
    let names = room_names(&wire, *rooms);
    let mut session = Session::new(&target, wire, &setup, |_| None)?;
    session.open()?;
    session.load(Load::Rate(*publish_rate));
    session.play(WARM_UP, |_, _| false)?;
    let attacks =
        if options.attack.is_empty() { Attack::value_variants() } else { &options.attack };
    let mut told = Vec::new();
    for attack in attacks {
        for _ in 0..*rounds {
            session.measure(options.seconds, |_, _| false)?;
            told.push(play(*attack, options, &target, &mut session, &names)?);
            session.play(GET_OVER, |_, _| false)?;
        }
    }
    session.drain()?;
    let (mut windows, end) = session.close()?;
    windows.push((end.window, end.latency));
    let rounds_each = *rounds as usize;
    let lines = attacks.iter().zip(told.chunks(rounds_each)).zip(windows.chunks(2 * rounds_each));
    Ok(Outcome {
        scenario: "hostile",
        connections: plan.members(),
        publish_rate: *publish_rate,
        attackers: *attackers,
        rounds: *rounds,
        seconds: options.seconds.as_secs_f64(),
        attacks: lines.map(|((attack, told), windows)| line(*attack, told, windows)).collect(),
        faults: end.faults,
        closed_connections: end.closed,
        server_version: target.version.clone(),
    })
}

fn room_names(wire: &Dormouse, rooms: u32) -> Vec<String> {
    (0..rooms).map(|room| wire.room(room).to_string()).collect()
}

/// Measures the members under an attack.
fn play(
    attack: Attack,
    options: &HostileOptions,
    target: &Target,
    session: &mut Session<'_, Dormouse>,
    rooms: &[String],
) -> Result<Told> {
    let mut script = attack.script();
    script.rate = options.rate.unwrap_or(script.rate);
    let before = Metrics::fetch(target.internal)?;
    let crew = Crew::start(target.address, script, options.attackers, rooms.to_vec());
    session.play(BEGIN, |_, _| false)?;
    session.measure(options.seconds, |_, _| false)?;
    let after = Metrics::fetch(target.internal)?;
    Ok(Told {
        spent: crew.stop()?,
        refused: refused(&after).saturating_sub(refused(&before)),
        closed: closed(&after).saturating_sub(closed(&before)),
    })
}

/// Whatever the server has refused. What it has never refused is not there.
fn refused(metrics: &Metrics) -> u64 {
    let names = [
        "dormouse_connections_refused_total",
        "dormouse_http_cut_total",
        "dormouse_request_errors_total",
    ];
    let refused = names.into_iter().filter_map(|name| metrics.sum(name).ok()).sum::<u64>();
    refused + metrics.sum_of("dormouse_http_requests_total", "code", &["5xx"]).unwrap_or(0)
}

/// Connections that did not end as their clients wished.
fn closed(metrics: &Metrics) -> u64 {
    let all = metrics.sum("dormouse_closes_total").unwrap_or(0);
    all - metrics.sum_of("dormouse_closes_total", "code", &["normal"]).unwrap_or(0)
}

/// All rounds of an attack. The windows are by turns quiet and attacked.
#[expect(clippy::cast_precision_loss, reason = "microseconds stay far below 2^53")]
fn line(attack: Attack, told: &[Told], windows: &[Measured]) -> Line {
    let p99_us =
        |(_, latency): &Measured| (!latency.is_empty()).then(|| Latency::from(latency).p99_us);
    let cpu = |(window, _): &Measured| window.cpu.map(|cpu| percent(cpu, window.took));
    let of = |figure: &dyn Fn(&Measured) -> Option<f64>, first: usize| {
        median(windows.iter().skip(first).step_by(2).filter_map(figure))
    };
    let rounds = || windows.chunks_exact(2).map(|round| (&round[0], &round[1]));
    let growths = rounds().filter_map(|(quiet, attacked)| {
        Some(difference(attacked.0.pss_bytes?, quiet.0.pss_bytes?))
    });
    let ratios =
        rounds().filter_map(|(quiet, attacked)| Some(ratio(p99_us(attacked)?, p99_us(quiet)?)));
    let took = told.iter().map(|told| told.spent.took).sum();
    Line {
        attack,
        acts_per_s: per_second(told.iter().map(|told| told.spent.acts).sum(), took).round(),
        attack_cpu_percent: percent(told.iter().map(|told| told.spent.cpu).sum(), took),
        quiet_p99_us: of(&|window| p99_us(window).map(|us| us as f64), 0),
        attacked_p99_us: of(&|window| p99_us(window).map(|us| us as f64), 1),
        ratio: median(ratios),
        quiet_server_cpu_percent: of(&cpu, 0),
        attacked_server_cpu_percent: of(&cpu, 1),
        server_memory_growth_bytes: growths.max(),
        refused: told.iter().map(|told| told.refused).sum(),
        closed: told.iter().map(|told| told.closed).sum(),
    }
}

fn percent(cpu: Duration, took: Duration) -> f64 {
    (cpu.div_duration_f64(took) * 1000.0).round() / 10.0
}
