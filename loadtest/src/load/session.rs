//! One run against a server: members are seated, connected, let talk for a while, and asked what they have received.

use std::ops::Range;
use std::process;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use indicatif::ProgressBar;

use super::outcome::{Connecting, End, Window};
use super::target::Target;
use super::traffic::Traffic;
use crate::bench::proc;
use crate::drive::pacer::{ClosedLoop, Load, OpenLoop, Pacer};
use crate::drive::plan::Plan;
use crate::drive::swarm::Swarm;
use crate::report::difference;
use crate::wire::Wire;

/// A time that was measured, with its latencies in microseconds.
pub(crate) type Measured = (Window, Histogram<u64>);

/// How long what is in flight at the end may take to arrive.
const DRAIN: Duration = Duration::from_secs(10);
/// Deliveries are counted anew after each of these.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// A run.
pub(crate) struct Session<'a, W: Wire> {
    target: &'a Target,
    pub(crate) swarm: Swarm<W>,
    pub(crate) traffic: Traffic,
    plan: Plan,
    pss_at_first: Option<u64>,
    windows: Vec<Window>,
    progress: ProgressBar,
}

/// How a run is set up.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// Who is where.
    pub(crate) plan: Plan,
    /// Bytes of a payload.
    pub(crate) payload: usize,
    /// Over how many addresses the connections are spread.
    pub(crate) sources: u8,
    /// Whose latencies are told.
    pub(crate) timed_members: Range<u32>,
    /// Whether to show how far it is, on a terminal.
    pub(crate) shows_progress: bool,
}

impl<'a, W: Wire> Session<'a, W> {
    /// Everybody has a seat, and nobody is connected. Some members have a receive buffer of so many bytes.
    pub(crate) fn new(
        target: &'a Target,
        wire: W,
        setup: &Setup,
        receive_buffer: impl Fn(u32) -> Option<usize>,
    ) -> Result<Self> {
        let plan = setup.plan;
        let mut swarm = Swarm::new(wire, target.address, setup.sources)?
            .over_tls(target.certificate.as_deref())?;
        for member in 0..plan.members() {
            swarm.seat(plan.room_of(member), receive_buffer(member));
        }
        Ok(Self {
            target,
            swarm,
            traffic: Traffic::new(plan, setup.payload, setup.timed_members.clone()),
            plan,
            pss_at_first: target.pss_bytes()?,
            windows: Vec::new(),
            progress: if setup.shows_progress {
                ProgressBar::new(0)
            } else {
                ProgressBar::hidden()
            },
        })
    }

    /// Connects everybody.
    pub(crate) fn open(&mut self) -> Result<Connecting> {
        let (start, cpu) = (self.swarm.now(), self.target.cpu_time()?);
        self.swarm.open(&mut self.traffic)?;
        let took = self.swarm.now().saturating_sub(start);
        Ok(Connecting { connections: self.plan.members(), took, cpu: self.cpu_since(cpu)? })
    }

    /// Publishes to another schedule from now on.
    pub(crate) fn pace(&mut self, pacer: Pacer) {
        self.traffic.pace(pacer);
    }

    /// Publishes so hard from now on.
    pub(crate) fn load(&mut self, load: Load) {
        let pacer = match load {
            Load::Rate(rate) => Pacer::Open(OpenLoop::new(self.plan, rate, self.swarm.now())),
            Load::InFlight(count) => {
                Pacer::Closed(ClosedLoop::new(self.plan, count, self.traffic.published()))
            }
        };
        self.pace(pacer);
    }

    /// Lets time pass, until the condition is met. Tells whether it was.
    pub(crate) fn play(
        &mut self,
        time: Duration,
        mut is_enough: impl FnMut(&Swarm<W>, &Traffic) -> bool,
    ) -> Result<bool> {
        let until = self.swarm.now() + time;
        loop {
            if is_enough(&self.swarm, &self.traffic) {
                return Ok(true);
            }
            let now = self.swarm.now();
            if now >= until {
                return Ok(false);
            }
            let idle = self.traffic.publish(&mut self.swarm);
            // The poller rounds up to milliseconds. Rather than be late, do without it for the last one.
            let wait = Duration::from_millis(
                idle.min(until.saturating_sub(now)).min(TICK).as_millis() as u64,
            );
            self.swarm.turn(wait, &mut self.traffic)?;
        }
    }

    /// Lets time pass until the condition is met, measures the server and records latencies. Tells whether it was met.
    pub(crate) fn measure(
        &mut self,
        time: Duration,
        mut is_enough: impl FnMut(&Swarm<W>, &Traffic) -> bool,
    ) -> Result<bool> {
        let start = self.swarm.now();
        let cpu = self.target.cpu_time()?;
        let own_cpu = proc::cpu_time(process::id()).ok();
        let (publishes, deliveries) = (self.traffic.publishes(), self.traffic.deliveries());
        let mut series = Vec::new();
        let mut was_enough = false;
        self.traffic.open_window(start);
        self.progress.set_length(time.as_millis() as u64);
        while !was_enough && self.swarm.now() < start + time {
            let before = self.traffic.deliveries();
            let next = start + time.min(TICK * (series.len() as u32 + 1));
            was_enough = self.play(next.saturating_sub(self.swarm.now()), &mut is_enough)?;
            series.push(self.traffic.deliveries() - before);
            self.progress.set_position((self.swarm.now().saturating_sub(start)).as_millis() as u64);
        }
        let now = self.swarm.now();
        self.traffic.close_window(now);
        self.progress.finish_and_clear();
        self.windows.push(Window {
            took: now.saturating_sub(start),
            publishes: self.traffic.publishes() - publishes,
            deliveries: self.traffic.deliveries() - deliveries,
            cpu: self.cpu_since(cpu)?,
            generator_cpu: proc::cpu_time(process::id())
                .ok()
                .zip(own_cpu)
                .map(|(now, then)| now.saturating_sub(then)),
            pss_bytes: self.target.pss_bytes()?,
            series,
        });
        Ok(was_enough)
    }

    /// Publishes nothing more, and waits for what is in flight.
    pub(crate) fn drain(&mut self) -> Result<()> {
        self.pace(Pacer::Silent);
        self.play(DRAIN, |_, traffic| traffic.missing() == 0).map(drop)
    }

    /// What was measured before the last time, with the latencies of each, and all that is known at the end.
    pub(crate) fn close(mut self) -> Result<(Vec<Measured>, End)> {
        let closed = self.traffic.closed_connections();
        let (mut latencies, faults) = self.traffic.close();
        let window = self.windows.pop().zip(latencies.pop());
        let (window, latency) = window.context("nothing was measured")?;
        let pss_growth = window.pss_bytes.zip(self.pss_at_first);
        let pss_growth = pss_growth.map(|(last, first)| difference(last, first));
        let earlier = self.windows.into_iter().zip(latencies).collect();
        Ok((earlier, End { window, latency, pss_growth, faults, closed }))
    }

    fn cpu_since(&self, then: Option<Duration>) -> Result<Option<Duration>> {
        Ok(self.target.cpu_time()?.zip(then).map(|(now, then)| now.saturating_sub(then)))
    }
}
