//! One schedule: a machine, its clients, and a seed that decides who moves next.

use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::Duration;

use super::bounds::Bounds;
use super::chance::{self, below, between, one_in, pick, seed_of};
use super::client::{Around, Client};
use super::machine::{Machine, Metrics};
use super::trace::{Line, Trace};
use super::truth::{self, Room, Verdict};
use super::view::Here;
use crate::clock::Clock;
use crate::log::stepped::Disk;

/// When simulations take place, in milliseconds since the Unix epoch.
const START: u64 = 1_700_000_000_000;
/// Rounds in which everything has to come to its end.
const ROUNDS: usize = 60;
/// How long a round lasts.
const ROUND: Duration = Duration::from_millis(250);

/// What schedules share.
pub(super) struct Stage {
    disk: Disk,
    pub(super) metrics: Metrics,
    played: usize,
    _dir: tempfile::TempDir,
}

impl Stage {
    pub(super) fn new() -> Self {
        silence();
        // In memory where there is such a place.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let dir = dir.expect("there is room for files");
        let disk = Disk::open(dir.path());
        Self { disk, metrics: Metrics::new(), played: 0, _dir: dir }
    }

    /// Plays a seed, with some of the steps left out. What is wrong, if anything is.
    pub(super) fn play(&mut self, seed: u64, left_out: &BTreeSet<usize>) -> (Trace, Verdict) {
        self.played += 1;
        let trace = Trace::default();
        chance::seed(0);
        let played = AssertUnwindSafe(|| {
            let mut world = World::new(self, seed, trace.clone());
            let verdict = world.play(left_out);
            let budget = world.machine.budget.clone();
            drop(world);
            match budget.in_use() {
                0 => verdict,
                kept => verdict.and(Err(format!("permits for {kept} bytes outlive the machine"))),
            }
        });
        let verdict = catch_unwind(played).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("it panics: {}", text.unwrap_or_default()))
        });
        chance::end();
        (trace, verdict)
    }
}

/// What panics in a simulation was meant to, or is told as what is wrong.
fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !chance::is_under_way() {
                tell(info);
            }
        }));
    });
}

struct World<'a> {
    seed: u64,
    bounds: Bounds,
    disk: &'a Disk,
    metrics: &'a Metrics,
    machine: Machine,
    clients: Vec<Client>,
    rooms: Vec<Room>,
    clock: Clock,
    trace: Trace,
}

impl<'a> World<'a> {
    fn new(stage: &'a Stage, seed: u64, trace: Trace) -> Self {
        chance::seed(seed);
        let Stage { disk, metrics, played, .. } = stage;
        disk.clear_pairs();
        let bounds = Bounds::new();
        let rooms = (0..bounds.rooms).map(|room| {
            let name = format!("room/{played:08}-{room}");
            Room::new(name.parse().expect("it is a name"))
        });
        let clients =
            (0..bounds.clients).map(|number| Client::new(number, bounds.rooms, trace.clone()));
        let (rooms, clients) = (rooms.collect(), clients.collect());
        let clock = Clock::manual(START);
        let machine = Machine::start(&bounds, disk, metrics, &clock, trace.clone());
        Self { seed, bounds, disk, metrics, machine, clients, rooms, clock, trace }
    }

    fn play(&mut self, left_out: &BTreeSet<usize>) -> Verdict {
        for step in (0..self.bounds.steps).filter(|step| !left_out.contains(step)) {
            chance::seed(seed_of(self.seed, step));
            self.trace.note(Line::Step(step));
            self.step()?;
            self.look()?;
        }
        chance::seed(seed_of(self.seed, self.bounds.steps));
        self.trace.note(Line::Step(self.bounds.steps));
        self.settle()
    }

    fn step(&mut self) -> Verdict {
        match below(100) {
            0..55 => {
                (0..=below(4)).for_each(|_| self.machine.step());
                Ok(())
            }
            55..90 => self.client(below(self.clients.len()), Client::act),
            90..97 => {
                let ms = match below(20) {
                    0 => between(1000, 15_000),
                    1..5 => between(50, 1000),
                    _ => between(1, 30),
                };
                self.pass(Duration::from_millis(ms as u64));
                Ok(())
            }
            _ => {
                self.fault();
                Ok(())
            }
        }
    }

    fn client(
        &mut self,
        client: usize,
        act: impl FnOnce(&mut Client, &mut Around<'_>) -> Verdict,
    ) -> Verdict {
        let Self { machine, bounds, rooms, clients, .. } = self;
        let mut around = Around { machine, bounds, rooms, now: self.clock.now_ms() };
        act(&mut clients[client], &mut around).map_err(|what| format!("client {client}: {what}"))
    }

    fn pass(&mut self, time: Duration) {
        let ms = time.as_millis() as u64;
        self.trace.note(Line::Passed(time));
        self.clock.set(self.clock.now_ms() + ms);
        self.machine.pass(time);
    }

    fn fault(&mut self) {
        let crashes = self.bounds.crashes;
        if crashes > 0 && one_in(crashes) || self.machine.has_failed() && one_in(3) {
            return self.restart();
        }
        if crashes > 0 && one_in(2 * crashes) {
            self.trace.note(Line::Fault("the disk fails".into()));
            return self.machine.fail_disk();
        }
        let index = below(self.rooms.len());
        let room = &mut self.rooms[index];
        match below(5) {
            3 => {
                let but = pick(&[0, 0, 10_000, 200_000]);
                self.trace.note(Line::Fault(format!("all memory but {but} bytes is used")));
                self.machine.use_memory(Some(but));
            }
            4 => {
                self.trace.note(Line::Fault("there is memory again".into()));
                self.machine.use_memory(None);
            }
            0 => {
                self.trace.note(Line::Fault(format!("room {index} is to sleep")));
                self.machine.object(&room.name, |handle| _ = handle.sleep());
            }
            1 => {
                self.trace.note(Line::Fault(format!("room {index} crashes")));
                room.has_crashed = true;
                self.machine.object(&room.name, |handle| _ = handle.crash());
            }
            _ => {
                let keep = pick(&[0, 1, 3, 10]);
                self.trace.note(Line::Fault(format!("room {index} keeps {keep} events")));
                self.machine.trim(&room.name, keep);
            }
        }
    }

    /// The machine is switched off and on again: what is on disk is all that is left.
    fn restart(&mut self) {
        self.trace.note(Line::Fault("the machine is switched off".into()));
        // It takes some time.
        self.clock.set(self.clock.now_ms() + 100);
        let trace = self.trace.clone();
        self.machine = Machine::start(&self.bounds, self.disk, self.metrics, &self.clock, trace);
        for client in 0..self.clients.len() {
            let ended = |client: &mut Client, around: &mut Around<'_>| {
                client.machine_ended(around);
                Ok(())
            };
            self.client(client, ended).expect("nothing is judged");
        }
    }

    /// Looks at what is on disk, and who lives.
    fn look(&mut self) -> Verdict {
        for committed in self.machine.take_committed() {
            truth::note(&mut self.rooms, committed)?;
        }
        self.machine.instances.judge()
    }

    /// Nothing goes wrong any more, and everybody gets everything.
    fn settle(&mut self) -> Verdict {
        if self.machine.has_failed() {
            self.restart();
        }
        self.machine.use_memory(None);
        let mut verdict = Ok(());
        let mut passed = Duration::ZERO;
        for _ in 0..ROUNDS {
            for client in 0..self.clients.len() {
                self.client(client, Client::settle)?;
            }
            self.machine.settle();
            self.look()?;
            verdict = self.at_end();
            // Until all who are lost have left, and what is told late was told.
            if verdict.is_ok() && passed > self.bounds.grace + Duration::from_secs(1) {
                break;
            }
            let round = if verdict.is_ok() { 4 * ROUND } else { ROUND };
            self.pass(round);
            passed += round;
        }
        verdict
    }

    fn at_end(&self) -> Verdict {
        for (number, client) in self.clients.iter().enumerate() {
            let at_end = client.at_end(&self.rooms);
            at_end.map_err(|what| format!("client {number} at the end: {what}"))?;
        }
        for (index, room) in self.rooms.iter().enumerate() {
            let entries = self.clients.iter().flat_map(|client| client.entries(index));
            let here: Here = entries.collect();
            for (number, client) in self.clients.iter().enumerate() {
                for seat in client.seats.iter().filter(|seat| seat.room == index) {
                    let sees = seat.sees(room, &here);
                    sees.map_err(|what| format!("client {number} at the end: {what}"))?;
                }
            }
        }
        Ok(())
    }
}
