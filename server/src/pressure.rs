//! How short of memory the process is, and so what it gives up.
//!
//! A task looks at the resident memory, ten times a second and more often where half of the limit is used. Where it nears `limits.memory`, ever more is given up, the least
//! first, and each step holds until there is some room again. Whoever admits something looks at one number; what is told to
//! sleep or closed is told by whoever watches. Nobody is killed, neither are those who behave.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use prometheus::{IntGauge, Registry};
use tokio::time::{Instant, sleep};

/// Between two looks, while less than half of the limit is used.
const EVERY: Duration = Duration::from_millis(100);
/// While more is: it can be filled at the speed of the network.
const OFTEN: Duration = Duration::from_millis(10);
/// How long requests are refused before those are closed who hoard, even if no more memory is used meanwhile: the others are not to
/// wait for them.
const REFUSE_FOR: Duration = Duration::from_secs(1);
/// Between two times that something is told to be given up: what was told before must show.
const RELIEVE_EVERY: Duration = Duration::from_millis(50);

/// What is given up; each level gives up what those before do, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    Calm,
    /// Nobody may connect.
    NoConnections,
    /// Objects that are not in use sleep, and freed memory goes back at once.
    NoIdlers,
    /// Nothing is published, nobody joins, nobody's presence changes, and neither history nor rosters are read.
    NoRequests,
    /// The connections are closed for which the most is held.
    NoHoarders,
}

impl Level {
    const ALL: [Self; 5] =
        [Self::Calm, Self::NoConnections, Self::NoIdlers, Self::NoRequests, Self::NoHoarders];

    /// From how many percent of the limit on it begins, and below how many it ends. Those who hoard are closed until the others can
    /// publish again.
    fn span(self) -> (u64, u64) {
        match self {
            Self::Calm => (0, 0),
            Self::NoConnections => (80, 75),
            Self::NoIdlers => (85, 80),
            Self::NoRequests => (90, 85),
            Self::NoHoarders => (95, 85),
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Calm => "there is enough memory again",
            Self::NoConnections => "short of memory: connections are refused",
            Self::NoIdlers => "short of memory: objects that are not in use sleep",
            Self::NoRequests => {
                "short of memory: publishes, joins, presence and reads of history and rosters are refused"
            }
            Self::NoHoarders => {
                "short of memory: connections that take nothing of what waits for them are closed"
            }
        }
    }

    /// The level after this one, with so many percent of the limit in use.
    fn next(self, percent: u64) -> Self {
        let holds = |level: &&Self| {
            let (begin, end) = level.span();
            percent >= if **level <= self { end } else { begin }
        };
        Self::ALL.iter().rev().find(holds).copied().unwrap_or(Self::Calm)
    }
}

/// The present level. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Pressure(Arc<AtomicU8>);

impl Pressure {
    /// Whether a level is reached.
    pub fn is(&self, level: Level) -> bool {
        self.0.load(Relaxed) >= level as u8
    }

    fn set(&self, level: Level) {
        self.0.store(level as u8, Relaxed);
    }
}

/// Looks at the memory.
pub(crate) struct Watch {
    limit: u64,
    pressure: Pressure,
    statm: File,
    page: u64,
    shown: IntGauge,
}

impl Watch {
    /// A watch over a limit in bytes, of which there is none with 0 or where the system does not tell the resident memory.
    pub(crate) fn new(
        limit: u64,
        pressure: Pressure,
        registry: &Registry,
    ) -> prometheus::Result<Option<Self>> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        gauge("dormouse_memory_limit_bytes", "limits.memory; 0 is no limit.")?
            .set(limit.cast_signed());
        let shown = gauge(
            "dormouse_memory_pressure",
            "How much is given up for want of memory: 1 connections, 2 idle objects, 3 publishes, joins, presence and reads, 4 connections for which much is held.",
        )?;
        if limit == 0 {
            return Ok(None);
        }
        // It stays open: there may be no descriptors left when it matters.
        match File::open("/proc/self/statm") {
            Ok(statm) => Ok(Some(Self { limit, pressure, statm, page: page_bytes(), shown })),
            Err(error) => {
                tracing::warn!(%error, "the system does not tell how much memory is in use: limits.memory is not watched");
                Ok(None)
            }
        }
    }

    /// Watches for ever. While memory is short `relieve` is told the level again and again, and how many bytes are in use beyond
    /// what leads back from the last step.
    pub(crate) async fn run(self, relieve: impl Fn(Level, u64)) {
        let mut level = Level::Calm;
        let mut pause = EVERY;
        let mut relieved = Instant::now();
        let mut since = relieved;
        loop {
            sleep(pause).await;
            let resident = match self.resident_bytes() {
                Ok(resident) => resident,
                Err(error) => {
                    tracing::warn!(%error, "the memory in use can't be read");
                    continue;
                }
            };
            let mut next = level.next(resident * 100 / self.limit);
            if (level, next) == (Level::NoRequests, level) && since.elapsed() >= REFUSE_FOR {
                next = Level::NoHoarders;
            }
            pause = if resident < self.limit / 2 { EVERY } else { OFTEN };
            let is_worse = next > level;
            if next != level {
                self.change(next, resident);
                (level, since) = (next, Instant::now());
            }
            if level > Level::Calm && (is_worse || relieved.elapsed() >= RELIEVE_EVERY) {
                relieved = Instant::now();
                let (_, end) = Level::NoHoarders.span();
                relieve(level, resident.saturating_sub(self.limit / 100 * end));
            }
        }
    }

    fn change(&self, level: Level, resident: u64) {
        let limit = self.limit;
        if level == Level::Calm {
            tracing::info!(resident, limit, "{}", level.text());
        } else {
            tracing::warn!(resident, limit, "{}", level.text());
        }
        self.pressure.set(level);
        self.shown.set((level as u8).into());
    }

    /// The second number of `proc_pid_statm(5)`, in pages.
    fn resident_bytes(&self) -> io::Result<u64> {
        let mut text = [0; 128];
        let len = self.statm.read_at(&mut text, 0)?;
        let text = str::from_utf8(&text[..len]).unwrap_or_default();
        let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
        pages.map(|pages| pages * self.page).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

#[expect(unsafe_code, reason = "no safe wrapper")]
fn page_bytes() -> u64 {
    // SAFETY: it takes a number and returns one.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_holds_until_there_is_some_room() {
        let mut level = Level::Calm;
        let mut after = |percent| {
            level = level.next(percent);
            level
        };
        for (percent, level) in [
            (79, Level::Calm),
            (80, Level::NoConnections),
            (76, Level::NoConnections),
            (91, Level::NoRequests),
            (86, Level::NoRequests),
            (84, Level::NoIdlers),
            (74, Level::Calm),
            (300, Level::NoHoarders),
            (85, Level::NoHoarders),
            (84, Level::NoIdlers),
            (0, Level::Calm),
        ] {
            assert_eq!(after(percent), level, "{percent}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_resident_memory_is_read() {
        let watch = Watch::new(1 << 30, Pressure::default(), &Registry::new()).unwrap().unwrap();
        let before = watch.resident_bytes().unwrap();
        let used = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = watch.resident_bytes().unwrap();
        drop(used);
        assert!(after >= before + (32 << 20), "{before} and {after}");
    }
}
