//! The behaviour of objects: the [`Object`] trait, and the context through which a behaviour acts.
//!
//! A behaviour is pure: it gets an input and a context; the instance carries out its decisions after the batch.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dormouse_protocol::{ErrorCode, Event};

use super::dedupe::{Dedupe, StoredAt};
use super::delivery::{Answer, Refusal};
use super::input::{Input, Publish, Verb};
use super::reply::ReplyTo;
use crate::limits::Permit;
use crate::log::{Entry, Identity, Tail};

/// The behaviour of an awake object: one input at a time, in the order of arrival (promise 1).
pub trait Object: Send {
    /// Called once, after the log is loaded.
    fn wake(&mut self, _context: &mut Context<'_>) {}

    /// A member wants to publish. Every request must be published or refused; one that is dropped is answered with
    /// `internal`.
    fn publish(&mut self, context: &mut Context<'_>, request: PublishRequest);

    /// Decides about another input that the class is interested in (see [`Class::interested_in`]). An accepted input is then executed
    /// as for a class without interest.
    fn decide(&mut self, _context: &mut Context<'_>, _input: &Input) -> Result<(), Refusal> {
        Ok(())
    }

    /// Called before the instance ends. State that must survive belongs in the log.
    fn sleep(&mut self) {}
}

/// The inputs, besides publishes, that a class decides about. All others are executed without an instance, so that they do not wake
/// the object (promise 6).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Interests(u8);

impl Interests {
    fn with(self, verb: Verb) -> Self {
        Self(self.0 | 1 << verb as u8)
    }

    pub(super) fn contains(self, verb: Verb) -> bool {
        verb == Verb::Publish || self.0 & 1 << verb as u8 != 0
    }
}

type Maker = dyn Fn(&Identity) -> Box<dyn Object> + Send + Sync;

/// A class of objects: how its instances are made, and when they sleep. Cheap to clone.
#[derive(Clone)]
pub struct Class {
    maker: Arc<Maker>,
    sleep_after: Duration,
    interests: Interests,
}

impl Class {
    /// A class whose instances `maker` makes, and which sleep after `sleep_after` without an input. It is interested in publishes
    /// only.
    pub fn new(
        maker: impl Fn(&Identity) -> Box<dyn Object> + Send + Sync + 'static,
        sleep_after: Duration,
    ) -> Self {
        Self { maker: Arc::new(maker), sleep_after, interests: Interests::default() }
    }

    /// The same class, which also decides about inputs of this kind: they wake its objects.
    #[must_use]
    pub fn interested_in(self, verb: Verb) -> Self {
        Self { interests: self.interests.with(verb), ..self }
    }

    pub(super) fn interests(&self) -> Interests {
        self.interests
    }

    pub(super) fn make(&self, identity: &Identity) -> Box<dyn Object> {
        (self.maker)(identity)
    }

    pub(super) fn sleep_after(&self) -> Duration {
        self.sleep_after
    }
}

/// The classes that a server knows, by name.
pub type Classes = HashMap<&'static str, Class>;

/// A requested publish, with the obligation to answer it.
#[derive(Debug)]
pub struct PublishRequest {
    /// The requested event.
    pub publish: Publish,
    pub(super) reply: ReplyTo,
    /// For the memory of the request, and of its event until that has been delivered.
    pub(super) permit: Permit,
}

/// What a behaviour can read and do for one input.
pub struct Context<'a> {
    pub(super) identity: &'a Identity,
    pub(super) now: u64,
    pub(super) is_full: bool,
    pub(super) tail: &'a mut Tail,
    pub(super) dedupe: &'a mut Dedupe,
    pub(super) effects: &'a mut Effects,
}

/// The decisions for one batch, carried out in one append.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) entries: Vec<Entry>,
    pub(super) answers: Vec<(ReplyTo, Answer)>,
    /// For the memory of the entries.
    pub(super) permit: Option<Permit>,
}

impl Context<'_> {
    /// The object's identity.
    pub fn identity(&self) -> &Identity {
        self.identity
    }

    /// Milliseconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Stores the next event and delivers it to every member once it is on disk, unless its key was seen within the window;
    /// then the sender gets the offset of the first event (promise 4). Refused while the disk is full, and
    /// where the request is a retry whose event may have left the window.
    pub fn publish(&mut self, request: PublishRequest) {
        let PublishRequest { publish, reply, permit } = request;
        let Publish { sender, user, kind, data, key, after, .. } = publish;
        if let Some(key) = &key
            && let Some(StoredAt { offset, time }) = self.dedupe.find(&sender, key)
        {
            let answer = Answer::Published { offset, time, duplicate: true };
            self.effects.answers.push((reply, answer));
            return;
        }
        if let Some(after) = after
            && !self.dedupe.reaches_back_to(after)
        {
            let why = format!(
                "the event may have been stored: read the history after offset {after} and look for its key"
            );
            let refusal = Refusal::new(ErrorCode::KeyExpired, why);
            self.effects.answers.push((reply, Answer::Refused(refusal)));
            return;
        }
        if self.is_full {
            let why = "the server's disk is full and the event is not stored; try again later";
            let refusal = Refusal::new(ErrorCode::DiskFull, why);
            self.effects.answers.push((reply, Answer::Refused(refusal)));
            return;
        }
        let mut event = Event {
            offset: 0,
            time: 0,
            sender: (&*sender).into(),
            kind,
            data,
            key,
            user: user.map(|user| (*user).into()),
        };
        self.effects.entries.push(self.tail.push(&mut event, self.now));
        match &mut self.effects.permit {
            Some(all) => all.merge(permit),
            none => *none = Some(permit),
        }
        if let Some(key) = &event.key {
            let stored_at = StoredAt { offset: event.offset, time: event.time };
            self.dedupe.insert(&sender, key, stored_at);
        }
        let answer = Answer::Published { offset: event.offset, time: event.time, duplicate: false };
        self.effects.answers.push((reply, answer));
    }

    /// Refuses the publish.
    pub fn refuse(&mut self, request: PublishRequest, refusal: Refusal) {
        self.effects.answers.push((request.reply, Answer::Refused(refusal)));
    }
}
