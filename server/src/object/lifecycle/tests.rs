//! Every race of a lifecycle, and lives of random steps.

use std::collections::HashMap;

use dormouse_protocol::Payload;
use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::limits::Budget;
use crate::object::input::{Action, Publish};
use crate::object::reply::ReplyTo;
use crate::object::{Address, Delivery, Input, Sink, Source};
use crate::session::SessionId;

const CAPACITY: usize = 3;

/// Counts the answers to each request.
#[derive(Default)]
struct Answers(Mutex<HashMap<u32, u32>>);

impl Sink for Answers {
    fn deliver(&self, delivery: Delivery) {
        let answers = match delivery {
            Delivery::Answer(answered) => vec![answered],
            Delivery::Commit { answers, .. } => answers,
            Delivery::Presence(_)
            | Delivery::Roster { .. }
            | Delivery::Signal(_)
            | Delivery::Read(_) => Vec::new(),
        };
        for answered in answers {
            *self.0.lock().entry(answered.to.request).or_default() += 1;
        }
    }
}

fn message(answers: &Arc<Answers>, request: u32) -> Message {
    let address = Address { connection: 0, generation: 0, request };
    let publish = Publish {
        sender: SessionId::from_text("aaaaaaaaaaaaa").unwrap(),
        user: None,
        kind: "message".parse().unwrap(),
        data: Payload::of(&request).unwrap(),
        key: None,
        after: None,
        held: 0,
    };
    Message {
        input: Input { source: Source { sink: 0, address }, action: Action::Publish(publish) },
        reply: Some(ReplyTo::new(answers.clone(), address, Verb::Publish, 0)),
        permit: Budget::unlimited().charge(0),
    }
}

fn post(lifecycle: &mut Lifecycle) -> Option<InstanceStart> {
    lifecycle.post(message(&Arc::default(), 1), CAPACITY, 2).unwrap()
}

/// An object that was woken by a message, which its instance has taken.
fn awake() -> (Lifecycle, InstanceStart) {
    let mut lifecycle = Lifecycle::new(false, 1);
    let mut start = post(&mut lifecycle).unwrap();
    lifecycle.woke(Duration::from_micros(180), 3);
    start.mailbox.try_recv().unwrap();
    (lifecycle, start)
}

#[test]
fn a_lifecycle_without_accidents() {
    let mut lifecycle = Lifecycle::new(false, 1);
    assert_eq!((lifecycle.state(), lifecycle.since(), lifecycle.cause()), (State::Asleep, 1, None));
    assert_eq!((lifecycle.last_wake(), lifecycle.wakes()), (None, 0));
    let mut start = post(&mut lifecycle).unwrap();
    assert_eq!((lifecycle.state(), lifecycle.since()), (State::Waking, 2));
    assert_eq!(lifecycle.cause(), Some(WakeCause::Publish));
    lifecycle.woke(Duration::from_micros(180), 3);
    let wake = LastWake { cause: WakeCause::Publish, at: 3, took_us: 180 };
    assert_eq!(
        (lifecycle.state(), lifecycle.since(), lifecycle.last_wake()),
        (State::Awake, 3, Some(wake))
    );
    start.mailbox.try_recv().unwrap();
    lifecycle.fall_asleep(4);
    assert_eq!((lifecycle.state(), lifecycle.since()), (State::FallingAsleep, 4));
    assert!(!lifecycle.instance_ended(false, 5));
    assert_eq!((lifecycle.state(), lifecycle.since(), lifecycle.cause()), (State::Asleep, 5, None));
    assert_eq!((lifecycle.last_wake(), lifecycle.wakes()), (Some(wake), 1));
    assert!(start.mailbox.is_closed());
}

#[test]
fn an_object_that_sleeps_is_small() {
    assert!(size_of::<Lifecycle>() <= 40, "{}", size_of::<Lifecycle>());
}

#[test]
fn of_two_first_messages_one_wakes_the_object_and_both_wait() {
    let mut lifecycle = Lifecycle::new(false, 1);
    let start = post(&mut lifecycle).unwrap();
    assert!(post(&mut lifecycle).is_none());
    assert_eq!(start.mailbox.len(), 2);
}

#[test]
fn a_message_finds_a_full_mailbox_and_comes_back() {
    let mut lifecycle = Lifecycle::new(false, 1);
    let start = post(&mut lifecycle).unwrap();
    assert!(post(&mut lifecycle).is_none() && post(&mut lifecycle).is_none());
    assert!(lifecycle.post(message(&Arc::default(), 4), CAPACITY, 2).is_err());
    assert_eq!((start.mailbox.len(), lifecycle.state()), (CAPACITY, State::Waking));
}

#[tokio::test]
async fn a_message_while_it_falls_asleep_is_told_and_keeps_it_awake() {
    let (mut lifecycle, start) = awake();
    lifecycle.fall_asleep(4);
    assert!(post(&mut lifecycle).is_none());
    start.asked.notified().await;
    assert!(!start.mailbox.is_empty());
    lifecycle.stay_awake(5);
    assert_eq!((lifecycle.state(), lifecycle.since(), lifecycle.wakes()), (State::Awake, 5, 1));
}

#[test]
fn a_message_while_the_instance_ends_wakes_the_next_one_in_the_same_task() {
    let (mut lifecycle, start) = awake();
    lifecycle.fall_asleep(4);
    assert!(post(&mut lifecycle).is_none());
    assert!(lifecycle.instance_ended(!start.mailbox.is_empty(), 5));
    assert_eq!((lifecycle.state(), lifecycle.since()), (State::Waking, 5));
    assert!(post(&mut lifecycle).is_none(), "no second task starts");
}

#[test]
fn after_a_wake_that_fails_the_next_message_tries_anew() {
    let answers = Arc::<Answers>::default();
    let mut lifecycle = Lifecycle::new(false, 1);
    let start = lifecycle.post(message(&answers, 1), CAPACITY, 2).unwrap().unwrap();
    assert!(lifecycle.post(message(&answers, 2), CAPACITY, 2).unwrap().is_none());
    lifecycle.wake_failed(3);
    assert_eq!(
        (lifecycle.state(), lifecycle.wakes(), lifecycle.last_wake()),
        (State::Asleep, 0, None)
    );
    assert!(start.mailbox.is_closed(), "nothing more arrives for the task that ends");
    let again = lifecycle.post(message(&answers, 3), CAPACITY, 4).unwrap().unwrap();
    drop((start, again));
    assert_eq!(*answers.0.lock(), HashMap::from([(1, 1), (2, 1), (3, 1)]));
}

#[tokio::test]
async fn a_request_to_sleep_is_heeded_once_by_one_instance() {
    let mut lifecycle = Lifecycle::new(false, 1);
    assert_eq!(lifecycle.ask_to_sleep(SleepReason::Asked), SleepAnswer::Asleep);
    assert_eq!(lifecycle.asked_to_sleep(), None, "it sleeps already");
    let start = post(&mut lifecycle).unwrap();
    assert_eq!(lifecycle.ask_to_sleep(SleepReason::Evicted), SleepAnswer::Asked);
    assert_eq!(lifecycle.ask_to_sleep(SleepReason::Asked), SleepAnswer::Asked);
    start.asked.notified().await;
    lifecycle.woke(Duration::ZERO, 3);
    assert_eq!(lifecycle.asked_to_sleep(), Some(SleepReason::Evicted), "the first reason stays");
    lifecycle.fall_asleep(4);
    lifecycle.stay_awake(5);
    assert_eq!(lifecycle.asked_to_sleep(), Some(SleepReason::Evicted), "it has not slept yet");
    lifecycle.fall_asleep(6);
    assert_eq!(lifecycle.ask_to_sleep(SleepReason::Asked), SleepAnswer::Asked);
    assert!(lifecycle.instance_ended(true, 7));
    assert_eq!(lifecycle.asked_to_sleep(), None, "the next instance was asked nothing");

    let (mut lifecycle, _begun) = awake();
    lifecycle.fall_asleep(4);
    assert_eq!(lifecycle.ask_to_sleep(SleepReason::Asked), SleepAnswer::Asked);
    lifecycle.stay_awake(5);
    assert_eq!(lifecycle.asked_to_sleep(), Some(SleepReason::Asked), "it was to sleep when done");
}

#[test]
fn an_instance_that_panics_leaves_the_object_to_those_who_wait() {
    let (mut lifecycle, _begun) = awake();
    assert!(!lifecycle.instance_ended(false, 4));
    assert_eq!(lifecycle.state(), State::Asleep);

    let (mut lifecycle, start) = awake();
    post(&mut lifecycle);
    assert!(lifecycle.ask_to_crash() && lifecycle.is_to_crash());
    assert!(lifecycle.instance_ended(!start.mailbox.is_empty(), 4));
    assert_eq!(lifecycle.state(), State::Waking);
    assert!(!lifecycle.is_to_crash(), "the next instance does not");
    assert!(!lifecycle.ask_to_crash(), "there is none yet");
}

#[test]
fn a_pinned_object_wakes_again_and_is_not_asked() {
    let mut lifecycle = Lifecycle::new(true, 1);
    let start = lifecycle.wake(WakeCause::Pin, CAPACITY, 2).unwrap();
    assert!(lifecycle.wake(WakeCause::Pin, CAPACITY, 2).is_none());
    lifecycle.woke(Duration::ZERO, 3);
    assert_eq!(lifecycle.ask_to_sleep(SleepReason::Asked), SleepAnswer::Refused);
    assert_eq!(lifecycle.asked_to_sleep(), None);
    assert!(lifecycle.instance_ended(false, 4), "after a panic");
    assert_eq!((lifecycle.state(), lifecycle.cause()), (State::Waking, Some(WakeCause::Pin)));
    lifecycle.wake_failed(5);
    assert_eq!(lifecycle.state(), State::Asleep);
    drop(start);
    let start = post(&mut lifecycle).unwrap();
    assert_eq!(lifecycle.cause(), Some(WakeCause::Publish));
    lifecycle.woke(Duration::ZERO, 6);
    lifecycle.end();
    assert!(start.mailbox.is_closed());
    assert!(!lifecycle.instance_ended(false, 7), "at the end it sleeps like any other");
}

#[test]
fn at_the_end_nothing_wakes_while_the_last_messages_are_served() {
    let (mut lifecycle, mut start) = awake();
    post(&mut lifecycle);
    lifecycle.end();
    assert!(lifecycle.post(message(&Arc::default(), 9), CAPACITY, 4).is_err());
    assert!(lifecycle.instance_ended(!start.mailbox.is_empty(), 5), "even after a panic");
    assert!(lifecycle.post(message(&Arc::default(), 9), CAPACITY, 4).is_err());
    lifecycle.woke(Duration::ZERO, 6);
    start.mailbox.try_recv().unwrap();
    assert!(!lifecycle.instance_ended(false, 7));
    assert!(lifecycle.post(message(&Arc::default(), 9), CAPACITY, 8).is_err());
    assert!(lifecycle.wake(WakeCause::Pin, CAPACITY, 8).is_none());
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

/// The task of an object as the lifecycle sees it, and the answers to senders.
struct World {
    lifecycle: Lifecycle,
    start: Option<InstanceStart>,
    answers: Arc<Answers>,
    posted: u32,
    returned: u32,
    now: u64,
}

impl World {
    fn new(is_pinned: bool) -> Self {
        let lifecycle = Lifecycle::new(is_pinned, 0);
        Self { lifecycle, start: None, answers: Arc::default(), posted: 0, returned: 0, now: 0 }
    }

    fn step(&mut self, step: Step) {
        self.now += 1;
        match step {
            Step::Post => {
                self.posted += 1;
                let message = message(&self.answers, self.posted);
                match self.lifecycle.post(message, CAPACITY, self.now) {
                    Ok(start) => self.begin(start),
                    Err(_) => self.returned += 1,
                }
            }
            Step::Wake => {
                let start = self.lifecycle.wake(WakeCause::Pin, CAPACITY, self.now);
                self.begin(start);
            }
            Step::AskToSleep => {
                let answer = self.lifecycle.ask_to_sleep(SleepReason::Asked);
                let is_asleep = self.lifecycle.state() == State::Asleep;
                assert_eq!(answer == SleepAnswer::Refused, self.lifecycle.is_pinned());
                assert!(answer != SleepAnswer::Asleep || is_asleep);
            }
            Step::AskToCrash => {
                let has_instance = !matches!(self.lifecycle.state(), State::Asleep | State::Waking);
                assert_eq!(self.lifecycle.ask_to_crash(), has_instance);
            }
            Step::Task(way) => self.task(way),
            Step::Panic => {
                if matches!(self.lifecycle.state(), State::Awake | State::FallingAsleep) {
                    self.instance_ended();
                }
            }
        }
        assert_eq!(self.lifecycle.state() == State::Asleep, self.start.is_none());
        assert!(self.lifecycle.since() <= self.now);
    }

    fn begin(&mut self, start: Option<InstanceStart>) {
        if let Some(start) = start {
            assert!(self.start.replace(start).is_none(), "a second task");
        }
    }

    fn task(&mut self, way: bool) {
        let Some(start) = &mut self.start else { return };
        match self.lifecycle.state() {
            State::Asleep => unreachable!("the task has ended"),
            State::Waking if way => self.lifecycle.woke(Duration::ZERO, self.now),
            State::Waking => {
                self.lifecycle.wake_failed(self.now);
                self.start = None;
            }
            State::Awake => match start.mailbox.try_recv() {
                Ok(message) => drop(message),
                Err(_) => self.lifecycle.fall_asleep(self.now),
            },
            State::FallingAsleep if way && !start.mailbox.is_empty() => {
                self.lifecycle.stay_awake(self.now);
            }
            State::FallingAsleep => self.instance_ended(),
        }
    }

    fn instance_ended(&mut self) {
        let messages_wait = self.start.as_ref().is_some_and(|start| !start.mailbox.is_empty());
        let wakes = self.lifecycle.instance_ended(messages_wait, self.now);
        assert!(wakes || !messages_wait, "what waits is not forgotten");
        assert_eq!(self.lifecycle.asked_to_sleep(), None);
        if !wakes {
            self.start = None;
        }
    }

    /// The server ends; all that was taken is answered, once.
    fn end(mut self) {
        self.lifecycle.end();
        while self.lifecycle.state() != State::Asleep {
            self.task(true);
        }
        assert!(self.start.is_none());
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
