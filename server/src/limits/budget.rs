//! The budget of memory: whatever holds bytes of clients takes a permit for them first, and keeps it with the bytes.
//!
//! A permit lies inside the thing that holds the bytes, so that it ends with them: [`Permit::attach`] makes bytes that carry their
//! permit wherever they are shared. No locks; what is refused is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// What asks for memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A connection at rest, and little more for what it reads and is sent.
    Connection,
    /// A membership.
    Join,
    /// A publish, until its event has been delivered.
    Publish,
    /// A signal.
    Signal,
    /// What a member says of itself.
    Presence,
    /// A page of history.
    History,
    /// A page of a roster.
    Roster,
    /// A page of the log for members that catch up.
    Page,
    /// Frames for live members.
    Delivery,
    /// What a client sends, as far as it has to be kept.
    Input,
    /// What is queued for one connection alone.
    Output,
}

impl Purpose {
    const ALL: [Self; 11] = [
        Self::Connection,
        Self::Join,
        Self::Publish,
        Self::Signal,
        Self::Presence,
        Self::History,
        Self::Roster,
        Self::Page,
        Self::Delivery,
        Self::Input,
        Self::Output,
    ];

    /// The label in the metrics.
    fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Join => "join",
            Self::Publish => "publish",
            Self::Signal => "signal",
            Self::Presence => "presence",
            Self::History => "history",
            Self::Roster => "roster",
            Self::Page => "page",
            Self::Delivery => "delivery",
            Self::Input => "input",
            Self::Output => "output",
        }
    }

    /// The part of the budget that this purpose may fill. What lasts leaves 2/10 for what passes, and reads leave 1/10, so that
    /// neither members at rest nor readers that take nothing keep others from publishing.
    fn share(self, limit: usize) -> usize {
        match self {
            Self::History | Self::Roster | Self::Page => limit - limit / 10,
            Self::Connection | Self::Join | Self::Presence => limit - limit / 5,
            Self::Publish | Self::Signal | Self::Delivery | Self::Input | Self::Output => limit,
        }
    }
}

/// The memory that may be held for clients. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    limit: usize,
    in_use: AtomicUsize,
    /// By purpose.
    refused: [IntCounter; Purpose::ALL.len()],
}

impl Budget {
    /// A budget of `limit` bytes, with its metrics.
    pub fn new(limit: usize, registry: &Registry) -> prometheus::Result<Self> {
        let refused = IntCounterVec::new(
            Opts::new(
                "dormouse_memory_refusals_total",
                "Times that the memory budget had no room, by what asked for it.",
            ),
            &["purpose"],
        )?;
        registry.register(Box::new(refused.clone()))?;
        let refused = Purpose::ALL.map(|purpose| refused.with_label_values(&[purpose.as_str()]));
        let budget = Self(Arc::new(Account { limit, in_use: AtomicUsize::new(0), refused }));
        registry.register(Box::new(Gauges::new(budget.clone())?))?;
        Ok(budget)
    }

    /// A budget without an end.
    pub fn unlimited() -> Self {
        Self::new(usize::MAX, &Registry::new()).expect("an empty registry takes every metric")
    }

    /// A permit for so many bytes, if the budget has room for them.
    pub fn try_acquire(&self, purpose: Purpose, bytes: usize) -> Option<Permit> {
        self.take(purpose, bytes).then(|| Permit { budget: self.clone(), bytes })
    }

    /// A permit for bytes that are in use already, whether there is room for them or not. Only for what something else bounds; the
    /// next request for a permit is refused the earlier for it.
    pub fn charge(&self, bytes: usize) -> Permit {
        self.0.in_use.fetch_add(bytes, Relaxed);
        Permit { budget: self.clone(), bytes }
    }

    /// Whether there is room for so many bytes at this moment.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.in_use().saturating_add(bytes) <= self.0.limit
    }

    /// Bytes of all permits.
    pub fn in_use(&self) -> usize {
        self.0.in_use.load(Relaxed)
    }

    /// The bytes that there are in all.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    fn take(&self, purpose: Purpose, bytes: usize) -> bool {
        let most = purpose.share(self.0.limit);
        let add = |in_use: usize| in_use.checked_add(bytes).filter(|sum| *sum <= most);
        let taken = self.0.in_use.fetch_update(Relaxed, Relaxed, add).is_ok();
        if !taken {
            self.0.refused[purpose as usize].inc();
        }
        taken
    }

    /// Takes back a permit for so many bytes that was forgotten: see [`Permit::forget`].
    pub fn remember(&self, bytes: usize) {
        drop(Permit { budget: self.clone(), bytes });
    }

    fn give_back(&self, bytes: usize) {
        self.0.in_use.fetch_sub(bytes, Relaxed);
    }
}

/// The right to hold so many bytes; dropping it gives them back.
#[derive(Debug)]
pub struct Permit {
    budget: Budget,
    bytes: usize,
}

impl Permit {
    /// For how many bytes it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes it a permit for more bytes, if there is room.
    #[must_use]
    pub fn try_grow(&mut self, purpose: Purpose, by: usize) -> bool {
        let grows = self.budget.take(purpose, by);
        self.bytes += if grows { by } else { 0 };
        grows
    }

    /// Gives back all but so many bytes.
    pub fn shrink_to(&mut self, bytes: usize) {
        if let Some(surplus) = self.bytes.checked_sub(bytes) {
            self.budget.give_back(surplus);
            self.bytes = bytes;
        }
    }

    /// Makes it a permit for so many bytes that are in use already: see [`Budget::charge`].
    pub fn charge(&mut self, bytes: usize) {
        if let Some(more) = bytes.checked_sub(self.bytes) {
            self.merge(self.budget.charge(more));
        } else {
            self.shrink_to(bytes);
        }
    }

    /// Takes a permit for so many of its bytes out of it; for all of them where it has fewer.
    #[must_use]
    pub fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { budget: self.budget.clone(), bytes }
    }

    /// Adds another permit of the same budget to it.
    pub fn merge(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.budget.0, &other.budget.0), "one budget has many permits");
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Keeps the bytes counted without the permit. [`Budget::remember`] ends that.
    pub fn forget(mut self) {
        self.bytes = 0;
    }

    /// The bytes with their permit, which ends with the last of their clones. It has to be for as many bytes at least.
    pub fn attach(self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        debug_assert!(bytes.as_ref().len() <= self.bytes, "the permit covers the bytes");
        Bytes::from_owner(Attached { bytes, _permit: self })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

struct Attached<T> {
    bytes: T,
    _permit: Permit,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Attached<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// The permit of a part of a connection that grows and shrinks by small steps. Little is free, since the connection's own permit
/// covers it; so the budget is touched only where much is held.
#[derive(Debug, Default)]
pub struct Held(Option<Permit>);

impl Held {
    /// Nothing is held.
    pub const NOTHING: Self = Self(None);
    /// Bytes that need no further permit.
    pub const FREE: usize = 2 << 10;
    /// The step in which permits grow.
    const STEP: usize = 4 << 10;

    /// Notes that so many bytes are held. False, and nothing is noted, where that is more than before and there is no room.
    #[must_use]
    pub fn try_hold(&mut self, budget: &Budget, purpose: Purpose, bytes: usize) -> bool {
        let Some(more) = self.missing(bytes) else { return true };
        if let Some(permit) = &mut self.0 {
            return permit.try_grow(purpose, more);
        }
        self.0 = budget.try_acquire(purpose, more);
        self.0.is_some()
    }

    /// Notes that so many bytes are held, whether there is room or not: see [`Budget::charge`].
    pub fn hold(&mut self, budget: &Budget, bytes: usize) {
        let Some(more) = self.missing(bytes) else { return };
        let more = budget.charge(more);
        match &mut self.0 {
            Some(permit) => permit.merge(more),
            None => self.0 = Some(more),
        }
    }

    /// How much is missing for so many bytes; gives back what is much too much.
    fn missing(&mut self, bytes: usize) -> Option<usize> {
        let wanted = if bytes <= Self::FREE { 0 } else { bytes.next_multiple_of(Self::STEP) };
        let has = self.0.as_ref().map_or(0, Permit::bytes);
        if wanted == 0 {
            self.0 = None;
        } else if let Some(permit) = &mut self.0
            && has > wanted + Self::STEP
        {
            permit.shrink_to(wanted);
        }
        wanted.checked_sub(has).filter(|more| *more > 0)
    }
}

/// The budget's gauges, read when they are asked for.
struct Gauges {
    budget: Budget,
    limit: IntGauge,
    in_use: IntGauge,
}

impl Gauges {
    fn new(budget: Budget) -> prometheus::Result<Self> {
        let limit = IntGauge::new(
            "dormouse_memory_budget_limit_bytes",
            "Bytes that clients may make the server hold.",
        )?;
        limit.set(i64::try_from(budget.limit()).unwrap_or(i64::MAX));
        let in_use = IntGauge::new(
            "dormouse_memory_budget_bytes",
            "Bytes that clients make the server hold: the sum of all permits.",
        )?;
        Ok(Self { budget, limit, in_use })
    }
}

impl Collector for Gauges {
    fn desc(&self) -> Vec<&Desc> {
        [&self.limit, &self.in_use].into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.in_use.set(i64::try_from(self.budget.in_use()).unwrap_or(i64::MAX));
        [&self.limit, &self.in_use].into_iter().flat_map(Collector::collect).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    fn budget(limit: usize) -> Budget {
        Budget::new(limit, &Registry::new()).unwrap()
    }

    #[derive(Debug, Clone)]
    enum Step {
        Acquire(usize),
        Grow(usize, usize),
        Shrink(usize, usize),
        Split(usize, usize),
        Merge(usize, usize),
        Attach(usize),
        Drop(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (which, bytes) = (0_usize..8, 0_usize..400);
        prop_oneof![
            bytes.clone().prop_map(Step::Acquire),
            (which.clone(), bytes.clone()).prop_map(|(which, by)| Step::Grow(which, by)),
            (which.clone(), bytes.clone()).prop_map(|(which, to)| Step::Shrink(which, to)),
            (which.clone(), bytes).prop_map(|(which, off)| Step::Split(which, off)),
            (which.clone(), which.clone()).prop_map(|(into, other)| Step::Merge(into, other)),
            which.clone().prop_map(Step::Attach),
            which.prop_map(Step::Drop),
        ]
    }

    proptest! {
        #[test]
        fn the_permits_never_exceed_the_limit_and_all_come_back(steps in prop::collection::vec(step(), 0..100)) {
            let budget = budget(1000);
            let (mut permits, mut attached) = (Vec::<Permit>::new(), Vec::<Bytes>::new());
            for step in steps {
                let count = permits.len();
                match step {
                    Step::Acquire(bytes) => permits.extend(budget.try_acquire(Purpose::Publish, bytes)),
                    _ if count == 0 => {}
                    Step::Grow(which, by) => {
                        let before = permits[which % count].bytes();
                        let grows = permits[which % count].try_grow(Purpose::Publish, by);
                        prop_assert_eq!(permits[which % count].bytes(), before + if grows { by } else { 0 });
                    }
                    Step::Shrink(which, to) => permits[which % count].shrink_to(to),
                    Step::Split(which, off) => {
                        let split = permits[which % count].split(off);
                        permits.push(split);
                    }
                    Step::Merge(into, other) if count > 1 => {
                        let other = permits.swap_remove(other % count);
                        permits[into % (count - 1)].merge(other);
                    }
                    Step::Merge(..) => {}
                    Step::Attach(which) => {
                        let permit = permits.swap_remove(which % count);
                        let len = permit.bytes();
                        let bytes = permit.attach(vec![0; len]);
                        attached.push(bytes.slice(bytes.len() / 2..));
                        attached.push(bytes);
                    }
                    Step::Drop(which) => _ = permits.swap_remove(which % count),
                }
                let sum: usize = permits.iter().map(Permit::bytes).sum();
                prop_assert!(sum <= budget.in_use() && budget.in_use() <= 1000);
                if attached.is_empty() {
                    prop_assert_eq!(sum, budget.in_use());
                }
            }
            drop((permits, attached));
            prop_assert_eq!(budget.in_use(), 0);
        }

        #[test]
        fn what_is_held_is_covered(sizes in prop::collection::vec(0_usize..40_000, 1..50)) {
            let budget = budget(32 << 10);
            let mut held = Held::default();
            for bytes in sizes {
                let is_held = held.try_hold(&budget, Purpose::Input, bytes);
                prop_assert!(budget.in_use() <= budget.limit());
                if is_held {
                    prop_assert!(budget.in_use() + Held::FREE >= bytes);
                    prop_assert!(budget.in_use() <= bytes + 2 * Held::STEP);
                } else {
                    prop_assert!(bytes > budget.in_use());
                }
            }
            held.hold(&budget, 1 << 20);
            prop_assert_eq!(budget.in_use(), 1 << 20);
            prop_assert!(held.try_hold(&budget, Purpose::Input, 0));
            prop_assert_eq!(budget.in_use(), 0);
        }
    }

    #[test]
    fn threads_never_get_more_than_there_is() {
        let budget = budget(10_000);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut permits = Vec::new();
                    for round in 0..10_000 {
                        permits.extend(budget.try_acquire(Purpose::Publish, 700));
                        assert!(budget.in_use() <= 10_000);
                        if round % 3 == 0 {
                            permits.pop();
                        }
                    }
                });
            }
        });
        assert_eq!(budget.in_use(), 0);
        assert!(budget.0.refused[Purpose::Publish as usize].get() > 0);
    }

    #[test]
    fn reads_leave_room_for_publishes() {
        let budget = budget(1000);
        let read = budget.try_acquire(Purpose::History, 900).unwrap();
        assert!(budget.try_acquire(Purpose::History, 1).is_none());
        assert!(budget.try_acquire(Purpose::Publish, 100).is_some());
        drop(read);
    }

    #[test]
    fn shared_bytes_count_once_until_the_last_of_them_is_gone() {
        let budget = budget(1000);
        let bytes = budget.try_acquire(Purpose::Delivery, 5).unwrap().attach(b"hello".to_vec());
        let clones = vec![bytes.clone(); 100];
        drop(bytes);
        assert_eq!(budget.in_use(), 5);
        let end = clones[0].slice(3..);
        drop(clones);
        assert_eq!(budget.in_use(), 5);
        drop(end);
        assert_eq!(budget.in_use(), 0);
    }
}
