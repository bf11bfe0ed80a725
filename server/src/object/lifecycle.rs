//! The lifecycle of an object: its states and all transitions between them.
//!
//! ```text
//!          post, wake           woke           fall_asleep
//!   Asleep ─────────▶ Waking ────────▶ Awake ─────────────▶ FallingAsleep
//!     ▲                │  ▲             │ ▲                   │    │
//!     │  wake_failed   │  │   ended,    │ └─── stay_awake ────┘    │
//!     ├────────────────┘  └── while ────┼──────────────────────────┤
//!     │                  messages wait  │                          │
//!     └─────────────────────────────────┴──────────────────────────┘
//!                                     ended
//! ```
//!
//! The object's handle holds its [`Lifecycle`] behind one lock, so each transition is atomic. This keeps promise 1: only the
//! transition from asleep to waking starts a task, and the task ends only with a transition to asleep. Races:
//!
//! - **Two first messages at once**: the first starts the task; the second waits in the mailbox.
//! - **A message while it falls asleep**: it waits in the mailbox. If the object still waits for its last commit, it
//!   stays awake. If the instance is already ending, [`Lifecycle::instance_ended`] sees the message, and the next instance wakes.
//! - **A wake that fails**: the transition that ends the task closes the mailbox. The task refuses its messages; a later
//!   message wakes the object again.
//! - **A request to sleep**: it stays pending until the instance ends, also while the object falls asleep, because a message
//!   may keep it awake. It takes effect when the mailbox is empty and every event is on disk.
//! - **A permit that other objects wait for**: a busy object gives it up after one second; its messages wait for the next
//!   permit.
//! - **An instance that panics**: its waiting messages go to the next instance; without any, the object sleeps.
//! - **The end of the server**: the mailbox closes to senders, and the task ends after the waiting messages. A sleeping object
//!   does not wake again.
//!
//! A pinned object wakes again whenever its instance ends, and refuses requests to sleep.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

use super::input::Verb;
use super::mailbox::Message;

/// How long a busy object may keep a permit that other objects wait for.
const YIELD_AFTER: Duration = Duration::from_secs(1);

/// Whether an object has an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has none.
    Asleep,
    /// It waits for a permit, or reads its log.
    Waking,
    /// It has one that takes messages.
    Awake,
    /// It has one that is about to end.
    FallingAsleep,
}

/// Why an object woke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WakeCause {
    /// A member published.
    Publish,
    /// Another input came that the class is interested in.
    Input,
    /// It is pinned.
    Pin,
}

/// Why an object fell asleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SleepReason {
    /// There was no message for a while.
    Idle,
    /// Another object needed its permit.
    Evicted,
    /// Memory was short.
    Memory,
    /// An operator asked.
    Asked,
    /// The server ends.
    Ended,
    /// The instance panicked, or could not wake.
    Failed,
}

/// Why an object did not fall asleep, or not at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SleepRefusal {
    /// A message arrived.
    Message,
    /// Its last events were not on disk yet.
    Commit,
    /// It is pinned.
    Pinned,
}

/// How the last wake went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastWake {
    /// Why.
    pub cause: WakeCause,
    /// When it was over, in milliseconds since the Unix epoch.
    pub at: u64,
    /// Duration in microseconds, including the wait for permits.
    pub took_us: u32,
}

/// The answer to a request to sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SleepAnswer {
    /// It sleeps.
    Asleep,
    /// It sleeps as soon as it is idle.
    Asked,
    /// It is pinned.
    Refused,
}

/// The inputs of a new task for an object's instances.
pub(super) struct InstanceStart {
    pub(super) mailbox: mpsc::Receiver<Message>,
    /// Notified of a request to the instance: see [`Lifecycle::is_to_crash`] and [`Lifecycle::asked_to_sleep`].
    pub(super) asked: Arc<Notify>,
}

/// An object's state and its history. Small while it is asleep: most objects are.
pub(super) struct Lifecycle {
    /// Exactly while the object is not asleep.
    active: Option<Box<Active>>,
    /// When the state began, in milliseconds since the Unix epoch.
    since: u64,
    last_wake: Option<LastWake>,
    wakes: u32,
    is_pinned: bool,
    has_ended: bool,
}

struct Active {
    stage: Stage,
    cause: WakeCause,
    /// Dropped at the end: the instance then finds its mailbox closed.
    mailbox: Option<mpsc::Sender<Message>>,
    asked: Arc<Notify>,
    is_to_crash: bool,
    /// Why, and since when.
    is_to_sleep: Option<(SleepReason, Instant)>,
    last_use: Instant,
    /// What the instance holds.
    memory_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waking,
    Awake,
    FallingAsleep,
}

impl Lifecycle {
    /// An object that is asleep and never woke.
    pub(super) fn new(is_pinned: bool, now_ms: u64) -> Self {
        Self { active: None, since: now_ms, last_wake: None, wakes: 0, is_pinned, has_ended: false }
    }

    /// A message arrives: it goes to the mailbox, or comes back if that is full or closed. A caller that gets an
    /// [`InstanceStart`] must start the task.
    #[expect(clippy::result_large_err, reason = "what has no room comes back")]
    pub(super) fn post(
        &mut self,
        message: Message,
        capacity: usize,
        now_ms: u64,
    ) -> Result<Option<InstanceStart>, Message> {
        let start = self.wake(WakeCause::of(message.verb()), capacity, now_ms);
        let mailbox = self.active.as_ref().and_then(|active| active.mailbox.as_ref());
        let Some(mailbox) = mailbox else { return Err(message) };
        match mailbox.try_send(message) {
            Ok(()) => {}
            // Closed: the runtime has dropped the task, and drops the others too.
            Err(TrySendError::Full(message) | TrySendError::Closed(message)) => {
                return Err(message);
            }
        }
        if let Some(active) = &self.active
            && active.stage == Stage::FallingAsleep
        {
            active.asked.notify_one();
        }
        Ok(start)
    }

    /// Asleep → waking; nothing in any other state, and after the end.
    pub(super) fn wake(
        &mut self,
        cause: WakeCause,
        capacity: usize,
        now_ms: u64,
    ) -> Option<InstanceStart> {
        if self.active.is_some() || self.has_ended {
            return None;
        }
        let (sender, mailbox) = mpsc::channel(capacity);
        let asked = Arc::new(Notify::new());
        self.active = Some(Box::new(Active {
            stage: Stage::Waking,
            cause,
            mailbox: Some(sender),
            asked: asked.clone(),
            is_to_crash: false,
            is_to_sleep: None,
            last_use: Instant::now(),
            memory_bytes: 0,
        }));
        self.since = now_ms;
        Some(InstanceStart { mailbox, asked })
    }

    /// Waking → awake, `took` after the wake began.
    pub(super) fn woke(&mut self, took: Duration, now_ms: u64) {
        let took_us = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.move_to(&[Stage::Waking], Stage::Awake, now_ms);
        if let Some(active) = &mut self.active {
            active.last_use = Instant::now();
            self.last_wake = Some(LastWake { cause: active.cause, at: now_ms, took_us });
            self.wakes = self.wakes.saturating_add(1);
        }
    }

    /// Waking → asleep: closes the mailbox.
    pub(super) fn wake_failed(&mut self, now_ms: u64) {
        debug_assert_eq!(self.state(), State::Waking);
        self.active = None;
        self.since = now_ms;
    }

    /// Awake → falling asleep.
    pub(super) fn fall_asleep(&mut self, now_ms: u64) {
        self.move_to(&[Stage::Awake], Stage::FallingAsleep, now_ms);
    }

    /// Falling asleep → awake, before anything of the instance has ended.
    pub(super) fn stay_awake(&mut self, now_ms: u64) {
        self.move_to(&[Stage::FallingAsleep], Stage::Awake, now_ms);
    }

    /// The instance has ended. Awake, falling asleep → waking if messages wait or the object is pinned; else asleep. Returns
    /// whether it wakes.
    pub(super) fn instance_ended(&mut self, messages_wait: bool, now_ms: u64) -> bool {
        let Some(active) = &mut self.active else {
            debug_assert!(false, "an object that sleeps has no instance");
            return false;
        };
        debug_assert_ne!(active.stage, Stage::Waking);
        let is_wanted = messages_wait || self.is_pinned && !self.has_ended;
        if is_wanted {
            active.stage = Stage::Waking;
            active.cause = if messages_wait { WakeCause::Publish } else { WakeCause::Pin };
            active.is_to_crash = false;
            active.is_to_sleep = None;
            active.memory_bytes = 0;
        } else {
            self.active = None;
        }
        self.since = now_ms;
        is_wanted
    }

    /// Closes the mailbox for good: the task ends after the waiting messages.
    pub(super) fn end(&mut self) {
        self.has_ended = true;
        if let Some(active) = &mut self.active {
            active.mailbox = None;
            active.asked.notify_one();
        }
    }

    /// Asks the instance to sleep as soon as it is idle.
    pub(super) fn ask_to_sleep(&mut self, reason: SleepReason) -> SleepAnswer {
        if self.is_pinned {
            return SleepAnswer::Refused;
        }
        let Some(active) = &mut self.active else { return SleepAnswer::Asleep };
        active.is_to_sleep.get_or_insert((reason, Instant::now()));
        active.asked.notify_one();
        SleepAnswer::Asked
    }

    /// Why the instance was asked to sleep, if it was.
    pub(super) fn asked_to_sleep(&self) -> Option<SleepReason> {
        let (reason, _) = self.active.as_ref()?.is_to_sleep?;
        Some(reason)
    }

    /// Whether the instance must give up its permit even if it is busy.
    pub(super) fn must_yield(&self) -> bool {
        let asked = self.active.as_ref().and_then(|active| active.is_to_sleep);
        asked.is_some_and(|(reason, since)| {
            reason == SleepReason::Evicted && since.elapsed() >= YIELD_AFTER
        })
    }

    /// Asks the instance to panic. False if there is none.
    pub(super) fn ask_to_crash(&mut self) -> bool {
        match &mut self.active {
            Some(active) if active.stage != Stage::Waking => {
                active.is_to_crash = true;
                active.asked.notify_one();
                true
            }
            _ => false,
        }
    }

    /// Whether the instance was asked to panic.
    pub(super) fn is_to_crash(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.is_to_crash)
    }

    /// Records a use: the instance handled a batch, or the object got its permit.
    pub(super) fn used(&mut self, at: Instant, memory_bytes: usize) {
        if let Some(active) = &mut self.active {
            active.last_use = at;
            active.memory_bytes = memory_bytes;
        }
    }

    /// When it was last used, unless it sleeps.
    pub(super) fn last_use(&self) -> Option<Instant> {
        self.active.as_ref().map(|active| active.last_use)
    }

    pub(super) fn state(&self) -> State {
        match self.active.as_ref().map(|active| active.stage) {
            None => State::Asleep,
            Some(Stage::Waking) => State::Waking,
            Some(Stage::Awake) => State::Awake,
            Some(Stage::FallingAsleep) => State::FallingAsleep,
        }
    }

    pub(super) fn since(&self) -> u64 {
        self.since
    }

    /// Why it is not asleep.
    pub(super) fn cause(&self) -> Option<WakeCause> {
        self.active.as_ref().map(|active| active.cause)
    }

    pub(super) fn last_wake(&self) -> Option<LastWake> {
        self.last_wake
    }

    /// How often it woke.
    pub(super) fn wakes(&self) -> u32 {
        self.wakes
    }

    pub(super) fn is_pinned(&self) -> bool {
        self.is_pinned
    }

    /// Bytes of memory while it is not asleep, without the mailbox's messages.
    pub(super) fn memory_bytes(&self) -> usize {
        self.active.as_ref().map_or(0, |active| size_of::<Active>() + active.memory_bytes)
    }

    fn move_to(&mut self, from: &[Stage], to: Stage, now_ms: u64) {
        let stage = self.active.as_mut().map(|active| &mut active.stage);
        debug_assert!(
            stage.as_ref().is_some_and(|stage| from.contains(stage)),
            "{:?}",
            self.state()
        );
        if let Some(stage) = stage {
            *stage = to;
            self.since = now_ms;
        }
    }
}

impl State {
    /// All of them, in the order of [`State::index`].
    pub const ALL: [Self; 4] = [Self::Asleep, Self::Waking, Self::Awake, Self::FallingAsleep];

    pub(super) fn index(self) -> usize {
        self as usize
    }

    /// Its name in metrics and over HTTP.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asleep => "asleep",
            Self::Waking => "waking",
            Self::Awake => "awake",
            Self::FallingAsleep => "falling_asleep",
        }
    }
}

impl WakeCause {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Publish, Self::Input, Self::Pin];

    fn of(verb: Option<Verb>) -> Self {
        if verb == Some(Verb::Publish) { Self::Publish } else { Self::Input }
    }

    /// Its name in metrics and over HTTP.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Input => "input",
            Self::Pin => "pin",
        }
    }
}

impl SleepReason {
    pub(super) const ALL: [Self; 6] =
        [Self::Idle, Self::Evicted, Self::Memory, Self::Asked, Self::Ended, Self::Failed];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Evicted => "evicted",
            Self::Memory => "memory",
            Self::Asked => "asked",
            Self::Ended => "ended",
            Self::Failed => "failed",
        }
    }
}

impl SleepRefusal {
    pub(super) const ALL: [Self; 3] = [Self::Message, Self::Commit, Self::Pinned];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Commit => "commit",
            Self::Pinned => "pinned",
        }
    }
}

#[cfg(test)]
mod tests;
