//! What a seed asks for: how the server is treated, and what each client does. Pure: the same seed asks for the same, in the same
//! order. When things happen, and so what has become of the world by then, is up to the machine.

use std::time::Duration;

use dormouse_protocol::Start;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::check::Room;

/// The plan of a run.
pub(super) struct Plan {
    /// What happens to each server, one after another; the last one lives.
    pub(super) fates: Vec<Fate>,
    /// For each client.
    pub(super) whims: Vec<Whims>,
}

/// How one server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) moment: Moment,
    pub(super) end: End,
    /// Half of the clients lose their connection at the same time.
    pub(super) cuts: bool,
    /// How long there is no server.
    pub(super) pause: Duration,
}

/// When a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// So long after its process was started: it may not be ready yet.
    Starting(Duration),
    /// So long after it was ready.
    Any(Duration),
    /// After so much time in which everybody publishes as much as they can.
    Loaded(Duration),
    /// After so much time in which nobody does anything, so that objects sleep.
    Resting(Duration),
    /// So long after a publish has been sent.
    Published(Duration),
}

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With SIGKILL.
    Kill,
    /// In order, with SIGTERM.
    Stop,
    /// With SIGKILL, so long after it was told to stop.
    StopAndKill(Duration),
}

/// What a client does next. Rooms that it has left, it joins again before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whim {
    /// Publishes so many events with so many bytes of text each, in a room.
    Publish { room: Room, count: u32, bytes: usize },
    /// Publishes an event twice, under one key.
    Twice { room: Room, bytes: usize },
    /// Publishes an acknowledged event again, so many events ago; or another one under the same key.
    Again { back: usize, is_changed: bool },
    /// Sends a signal.
    Signal { room: Room },
    /// Says something of itself in the roster, or nothing.
    Say { room: Room, is_present: bool },
    /// Leaves a room, or joins it again: where it was, or from here.
    Switch { room: Room, start: Option<Start> },
    /// Reads a page of history, so many events before its position.
    Read { room: Room, back: u64 },
    /// Loses its connection and is away for so long.
    Cut { pause: Duration },
}

/// What one client does.
pub(super) struct Whims {
    random: StdRng,
    rooms: usize,
}

impl Plan {
    /// The plan for so many kills, clients and rooms.
    pub(super) fn new(seed: u64, kills: usize, clients: usize, rooms: usize) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut fates = Vec::new();
        let mut left = kills;
        while left > 0 {
            let fate = Fate::draw(&mut random);
            left -= usize::from(fate.is_kill());
            fates.push(fate);
        }
        let whims = (0..clients)
            .map(|_| Whims { random: StdRng::seed_from_u64(random.random()), rooms })
            .collect();
        Self { fates, whims }
    }
}

impl Fate {
    pub(super) fn is_kill(&self) -> bool {
        self.end != End::Stop
    }

    fn draw(random: &mut StdRng) -> Self {
        let ms = Duration::from_millis;
        let moment = match random.random_range(0..100) {
            0..15 => Moment::Starting(random.random_range(ms(0)..ms(80))),
            15..35 => Moment::Any(random.random_range(ms(0)..ms(500))),
            35..60 => Moment::Loaded(random.random_range(ms(10)..ms(300))),
            60..70 => Moment::Resting(random.random_range(ms(200)..ms(500))),
            // From a microsecond to four milliseconds, each power of two as likely.
            _ => Moment::Published(Duration::from_nanos(
                (1_000 << random.random_range(0..12)) + random.random_range(0..1_000),
            )),
        };
        let end = match random.random_range(0..100) {
            _ if matches!(moment, Moment::Starting(_)) => End::Kill,
            0..10 => End::Stop,
            10..15 => End::StopAndKill(random.random_range(ms(0)..ms(20))),
            _ => End::Kill,
        };
        let cuts = random.random_ratio(1, 8);
        let pause = if random.random_ratio(1, 4) {
            random.random_range(ms(0)..ms(100))
        } else {
            Duration::ZERO
        };
        Self { moment, end, cuts, pause }
    }
}

impl Whims {
    /// What to do next, and after which part of the longest pause.
    pub(super) fn next(&mut self) -> (f64, Whim) {
        let pause = self.random.random();
        let room = self.room();
        let bytes = self.bytes();
        let random = &mut self.random;
        let whim = match random.random_range(0..100) {
            0..52 => Whim::Publish { room, count: random.random_range(1..=3), bytes },
            52..56 => Whim::Twice { room, bytes },
            56..66 => Whim::Again {
                back: random.random_range(0..30),
                is_changed: random.random_ratio(1, 4),
            },
            66..80 => Whim::Signal { room },
            80..87 => Whim::Say { room, is_present: random.random_ratio(3, 4) },
            87..94 => {
                let start = match random.random_range(0..40) {
                    0 => Some(Start::All),
                    1..8 => Some(Start::Last(random.random_range(0..100))),
                    8..12 => Some(Start::Now),
                    _ => None,
                };
                Whim::Switch { room, start }
            }
            94..97 => Whim::Read { room, back: random.random_range(0..300) },
            _ => {
                Whim::Cut { pause: random.random_range(Duration::ZERO..Duration::from_millis(300)) }
            }
        };
        (pause, whim)
    }

    /// The first half of the rooms is busy. In the others something happens now and then, so that they fall asleep between.
    fn room(&mut self) -> Room {
        let busy = self.rooms.div_ceil(2);
        let is_quiet = busy < self.rooms && self.random.random_ratio(1, 30);
        let among = if is_quiet { busy..self.rooms } else { 0..busy };
        Room(self.random.random_range(among))
    }

    fn bytes(&mut self) -> usize {
        match self.random.random_range(0..100) {
            0..75 => self.random.random_range(0..150),
            75..95 => self.random.random_range(150..3_000),
            // So that the log is written out to tables now and then.
            _ => self.random.random_range(3_000..40_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whims(plan: &mut Plan) -> Vec<Whim> {
        plan.whims.iter_mut().flat_map(|whims| (0..300).map(|_| whims.next().1)).collect()
    }

    #[test]
    fn a_seed_asks_for_the_same_again_and_another_one_for_something_else() {
        let [mut one, mut same, mut other] = [7, 7, 8].map(|seed| Plan::new(seed, 50, 3, 4));
        assert_eq!(one.fates, same.fates);
        assert_ne!(one.fates, other.fates);
        let drawn = whims(&mut one);
        assert_eq!(drawn, whims(&mut same));
        assert_ne!(drawn, whims(&mut other));
        assert_ne!(drawn[..300], drawn[300..600], "clients differ");
    }

    #[test]
    fn a_plan_has_as_many_kills_as_it_should_and_every_kind_of_end() {
        let plan = Plan::new(1, 300, 1, 1);
        assert_eq!(plan.fates.iter().filter(|fate| fate.is_kill()).count(), 300);
        assert!(plan.fates.last().unwrap().is_kill());
        let has = |is: fn(&Fate) -> bool| plan.fates.iter().any(is);
        assert!(has(|fate| matches!(fate.moment, Moment::Starting(_))));
        assert!(has(|fate| matches!(fate.moment, Moment::Any(_))));
        assert!(has(|fate| matches!(fate.moment, Moment::Loaded(_))));
        assert!(has(|fate| matches!(fate.moment, Moment::Resting(_))));
        assert!(has(|fate| matches!(fate.moment, Moment::Published(_))));
        assert!(has(|fate| fate.end == End::Stop && fate.cuts));
        assert!(has(|fate| matches!(fate.end, End::StopAndKill(_))));
    }
}
