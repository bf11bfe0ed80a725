//! The roster against two maps: who is here, and who was told to be. What is told is their difference.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::object::presence::entry::{Millis, Seen};
use crate::object::presence::flush::Delta;
use crate::object::presence::page::{RosterPage, RosterRange};
use crate::object::presence::roster::{Presented, Roster};

const MAX: usize = 8;
const FIRST: u64 = 1_000;

#[derive(Debug, Clone)]
enum Step {
    /// `asked` names a member by how long ago it came.
    Present {
        asked: Option<usize>,
        user: char,
        holder: u64,
        data: u8,
    },
    Update {
        member: usize,
        holder: u64,
        data: Option<u8>,
    },
    /// By whoever holds it, or by another.
    Leave {
        member: usize,
        holder: Option<u64>,
    },
    Lose {
        member: usize,
        holder: Option<u64>,
        grace: Millis,
    },
    Pass {
        time: Millis,
    },
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    let member = || 0..12_usize;
    let holder = || 0..4_u64;
    let maybe_other = || proptest::option::weighted(0.2, 0..4_u64);
    let user = prop_oneof![Just('a'), Just('b'), Just('c')];
    prop_oneof![
        6 => (proptest::option::of(member()), user, holder(), 0..3_u8)
            .prop_map(|(asked, user, holder, data)| Step::Present { asked, user, holder, data }),
        4 => (member(), holder(), proptest::option::weighted(0.7, 0..3_u8))
            .prop_map(|(member, holder, data)| Step::Update { member, holder, data }),
        4 => (member(), maybe_other()).prop_map(|(member, holder)| Step::Leave { member, holder }),
        4 => (member(), maybe_other(), 1..5_u64)
            .prop_map(|(member, holder, grace)| Step::Lose { member, holder, grace }),
        3 => (0..4_u64).prop_map(|time| Step::Pass { time }),
        4 => Just(Step::Flush),
    ]
}

fn data(of: u8) -> Data {
    said(&Payload::of(&of).unwrap())
}

/// What is told of members, by their numbers.
type Told = BTreeMap<u64, (Owner, Data)>;

#[derive(Clone)]
struct Here {
    owner: Owner,
    data: Data,
    state: Held,
}

#[derive(Clone, Copy, PartialEq)]
enum Held {
    By(Holder),
    Until(Millis),
}

struct World {
    roster: Roster,
    here: BTreeMap<u64, Here>,
    told: Told,
    /// Who a member was, for good.
    users: Vec<Owner>,
    now: Millis,
    /// What a member that watches has made of the changes.
    watcher: Told,
    /// All versions that ever were.
    versions: Vec<(u64, Told)>,
}

impl World {
    fn new() -> Self {
        Self {
            roster: Roster::new(FIRST),
            here: BTreeMap::new(),
            told: Told::new(),
            users: Vec::new(),
            now: 0,
            watcher: Told::new(),
            versions: vec![(FIRST, Told::new())],
        }
    }

    /// The number of the member that came so many before the last.
    fn number(&self, ago: usize) -> Option<u64> {
        self.users.len().checked_sub(ago + 1).map(|index| index as u64)
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Present { asked, user: name, holder: by, data: of } => {
                let asked = asked.map(|ago| self.number(ago).unwrap_or(u64::MAX));
                self.present(asked, user(name), holder(by), data(of));
            }
            Step::Update { member, holder: by, data: of } => {
                let Some(member) = self.number(member) else { return };
                self.update(member, holder(by), of.map(data));
            }
            Step::Leave { member, holder: by } => {
                let Some((member, by)) = self.held(member, by) else { return };
                let is_holder = self.here.get(&member).is_some_and(|m| m.state == Held::By(by));
                assert_eq!(self.roster.leave(member, by), is_holder);
                if is_holder {
                    self.here.remove(&member);
                }
            }
            Step::Lose { member, holder: by, grace } => {
                let Some((member, by)) = self.held(member, by) else { return };
                let until = self.now + grace;
                let here = self.here.get_mut(&member).filter(|m| m.state == Held::By(by));
                assert_eq!(self.roster.lose(member, by, until), here.is_some());
                if let Some(here) = here {
                    here.state = Held::Until(until);
                }
            }
            Step::Pass { time } => {
                self.now += time;
                let now = self.now;
                self.roster.expire(now);
                self.here.retain(|_, here| !matches!(here.state, Held::Until(at) if at <= now));
                let deadlines = self.here.values().filter_map(|here| match here.state {
                    Held::Until(at) => Some(at),
                    Held::By(_) => None,
                });
                let next = self.roster.next_expiry();
                assert_eq!(next.is_some(), deadlines.clone().next().is_some());
                assert!(
                    deadlines.min().is_none_or(|at| next.unwrap() <= at),
                    "nobody is forgotten"
                );
            }
            Step::Flush => self.flush(),
        }
        self.check();
    }

    /// A member and who holds it, or somebody else.
    fn held(&self, ago: usize, other: Option<u64>) -> Option<(u64, Holder)> {
        let member = self.number(ago)?;
        let by = match self.here.get(&member).map(|here| here.state) {
            Some(Held::By(by)) => by,
            _ => holder(0),
        };
        Some((member, other.map_or(by, holder)))
    }

    fn present(&mut self, asked: Option<u64>, user: Owner, by: Holder, data: Data) {
        let member = self.users.len() as u64;
        self.users.push(user.clone());
        let is_his = |here: &Here| here.owner == user;
        let asked = asked.filter(|asked| {
            self.here.get(asked).is_some_and(is_his)
                || self.told.get(asked).is_some_and(|(other, _)| *other == user)
        });
        let is_lost = |here: &&Here| is_his(here) && matches!(here.state, Held::Until(_));
        let is_held = self.here.values().any(|here| is_his(here) && !is_lost(&here));
        let lost = || self.here.iter().find(|(_, here)| is_lost(here)).map(|(lost, _)| *lost);
        let lost = || if is_held { None } else { lost() };
        let number = asked.or_else(lost).unwrap_or(member);
        let presented = self.roster.present(asked, member, user.clone(), by, data.clone(), MAX);
        let was = self.here.get(&number);
        if was.is_none() && self.here.len() >= MAX {
            assert_eq!(presented, Err(RosterFull));
            return;
        }
        if was.is_some_and(|here| matches!(here.state, Held::By(other) if other > by)) {
            return assert_eq!(presented, Ok(Presented { member: number, returned: false }));
        }
        let returned = was.is_some_and(|here| matches!(here.state, Held::Until(_)));
        assert_eq!(presented, Ok(Presented { member: number, returned }));
        self.here.insert(number, Here { owner: user, data, state: Held::By(by) });
    }

    fn update(&mut self, member: u64, by: Holder, data: Option<Data>) {
        let user = self.users[member as usize].clone();
        let updated = self.roster.update(member, user.clone(), by, data.clone(), MAX);
        let is_full = self.here.len() >= MAX;
        match (self.here.get_mut(&member), data) {
            (Some(here), Some(data)) if here.state == Held::By(by) => here.data = data,
            (Some(here), None) if here.state == Held::By(by) => {
                self.here.remove(&member);
            }
            (None, Some(_)) if is_full => return assert_eq!(updated, Err(RosterFull)),
            (None, Some(data)) => {
                self.here.insert(member, Here { owner: user, data, state: Held::By(by) });
            }
            _ => {}
        }
        assert_eq!(updated, Ok(()));
    }

    fn flush(&mut self) {
        let now: Told = self
            .here
            .iter()
            .map(|(m, here)| (*m, (here.owner.clone(), here.data.clone())))
            .collect();
        let delta = self.roster.flush();
        let before = std::mem::replace(&mut self.told, now);
        assert_eq!(delta.is_some(), before != self.told, "what cancels out is not told");
        let Some(delta) = delta else { return };
        assert_eq!(delta.version, self.versions.last().unwrap().0 + 1);
        self.versions.push((delta.version, self.told.clone()));
        self.check_firsts_and_lasts(&before, &delta);
        for arrival in delta.join {
            let Seen { member, owner, data } = arrival.seen;
            assert_eq!(self.watcher.insert(member, (owner, data)), None, "nobody comes twice");
        }
        for Seen { member, owner, data } in delta.update {
            let was = self.watcher.insert(member, (owner.clone(), data.clone()));
            assert!(was.is_some_and(|was| was.0 == owner && was.1 != data));
        }
        for departure in delta.leave {
            let was = self.watcher.remove(&departure.member);
            assert_eq!(was.unwrap().0, departure.owner);
        }
        assert_eq!(self.watcher, self.told);
        assert_eq!(delta.members as usize, self.told.len());
        assert_eq!(delta.users as usize, users(&self.told).len());
    }

    fn check_firsts_and_lasts(&self, before: &Told, delta: &Delta) {
        let (before, after) = (users(before), users(&self.told));
        let first = |user: &String| !before.contains(user) && after.contains(user);
        let last = |user: &String| before.contains(user) && !after.contains(user);
        let firsts: Vec<_> =
            delta.join.iter().filter(|a| a.first).map(|a| a.seen.owner.name().into()).collect();
        let lasts: Vec<_> =
            delta.leave.iter().filter(|d| d.last).map(|d| d.owner.name().into()).collect();
        let all = ['a', 'b', 'c'].map(|name| String::from(user(name).name()));
        assert_eq!(sorted(&firsts), all.iter().filter(|user| first(user)).collect::<Vec<_>>());
        assert_eq!(sorted(&lasts), all.iter().filter(|user| last(user)).collect::<Vec<_>>());
        // The first of them is the first, the last of them is the last.
        for (index, arrival) in delta.join.iter().enumerate().filter(|(_, a)| a.first) {
            assert!(delta.join[..index].iter().all(|a| a.seen.owner != arrival.seen.owner));
        }
        for (index, departure) in delta.leave.iter().enumerate().filter(|(_, d)| d.last) {
            assert!(delta.leave[index + 1..].iter().all(|d| d.owner != departure.owner));
        }
    }

    /// Whatever waits to be told, everybody reads what was told last.
    fn check(&self) {
        let read = |since, after, limit| self.roster.page(RosterRange { since, after, limit });
        let whole = read(None, None, usize::MAX);
        assert_eq!(told(&whole), self.told);
        assert_eq!((whole.since, whole.more), (None, false));
        assert_eq!(whole.version, self.versions.last().unwrap().0);
        assert_eq!(read(None, None, 0).more, !self.told.is_empty());

        let (mut paged, mut after) = (Told::new(), None);
        loop {
            let page = read(None, after, 2);
            paged.append(&mut told(&page));
            after = paged.keys().next_back().copied();
            if !page.more {
                break;
            }
            assert_eq!(page.present.len(), 2);
        }
        assert_eq!(paged, self.told);

        for (version, old) in &self.versions {
            let page = read(Some(*version), None, usize::MAX);
            assert_eq!((page.version, page.members), (whole.version, whole.members));
            let mut copy = old.clone();
            if page.since.is_none() {
                assert!(*version < self.roster.floor, "what can be told is told");
                copy.clear();
            }
            copy.append(&mut told(&page));
            for gone in &page.left {
                copy.remove(gone);
            }
            assert_eq!(copy, self.told, "since {version}");
        }
        let gone = self.roster.entries.len() - self.told.len() - self.roster.unpublished as usize;
        assert!(gone <= 4, "departures are forgotten");
        assert_eq!(self.roster.is_empty(), self.told.is_empty() && self.roster.unpublished == 0);
    }
}

fn told(page: &RosterPage) -> Told {
    page.present.iter().map(|seen| (seen.member, (seen.owner.clone(), seen.data.clone()))).collect()
}

fn users(told: &Told) -> BTreeSet<String> {
    told.values().map(|(user, _)| user.name().into()).collect()
}

fn sorted(users: &[String]) -> Vec<&String> {
    let mut users: Vec<_> = users.iter().collect();
    users.sort();
    users
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn a_roster_tells_the_difference(steps in proptest::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
    }
}

/// Ten members of which the even ones have left one by one, each in a version of its own.
fn after_departures() -> Roster {
    let mut roster = Roster::new(FIRST);
    for member in 0..10 {
        roster.present(None, member, user('a'), holder(0), data(0), 100).unwrap();
    }
    roster.flush().unwrap();
    for member in (0..10).step_by(2) {
        assert!(roster.leave(member, holder(0)));
        roster.flush().unwrap();
    }
    roster
}

#[test]
fn changes_are_told_as_far_as_departures_are_remembered() {
    let roster = after_departures();
    assert_eq!(roster.changes(FIRST + 1, 100), None, "the first departure is forgotten");
    let changes = roster.changes(FIRST + 2, 100).unwrap();
    assert_eq!((changes.since, changes.left), (Some(FIRST + 2), vec![2, 4, 6, 8]));
    assert!(changes.present.is_empty());
    assert_eq!(roster.changes(FIRST + 2, 3), None, "more than a page");
    assert_eq!(roster.changes(FIRST - 1, 100), None, "another roster's version");
    assert_eq!(roster.changes(FIRST + 7, 100), None, "not a version yet");
}

#[test]
fn a_page_is_bounded_in_bytes_and_has_one_member_at_least() {
    let mut roster = Roster::new(FIRST);
    for member in 0..5 {
        let large = said(&payload(&"x".repeat(60_000)));
        roster.present(None, member, user('a'), holder(0), large, 100).unwrap();
    }
    let huge = said(&payload(&"x".repeat(200_000)));
    roster.present(None, 5, user('a'), holder(0), huge, 100).unwrap();
    roster.flush().unwrap();
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let page = roster.page(RosterRange { since: None, after, limit: 100 });
        pages.push(page.present.iter().map(|seen| seen.member).collect::<Vec<_>>());
        after = page.present.last().map(|seen| seen.member);
        if !page.more {
            break;
        }
    }
    assert_eq!(pages, [vec![0, 1], vec![2, 3], vec![4], vec![5]]);
    assert_eq!(roster.changes(FIRST, 100), None);
}

#[test]
fn a_roster_gives_memory_back() {
    let mut roster = Roster::new(FIRST);
    for member in 0..1_000 {
        roster.present(None, member, user('a'), holder(0), data(0), 1_000).unwrap();
    }
    assert!(roster.entries.capacity() < 1_500, "{}", roster.entries.capacity());
    roster.flush().unwrap();
    for member in 1..1_000 {
        roster.leave(member, holder(0));
    }
    roster.flush().unwrap();
    assert!(roster.entries.capacity() <= 8, "{}", roster.entries.capacity());
}
