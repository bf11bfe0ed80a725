//! What a seed asks for: the server's bounds, what each client does, and what goes wrong. Pure: the same seed is the same
//! plan; only the timing of the machine differs.

use std::time::Duration;

use dormouse::config::Config;
use dormouse_protocol::Encoding;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::client::ENCODINGS;

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) bounds: Bounds,
    pub(super) rooms: usize,
    pub(super) sessions: usize,
    pub(super) clients: Vec<Part>,
    pub(super) faults: Vec<Fault>,
}

/// What is configured.
#[derive(Debug)]
pub(super) struct Bounds {
    sleep_after: Duration,
    max_awake: usize,
    max_waking: usize,
    mailbox: usize,
    outbound_bytes: usize,
}

/// What one client does.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) session: usize,
    pub(super) encoding: Encoding,
    /// Its system takes little that it does not read.
    pub(super) is_narrow: bool,
    pub(super) rooms: Vec<Entry>,
    pub(super) steps: Vec<Step>,
}

/// How a client joins a room for the first time.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) room: usize,
    pub(super) from: From,
    pub(super) is_present: bool,
    pub(super) watch: Sight,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Now,
    All,
    Last(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    None,
    Count,
    Roster,
}

/// `room` is an index into the client's own rooms.
#[derive(Debug)]
pub(super) enum Step {
    Publish {
        room: usize,
        count: usize,
        bytes: usize,
        is_keyed: bool,
    },
    /// Sends again what was acknowledged.
    Repeat {
        room: usize,
    },
    Signal {
        room: usize,
    },
    Say {
        room: usize,
    },
    /// Goes out of the roster and stays a member.
    Hush {
        room: usize,
    },
    Leave {
        room: usize,
    },
    Return {
        room: usize,
        from: From,
    },
    ReadLog {
        room: usize,
    },
    ReadRoster {
        room: usize,
    },
    Ping,
    /// Reads for a while.
    Listen(Duration),
    /// Does not read for a while.
    Ignore(Duration),
    /// The connection breaks.
    Cut,
    /// Nothing is heard of the connection any more, and the server can't know.
    Abandon,
    /// Closes in order.
    Close,
}

/// What goes wrong, and how long after the one before.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) after: Duration,
    pub(super) kind: FaultKind,
}

#[derive(Debug)]
pub(super) enum FaultKind {
    /// A room is asked to sleep.
    Sleep(usize),
    /// The instance of a room panics.
    Crash(usize),
    /// Every commit waits so long.
    SlowDisk(Duration),
    /// The server stops in order and starts again.
    Restart,
}

impl Bounds {
    pub(super) fn apply(&self, config: &mut Config) {
        config.test_controls = true;
        config.classes.room.sleep_after = self.sleep_after;
        config.objects.max_awake = self.max_awake;
        config.objects.max_waking = self.max_waking;
        config.limits.mailbox = self.mailbox;
        config.limits.message_bytes = 4096;
        config.limits.outbound_bytes = self.outbound_bytes;
        config.limits.joins = 1000;
        config.presence.interval = Duration::from_millis(10);
        config.presence.grace = Duration::from_mins(5);
        config.liveness.ping_interval = Duration::from_mins(5);
        config.liveness.close_timeout = Duration::from_millis(100);
    }
}

impl Plan {
    /// A few rooms and tens of clients.
    pub(super) fn small(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let random = &mut random;
        let rooms = random.random_range(3..=8);
        let count = random.random_range(10..=40);
        let steps = random.random_range(10..=30);
        let most_bytes = if random.random_ratio(1, 3) { 2500 } else { 100 };
        let clients = parts(random, count, |random, session, is_first| {
            let mut rooms: Vec<usize> = (0..rooms).collect();
            let joins = random.random_range(1..=3);
            while rooms.len() > joins {
                rooms.swap_remove(random.random_range(0..rooms.len()));
            }
            part(random, session, is_first, &rooms, steps, most_bytes)
        });
        let faults = faults(random, rooms, steps as u64 * 15, 12);
        Self { seed, bounds: bounds(random), rooms, sessions: sessions(&clients), clients, faults }
    }

    /// Hundreds of members in one room, and hundreds of rooms.
    pub(super) fn big(seed: u64) -> Self {
        const ROOMS: usize = 201;
        let mut random = StdRng::seed_from_u64(seed);
        let random = &mut random;
        let clients = parts(random, 300, |random, session, is_first| {
            let rooms = [0, random.random_range(1..ROOMS), random.random_range(1..ROOMS)];
            let joins = if rooms[1] == rooms[2] { 2 } else { 3 };
            part(random, session, is_first, &rooms[..joins], 6, 100)
        });
        let faults = faults(random, ROOMS, 1500, 10);
        let rooms = ROOMS;
        Self { seed, bounds: bounds(random), rooms, sessions: sessions(&clients), clients, faults }
    }
}

fn bounds(random: &mut StdRng) -> Bounds {
    Bounds {
        sleep_after: Duration::from_millis(random.random_range(5..=30)),
        max_awake: if random.random_ratio(1, 3) { random.random_range(1..=3) } else { 1000 },
        max_waking: random.random_range(1..=4),
        mailbox: if random.random_ratio(1, 4) { 4 } else { 4096 },
        outbound_bytes: if random.random_ratio(1, 2) { 4096 } else { 256 << 10 },
    }
}

fn sessions(clients: &[Part]) -> usize {
    clients.iter().map(|part| part.session + 1).max().unwrap_or(0)
}

/// Makes clients; some share the session of the one before. `make` is told whether the session is the client's own.
fn parts(
    random: &mut StdRng,
    count: usize,
    mut make: impl FnMut(&mut StdRng, usize, bool) -> Part,
) -> Vec<Part> {
    let mut clients = Vec::new();
    let mut session = 0;
    while clients.len() < count {
        let is_pair = random.random_ratio(1, 6);
        for _ in 0..=usize::from(is_pair) {
            clients.push(make(random, session, !is_pair));
        }
        session += 1;
    }
    clients
}

/// One client. Of those who share a session everybody is in the roster and nobody goes for good: who comes without a number
/// of his own may take the place of another one of his session, by the protocol.
fn part(
    random: &mut StdRng,
    session: usize,
    is_alone: bool,
    rooms: &[usize],
    steps: usize,
    most_bytes: usize,
) -> Part {
    let is_narrow = random.random_ratio(1, 5);
    let joins = rooms.len();
    let rooms = rooms.iter().map(|room| Entry {
        room: *room,
        from: from(random),
        is_present: !is_alone || random.random_ratio(2, 3),
        watch: match random.random_range(0..4) {
            0 => Sight::None,
            1 => Sight::Count,
            _ => Sight::Roster,
        },
    });
    let rooms = rooms.collect();
    let steps = (0..steps).map(|_| step(random, joins, is_alone, is_narrow, most_bytes)).collect();
    let encoding = ENCODINGS[random.random_range(0..2)];
    Part { session, encoding, is_narrow, rooms, steps }
}

fn step(
    random: &mut StdRng,
    joins: usize,
    is_alone: bool,
    is_narrow: bool,
    most_bytes: usize,
) -> Step {
    let room = random.random_range(0..joins);
    match random.random_range(0..100) {
        0..30 => Step::Publish {
            room,
            count: if random.random_ratio(1, 4) { random.random_range(2..20) } else { 1 },
            bytes: random.random_range(1..most_bytes),
            is_keyed: random.random_ratio(4, 5),
        },
        30..34 => Step::Repeat { room },
        34..37 => Step::Signal { room },
        37..44 => Step::Say { room },
        44..47 if is_alone => Step::Hush { room },
        47..50 if is_alone => Step::Leave { room },
        50..55 => Step::Return { room, from: from(random) },
        55..58 => Step::ReadLog { room },
        58..61 => Step::ReadRoster { room },
        61..63 => Step::Ping,
        63..68 => Step::Cut,
        68..70 => Step::Abandon,
        70..72 if is_alone => Step::Close,
        _ => {
            let time = Duration::from_millis(random.random_range(1..=40));
            if is_narrow { Step::Ignore(time * 2) } else { Step::Listen(time) }
        }
    }
}

fn from(random: &mut StdRng) -> From {
    match random.random_range(0..3) {
        0 => From::Now,
        1 => From::All,
        _ => From::Last(random.random_range(0..20)),
    }
}

/// Faults over so many milliseconds, one in about so many of them.
fn faults(random: &mut StdRng, rooms: usize, time: u64, every: u64) -> Vec<Fault> {
    let restarts = random.random_ratio(1, 3);
    let (mut faults, mut passed) = (Vec::new(), 0);
    while passed < time {
        let after = random.random_range(0..=2 * every);
        passed += after;
        // Of many rooms the first one is the busy one.
        let room = if random.random_ratio(1, 4) { 0 } else { random.random_range(0..rooms) };
        let kind = match random.random_range(0..100) {
            0..40 => FaultKind::Sleep(room),
            40..75 => FaultKind::Crash(room),
            75..83 => FaultKind::SlowDisk(Duration::from_millis(random.random_range(1..=30))),
            83..95 => FaultKind::SlowDisk(Duration::ZERO),
            95..98 if restarts => FaultKind::Restart,
            _ => continue,
        };
        faults.push(Fault { after: Duration::from_millis(after), kind });
    }
    faults
}

/// All that is said of a plan is said by its seed.
#[test]
fn a_seed_is_a_plan() {
    assert_eq!(format!("{:?}", Plan::small(7)), format!("{:?}", Plan::small(7)));
    assert_ne!(format!("{:?}", Plan::small(7)), format!("{:?}", Plan::small(8)));
}
