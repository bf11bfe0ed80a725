//! Every race of a life, and lives of random steps.

use std::collections::HashMap;

use dormouse_protocol::Payload;
use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::object::{Address, Delivery, Outlet, ReplyTo};
use crate::session::SessionId;

const CAPACITY: usize = 3;

/// Counts the answers to each request.
#[derive(Default)]
struct Answers(Mutex<HashMap<u32, u32>>);

impl Outlet for Answers {
    fn deliver(&self, delivery: Delivery) {
        let answers = match delivery {
            Delivery::Answer(answered) => vec![answered],
            Delivery::Commit { answers, .. } => answers,
            Delivery::Presence(_) | Delivery::Roster { .. } => Vec::new(),
        };
        for answered in answers {
            *self.0.lock().entry(answered.to.request).or_default() += 1;
        }
    }
}

fn message(answers: &Arc<Answers>, request: u32) -> Message {
    let to = Address { connection: 0, generation: 0, request };
    Message {
        sender: SessionId::NONE,
        kind: "message".parse().unwrap(),
        data: Payload::of(&request).unwrap(),
        key: None,
        after: None,
        reply: ReplyTo::new(answers.clone(), to, 0),
    }
}

fn post(life: &mut Life) -> Option<Begun> {
    life.post(message(&Arc::default(), 1), CAPACITY, 2).unwrap()
}

/// An object that was woken by a message, which its instance has taken.
fn awake() -> (Life, Begun) {
    let mut life = Life::new(false, 1);
    let mut begun = post(&mut life).unwrap();
    life.woke(Duration::from_micros(180), 3);
    begun.mailbox.try_recv().unwrap();
    (life, begun)
}

#[test]
fn a_life_without_accidents() {
    let mut life = Life::new(false, 1);
    assert_eq!((life.state(), life.since(), life.cause()), (State::Asleep, 1, None));
    assert_eq!((life.last_wake(), life.wakes()), (None, 0));
    let mut begun = post(&mut life).unwrap();
    assert_eq!((life.state(), life.since()), (State::Waking, 2));
    assert_eq!(life.cause(), Some(WakeCause::Publish));
    life.woke(Duration::from_micros(180), 3);
    let wake = LastWake { cause: WakeCause::Publish, at: 3, took_us: 180 };
    assert_eq!((life.state(), life.since(), life.last_wake()), (State::Awake, 3, Some(wake)));
    begun.mailbox.try_recv().unwrap();
    life.fall_asleep(4);
    assert_eq!((life.state(), life.since()), (State::FallingAsleep, 4));
    assert!(!life.gone(false, 5));
    assert_eq!((life.state(), life.since(), life.cause()), (State::Asleep, 5, None));
    assert_eq!((life.last_wake(), life.wakes()), (Some(wake), 1));
    assert!(begun.mailbox.is_closed());
}

#[test]
fn an_object_that_sleeps_is_small() {
    assert!(size_of::<Life>() <= 40, "{}", size_of::<Life>());
}

#[test]
fn of_two_first_messages_one_wakes_the_object_and_both_wait() {
    let mut life = Life::new(false, 1);
    let begun = post(&mut life).unwrap();
    assert!(post(&mut life).is_none());
    assert_eq!(begun.mailbox.len(), 2);
}

#[test]
fn a_message_finds_a_full_mailbox_and_comes_back() {
    let mut life = Life::new(false, 1);
    let begun = post(&mut life).unwrap();
    assert!(post(&mut life).is_none() && post(&mut life).is_none());
    assert!(life.post(message(&Arc::default(), 4), CAPACITY, 2).is_err());
    assert_eq!((begun.mailbox.len(), life.state()), (CAPACITY, State::Waking));
}

#[tokio::test]
async fn a_message_while_it_falls_asleep_is_told_and_keeps_it_awake() {
    let (mut life, begun) = awake();
    life.fall_asleep(4);
    assert!(post(&mut life).is_none());
    begun.asked.notified().await;
    assert!(!begun.mailbox.is_empty());
    life.stay_awake(5);
    assert_eq!((life.state(), life.since(), life.wakes()), (State::Awake, 5, 1));
}

#[test]
fn a_message_while_the_instance_ends_wakes_the_next_one_in_the_same_task() {
    let (mut life, begun) = awake();
    life.fall_asleep(4);
    assert!(post(&mut life).is_none());
    assert!(life.gone(!begun.mailbox.is_empty(), 5));
    assert_eq!((life.state(), life.since()), (State::Waking, 5));
    assert!(post(&mut life).is_none(), "nobody starts a second task");
}

#[test]
fn after_a_wake_that_fails_the_next_message_tries_anew() {
    let answers = Arc::<Answers>::default();
    let mut life = Life::new(false, 1);
    let begun = life.post(message(&answers, 1), CAPACITY, 2).unwrap().unwrap();
    assert!(life.post(message(&answers, 2), CAPACITY, 2).unwrap().is_none());
    life.can_not_wake(3);
    assert_eq!((life.state(), life.wakes(), life.last_wake()), (State::Asleep, 0, None));
    assert!(begun.mailbox.is_closed(), "nothing more arrives for the task that ends");
    let again = life.post(message(&answers, 3), CAPACITY, 4).unwrap().unwrap();
    drop((begun, again));
    assert_eq!(*answers.0.lock(), HashMap::from([(1, 1), (2, 1), (3, 1)]));
}

#[tokio::test]
async fn a_request_to_sleep_is_heeded_once_by_one_instance() {
    let mut life = Life::new(false, 1);
    assert_eq!(life.ask_to_sleep(SleepReason::Asked), SleepAnswer::Asleep);
    assert_eq!(life.asked_to_sleep(), None, "it sleeps already");
    let begun = post(&mut life).unwrap();
    assert_eq!(life.ask_to_sleep(SleepReason::Evicted), SleepAnswer::Asked);
    assert_eq!(life.ask_to_sleep(SleepReason::Asked), SleepAnswer::Asked);
    begun.asked.notified().await;
    life.woke(Duration::ZERO, 3);
    assert_eq!(life.asked_to_sleep(), Some(SleepReason::Evicted), "the first reason stays");
    life.fall_asleep(4);
    life.stay_awake(5);
    assert_eq!(life.asked_to_sleep(), Some(SleepReason::Evicted), "it has not slept yet");
    life.fall_asleep(6);
    assert_eq!(life.ask_to_sleep(SleepReason::Asked), SleepAnswer::Asked);
    assert!(life.gone(true, 7));
    assert_eq!(life.asked_to_sleep(), None, "the next instance was asked nothing");

    let (mut life, _begun) = awake();
    life.fall_asleep(4);
    assert_eq!(life.ask_to_sleep(SleepReason::Asked), SleepAnswer::Asked);
    life.stay_awake(5);
    assert_eq!(life.asked_to_sleep(), Some(SleepReason::Asked), "it was to sleep when done");
}

#[test]
fn an_instance_that_panics_leaves_the_object_to_those_who_wait() {
    let (mut life, _begun) = awake();
    assert!(!life.gone(false, 4));
    assert_eq!(life.state(), State::Asleep);

    let (mut life, begun) = awake();
    post(&mut life);
    assert!(life.ask_to_crash() && life.is_to_crash());
    assert!(life.gone(!begun.mailbox.is_empty(), 4));
    assert_eq!(life.state(), State::Waking);
    assert!(!life.is_to_crash(), "the next instance does not");
    assert!(!life.ask_to_crash(), "there is none yet");
}

#[test]
fn a_pinned_object_wakes_again_and_is_not_asked() {
    let mut life = Life::new(true, 1);
    let begun = life.wake(WakeCause::Pin, CAPACITY, 2).unwrap();
    assert!(life.wake(WakeCause::Pin, CAPACITY, 2).is_none());
    life.woke(Duration::ZERO, 3);
    assert_eq!(life.ask_to_sleep(SleepReason::Asked), SleepAnswer::Refused);
    assert_eq!(life.asked_to_sleep(), None);
    assert!(life.gone(false, 4), "after a panic");
    assert_eq!((life.state(), life.cause()), (State::Waking, Some(WakeCause::Pin)));
    life.can_not_wake(5);
    assert_eq!(life.state(), State::Asleep);
    drop(begun);
    let begun = post(&mut life).unwrap();
    assert_eq!(life.cause(), Some(WakeCause::Publish));
    life.woke(Duration::ZERO, 6);
    life.end();
    assert!(begun.mailbox.is_closed());
    assert!(!life.gone(false, 7), "at the end it sleeps like any other");
}

#[test]
fn at_the_end_nothing_wakes_while_the_last_messages_are_served() {
    let (mut life, mut begun) = awake();
    post(&mut life);
    life.end();
    assert!(life.post(message(&Arc::default(), 9), CAPACITY, 4).is_err());
    assert!(life.gone(!begun.mailbox.is_empty(), 5), "even after a panic");
    assert!(life.post(message(&Arc::default(), 9), CAPACITY, 4).is_err());
    life.woke(Duration::ZERO, 6);
    begun.mailbox.try_recv().unwrap();
    assert!(!life.gone(false, 7));
    assert!(life.post(message(&Arc::default(), 9), CAPACITY, 8).is_err());
    assert!(life.wake(WakeCause::Pin, CAPACITY, 8).is_none());
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Post,
    Wake,
    AskToSleep,
    AskToCrash,
    /// The task goes on by one step; where there are two ways, which.
    Task(bool),
    /// The instance panics, if there is one.
    Panic,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Post),
        1 => Just(Step::Wake),
        2 => Just(Step::AskToSleep),
        1 => Just(Step::AskToCrash),
        8 => any::<bool>().prop_map(Step::Task),
        1 => Just(Step::Panic),
    ]
}

/// The task of an object as the life sees it, and what senders have been told.
struct World {
    life: Life,
    begun: Option<Begun>,
    answers: Arc<Answers>,
    posted: u32,
    returned: u32,
    now: u64,
}

impl World {
    fn new(is_pinned: bool) -> Self {
        let life = Life::new(is_pinned, 0);
        Self { life, begun: None, answers: Arc::default(), posted: 0, returned: 0, now: 0 }
    }

    fn step(&mut self, step: Step) {
        self.now += 1;
        match step {
            Step::Post => {
                self.posted += 1;
                let message = message(&self.answers, self.posted);
                match self.life.post(message, CAPACITY, self.now) {
                    Ok(begun) => self.begin(begun),
                    Err(_) => self.returned += 1,
                }
            }
            Step::Wake => {
                let begun = self.life.wake(WakeCause::Pin, CAPACITY, self.now);
                self.begin(begun);
            }
            Step::AskToSleep => {
                let answer = self.life.ask_to_sleep(SleepReason::Asked);
                let is_asleep = self.life.state() == State::Asleep;
                assert_eq!(answer == SleepAnswer::Refused, self.life.is_pinned());
                assert!(answer != SleepAnswer::Asleep || is_asleep);
            }
            Step::AskToCrash => {
                let has_instance = !matches!(self.life.state(), State::Asleep | State::Waking);
                assert_eq!(self.life.ask_to_crash(), has_instance);
            }
            Step::Task(way) => self.task(way),
            Step::Panic => {
                if matches!(self.life.state(), State::Awake | State::FallingAsleep) {
                    self.gone();
                }
            }
        }
        assert_eq!(self.life.state() == State::Asleep, self.begun.is_none());
        assert!(self.life.since() <= self.now);
    }

    fn begin(&mut self, begun: Option<Begun>) {
        if let Some(begun) = begun {
            assert!(self.begun.replace(begun).is_none(), "a second task");
        }
    }

    fn task(&mut self, way: bool) {
        let Some(begun) = &mut self.begun else { return };
        match self.life.state() {
            State::Asleep => unreachable!("the task has ended"),
            State::Waking if way => self.life.woke(Duration::ZERO, self.now),
            State::Waking => {
                self.life.can_not_wake(self.now);
                self.begun = None;
            }
            State::Awake => match begun.mailbox.try_recv() {
                Ok(message) => drop(message),
                Err(_) => self.life.fall_asleep(self.now),
            },
            State::FallingAsleep if way && !begun.mailbox.is_empty() => {
                self.life.stay_awake(self.now);
            }
            State::FallingAsleep => self.gone(),
        }
    }

    fn gone(&mut self) {
        let messages_wait = self.begun.as_ref().is_some_and(|begun| !begun.mailbox.is_empty());
        let wakes = self.life.gone(messages_wait, self.now);
        assert!(wakes || !messages_wait, "what waits is not forgotten");
        assert_eq!(self.life.asked_to_sleep(), None);
        if !wakes {
            self.begun = None;
        }
    }

    /// The server ends; all that was taken is answered, once.
    fn end(mut self) {
        self.life.end();
        while self.life.state() != State::Asleep {
            self.task(true);
        }
        assert!(self.begun.is_none());
        let answers = self.answers.0.lock();
        assert!(answers.values().all(|count| *count == 1));
        assert_eq!(answers.len() as u32, self.posted, "{} came back", self.returned);
    }
}

proptest! {
    #[test]
    fn no_order_of_steps_makes_two_tasks_or_loses_a_message(
        is_pinned: bool,
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let mut world = World::new(is_pinned);
        for step in steps {
            world.step(step);
        }
        world.end();
    }
}
