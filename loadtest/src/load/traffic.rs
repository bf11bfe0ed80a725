//! What members publish and receive: every delivery is judged, timed and counted here.

use std::ops::Range;
use std::time::Duration;

use anyhow::Error;
use hdrhistogram::Histogram;

use crate::drive::ledger::{Faults, Ledger, Verdict};
use crate::drive::pacer::Pacer;
use crate::drive::plan::Plan;
use crate::drive::stamp::{Stamp, Stamper};
use crate::drive::swarm::{Listener, Swarm};
use crate::report::microseconds;
use crate::wire::{Notice, Wire};

/// What members publish, and what they make of what arrives.
pub(crate) struct Traffic {
    plan: Plan,
    stamper: Stamper,
    ledger: Ledger,
    pacer: Pacer,
    /// How much each publisher has published.
    published: Vec<u32>,
    /// Deliveries of what was not there before.
    deliveries: u64,
    /// Times in which latencies are recorded.
    windows: Vec<Timed>,
    /// Whose latencies are recorded.
    timed_members: Range<u32>,
    closed: u64,
    /// How often a member was told that it is live.
    caught_up: u32,
}

/// From when publishes were due until a member received them, of those that were due in a window of time.
struct Timed {
    due: Range<Duration>,
    latency: Histogram<u64>,
}

impl Traffic {
    /// Nothing is published. Only the latencies of these members are recorded.
    pub(crate) fn new(plan: Plan, payload_bytes: usize, timed_members: Range<u32>) -> Self {
        Self {
            plan,
            stamper: Stamper::new(payload_bytes),
            ledger: Ledger::new(plan),
            pacer: Pacer::Silent,
            published: vec![0; plan.publishers() as usize],
            deliveries: 0,
            windows: Vec::new(),
            timed_members,
            closed: 0,
            caught_up: 0,
        }
    }

    /// Publishes to another schedule from now on.
    pub(crate) fn pace(&mut self, pacer: Pacer) {
        self.pacer = pacer;
    }

    /// How much each publisher has published.
    pub(crate) fn published(&self) -> &[u32] {
        &self.published
    }

    /// How many publishes there were.
    pub(crate) fn publishes(&self) -> u64 {
        self.published.iter().copied().map(u64::from).sum()
    }

    /// How many deliveries there were, without those that were repeated.
    pub(crate) fn deliveries(&self) -> u64 {
        self.deliveries
    }

    /// How many connections have ended.
    pub(crate) fn closed_connections(&self) -> u64 {
        self.closed
    }

    /// How often a member was told that it is live.
    pub(crate) fn caught_up(&self) -> u32 {
        self.caught_up
    }

    /// How many deliveries are still to come.
    pub(crate) fn missing(&self) -> u64 {
        self.publishes() * u64::from(self.plan.members_each) - self.deliveries
    }

    /// Publishes from now on are timed.
    pub(crate) fn open_window(&mut self, now: Duration) {
        self.windows.push(Timed { due: now..Duration::MAX, latency: microseconds() });
    }

    /// Publishes from now on are not timed; those before are still when they arrive.
    pub(crate) fn close_window(&mut self, now: Duration) {
        if let Some(window) = self.windows.last_mut() {
            window.due.end = now;
        }
    }

    /// The latencies of each window, in microseconds, and what went wrong if nothing more comes.
    pub(crate) fn close(self) -> (Vec<Histogram<u64>>, Faults) {
        let faults = self.ledger.close(&self.published);
        (self.windows.into_iter().map(|window| window.latency).collect(), faults)
    }

    /// Queues what is due, and tells how long nothing will be due.
    pub(crate) fn publish(&mut self, swarm: &mut Swarm<impl Wire>) -> Duration {
        let Self { plan, ledger, published, .. } = self;
        loop {
            let now = swarm.now();
            let unseen = |publisher: u32| {
                let next = ledger.next(plan.member_of(publisher), publisher);
                published[publisher as usize] - next
            };
            let Some(due) = self.pacer.next(now, unseen) else { return self.pacer.wait(now) };
            let sequence = &mut published[due.publisher as usize];
            let stamp = Stamp { publisher: due.publisher, sequence: *sequence, due: due.at };
            *sequence += 1;
            swarm.publish(plan.member_of(due.publisher), self.stamper.write(stamp));
        }
    }

    fn delivered(&mut self, member: u32, now: Duration, payload: &[u8], offset: Option<u64>) {
        let stamp = self.stamper.read(payload).filter(|stamp| self.is_expected(member, stamp));
        let Some(Stamp { publisher, sequence, due }) = stamp else {
            self.ledger.unknown();
            return;
        };
        if let Some(offset) = offset {
            self.ledger.offset(member, offset);
        }
        match self.ledger.delivered(member, publisher, sequence) {
            Verdict::Next => self.pacer.received(publisher, sequence),
            Verdict::After(missing) => {
                for sequence in missing.start..=missing.end {
                    self.pacer.received(publisher, sequence);
                }
            }
            Verdict::Late => {}
            Verdict::Repeated => return,
        }
        self.deliveries += 1;
        if self.timed_members.contains(&member)
            && let Some(window) = self.windows.iter_mut().rev().find(|w| w.due.contains(&due))
        {
            window.latency.saturating_record(now.saturating_sub(due).as_micros() as u64);
        }
    }

    /// It was published, in the member's room.
    fn is_expected(&self, member: u32, stamp: &Stamp) -> bool {
        let published = self.published.get(stamp.publisher as usize);
        published.is_some_and(|published| stamp.sequence < *published)
            && self.plan.room_of_publisher(stamp.publisher) == self.plan.room_of(member)
    }
}

impl Listener for Traffic {
    fn notice(&mut self, member: u32, now: Duration, notice: Notice<'_>) {
        match notice {
            Notice::Delivered { payload, offset } => self.delivered(member, now, payload, offset),
            Notice::Joined { from: Some(from) } => self.ledger.joined(member, from),
            Notice::CaughtUp => self.caught_up += 1,
            Notice::Joined { from: None } | Notice::RosterBegins | Notice::Present(_) => {}
        }
    }

    fn closed(&mut self, member: u32, why: &Error) {
        if self.closed == 0 {
            eprintln!("a connection was lost: {why:#}");
        }
        self.closed += 1;
        let room = self.plan.room_of(member);
        for publisher in self.plan.publishers_of(room) {
            let never = self.ledger.next(member, publisher)..self.published[publisher as usize];
            never.for_each(|sequence| self.pacer.received(publisher, sequence));
        }
        self.pacer.gone(room, self.plan.publisher_of(member));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::pacer::ClosedLoop;

    const PLAN: Plan = Plan { rooms: 2, members_each: 2, publishers_each: 1 };

    /// Both publishers have published so much.
    fn traffic(published: u32) -> Traffic {
        let mut traffic = Traffic::new(PLAN, 64, 0..2);
        traffic.published = vec![published; 2];
        traffic
    }

    fn deliver(traffic: &mut Traffic, member: u32, sequence: u32) {
        let publisher = PLAN.room_of(member);
        let due = Duration::from_secs(1);
        let payload = Stamper::new(64).write(Stamp { publisher, sequence, due }).to_vec();
        let delivered = Notice::Delivered { payload: &payload, offset: None };
        traffic.notice(member, Duration::from_millis(1500), delivered);
    }

    #[test]
    fn latency_counts_from_when_it_was_due_for_those_who_are_timed() {
        let mut traffic = traffic(1);
        traffic.open_window(Duration::from_secs(1));
        (0..4).for_each(|member| deliver(&mut traffic, member, 0));
        assert_eq!((traffic.deliveries(), traffic.missing()), (4, 0));
        let (latencies, faults) = traffic.close();
        assert!(faults.is_none());
        assert_eq!(latencies[0].len(), 2);
        assert!(latencies[0].max().abs_diff(500_000) < 1000);
    }

    #[test]
    fn what_was_due_outside_of_a_window_is_not_timed() {
        let mut traffic = traffic(1);
        traffic.open_window(Duration::ZERO);
        traffic.close_window(Duration::from_secs(1));
        deliver(&mut traffic, 0, 0);
        assert_eq!(traffic.close().0[0].len(), 0);
    }

    #[test]
    fn what_nobody_published_in_the_room_is_unknown() {
        let mut traffic = traffic(1);
        deliver(&mut traffic, 0, 1);
        let payload = Stamper::new(64)
            .write(Stamp { publisher: 1, sequence: 0, due: Duration::ZERO })
            .to_vec();
        for payload in [&payload[..], b"something else"] {
            traffic.notice(0, Duration::ZERO, Notice::Delivered { payload, offset: None });
        }
        let (_, faults) = traffic.close();
        assert_eq!((faults.unknown, faults.lost), (3, 4));
    }

    #[test]
    fn what_is_reordered_is_delivered_and_what_is_repeated_is_not() {
        let mut traffic = traffic(3);
        for sequence in [0, 2, 1, 1] {
            deliver(&mut traffic, 0, sequence);
        }
        assert_eq!(traffic.deliveries(), 3);
        let (_, faults) = traffic.close();
        assert_eq!((faults.reordered, faults.repeated, faults.lost), (1, 1, 3 * 3));
    }

    #[test]
    fn a_closed_loop_goes_on_where_deliveries_are_lost_or_a_member_is() {
        let mut traffic = traffic(0);
        traffic.pace(Pacer::Closed(ClosedLoop::new(PLAN, 1, &[0, 0])));
        let next = |traffic: &mut Traffic| {
            let due = traffic.pacer.next(Duration::ZERO, |_| 0)?;
            traffic.published[due.publisher as usize] += 1;
            Some(due.publisher)
        };
        assert_eq!(
            [next(&mut traffic), next(&mut traffic), next(&mut traffic)],
            [Some(0), Some(1), None]
        );
        deliver(&mut traffic, 0, 0);
        traffic.closed(1, &anyhow::anyhow!("cut"));
        assert_eq!([next(&mut traffic), next(&mut traffic)], [Some(0), None], "without the member");
        // The second room's publish was lost to one member, who receives a later one.
        deliver(&mut traffic, 2, 0);
        traffic.published[1] += 1;
        deliver(&mut traffic, 3, 1);
        assert_eq!(next(&mut traffic), Some(1));
    }
}
