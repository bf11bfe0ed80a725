//! How short of memory the process is, and what it gives up for that.
//!
//! The [`Budget`] refuses what does not fit, before memory is taken. This task looks at it often: where it is nearly used up, the
//! server refuses connections, lets idle objects sleep and, at last, closes the connections for which the most is held, so that the
//! others can go on. Each step holds until there is some room again.
//!
//! As a last resort the task compares the budget with the resident memory of the process. What the process uses beyond the permits
//! (for example because the allocator can't give pages back) it charges to the budget, so that what is left of the budget always
//! fits under `limits.memory`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use prometheus::{IntGauge, Registry};
use tokio::time::{Instant, sleep};

use super::{Budget, Permit};

/// Between two looks, while less than half of the budget is used. A look costs about 0.1 ms, with the thread that it wakes.
const EVERY: Duration = Duration::from_millis(500);
/// While more is: it can be filled at the speed of the network.
const OFTEN: Duration = Duration::from_millis(10);
/// How long the budget may be nearly used up before connections are closed.
const REFUSE_FOR: Duration = Duration::from_secs(1);
/// Between two times that something is told to be given up: what was told before must show.
const RELIEVE_EVERY: Duration = Duration::from_millis(50);

/// What is given up; each level gives up what those before do, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    Calm,
    /// New connections are refused.
    NoConnections,
    /// Objects that are not in use sleep, and freed memory goes back at once.
    NoIdlers,
    /// The budget is nearly used up: it refuses reads, and soon everything.
    Full,
    /// The connections are closed for which the most is held.
    NoHoarders,
}

impl Level {
    const ALL: [Self; 5] =
        [Self::Calm, Self::NoConnections, Self::NoIdlers, Self::Full, Self::NoHoarders];

    /// From how many percent of the budget on it begins, and below how many it ends. [`Level::NoHoarders`] begins after some time.
    fn span(self) -> (u64, u64) {
        match self {
            Self::Calm => (0, 0),
            Self::NoConnections => (80, 75),
            Self::NoIdlers => (85, 80),
            Self::Full => (88, 83),
            Self::NoHoarders => (u64::MAX, 83),
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Calm => "there is enough memory again",
            Self::NoConnections => "short of memory: connections are refused",
            Self::NoIdlers => "short of memory: objects that are not in use sleep",
            Self::Full => "short of memory: requests that need memory are refused",
            Self::NoHoarders => {
                "short of memory: the connections that hold the most and take nothing are closed"
            }
        }
    }

    /// The level after this one, with so many percent of the budget in use.
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

/// Watches the budget and the resident memory.
pub(crate) struct Watch {
    budget: Budget,
    pressure: Pressure,
    resident: Option<Resident>,
    shown: IntGauge,
}

impl Watch {
    /// A watch over a budget, and over the resident memory where that has a limit in bytes; 0 is none.
    pub(crate) fn new(
        budget: Budget,
        limit: u64,
        pressure: Pressure,
        registry: &Registry,
    ) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        gauge("dormouse_memory_limit_bytes", "limits.memory; 0 is no limit.")?
            .set(limit.cast_signed());
        let shown = gauge(
            "dormouse_memory_pressure",
            "What is given up for want of memory: 1 new connections, 2 idle objects, 3 requests that need memory, 4 connections for which much is held.",
        )?;
        let resident = Some(limit).filter(|limit| *limit > 0).and_then(|limit| {
            Resident::new(limit, &budget).inspect_err(|error| {
                tracing::warn!(%error, "cannot read the resident memory: only the budget bounds it");
            }).ok()
        });
        Ok(Self { budget, pressure, resident, shown })
    }

    /// Watches for ever. While memory is short `relieve` is told the level again and again, and how many bytes are in use beyond
    /// what leads back from the last step.
    pub(crate) async fn run(mut self, relieve: impl Fn(Level, usize)) {
        let mut level = Level::Calm;
        let mut pause = EVERY;
        let mut relieved = Instant::now();
        let mut since = relieved;
        loop {
            sleep(pause).await;
            if let Some(resident) = &mut self.resident
                && let Err(error) = resident.charge_difference(&self.budget)
            {
                tracing::warn!(%error, "the memory in use can't be read");
            }
            let (in_use, limit) = (self.budget.in_use(), self.budget.limit());
            let percent = (in_use as u128 * 100 / limit.max(1) as u128) as u64;
            let mut next = level.next(percent);
            if (level, next) == (Level::Full, level) && since.elapsed() >= REFUSE_FOR {
                next = Level::NoHoarders;
            }
            pause = if percent < 50 { EVERY } else { OFTEN };
            let is_worse = next > level;
            if next != level {
                self.change(next, in_use);
                (level, since) = (next, Instant::now());
            }
            if level > Level::Calm && (is_worse || relieved.elapsed() >= RELIEVE_EVERY) {
                relieved = Instant::now();
                let (_, end) = Level::NoHoarders.span();
                let kept = (limit as u128 * u128::from(end) / 100) as usize;
                relieve(level, in_use.saturating_sub(kept));
            }
        }
    }

    fn change(&self, level: Level, in_use: usize) {
        let budget = self.budget.limit();
        if level == Level::Calm {
            tracing::info!(in_use, budget, "{}", level.text());
        } else {
            tracing::warn!(in_use, budget, "{}", level.text());
        }
        self.pressure.set(level);
        self.shown.set((level as u8).into());
    }
}

/// The resident memory of the process.
struct Resident {
    limit: u64,
    statm: File,
    page_bytes: u64,
    /// What the process uses beyond the permits of others, as far as that does not fit under the limit together with them.
    unaccounted: Permit,
}

impl Resident {
    fn new(limit: u64, budget: &Budget) -> io::Result<Self> {
        // It stays open: there may be no descriptors left when it matters.
        let statm = File::open("/proc/self/statm")?;
        Ok(Self { limit, statm, page_bytes: page_bytes(), unaccounted: budget.charge(0) })
    }

    /// Charges the budget as much as it takes for the resident memory and what is left of the budget to fit under the limit.
    fn charge_difference(&mut self, budget: &Budget) -> io::Result<()> {
        let accounted = budget.in_use().saturating_sub(self.unaccounted.bytes());
        let left = budget.limit().saturating_sub(accounted) as u64;
        let surplus = (self.bytes()? + left).saturating_sub(self.limit).min(left);
        self.unaccounted.charge(surplus as usize);
        Ok(())
    }

    /// The second number of `proc_pid_statm(5)`, in pages.
    fn bytes(&self) -> io::Result<u64> {
        let mut text = [0; 128];
        let len = self.statm.read_at(&mut text, 0)?;
        let text = str::from_utf8(&text[..len]).unwrap_or_default();
        let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
        pages.map(|pages| pages * self.page_bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
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
            (91, Level::Full),
            (84, Level::Full),
            (82, Level::NoIdlers),
            (74, Level::Calm),
            (300, Level::Full),
            (0, Level::Calm),
        ] {
            assert_eq!(after(percent), level, "{percent}");
        }
        assert_eq!(Level::NoHoarders.next(83), Level::NoHoarders);
        assert_eq!(Level::NoHoarders.next(82), Level::NoIdlers);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_the_process_uses_without_a_permit_is_charged() {
        let budget = Budget::unlimited();
        let before = Resident::new(u64::MAX, &budget).unwrap().bytes().unwrap();
        let budget = Budget::new(64 << 20, &Registry::new()).unwrap();
        let mut resident = Resident::new(before + (72 << 20), &budget).unwrap();
        let permit = budget.charge(16 << 20);
        let used = std::hint::black_box(vec![1_u8; 48 << 20]);
        resident.charge_difference(&budget).unwrap();
        // The tests beside this one use memory, too.
        assert!(resident.unaccounted.bytes() >= 16 << 20, "{}", resident.unaccounted.bytes());
        assert!(budget.in_use() <= budget.limit());
        drop((used, permit));
    }
}
