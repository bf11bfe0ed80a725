//! The behaviour of objects: the [`Object`] trait, and the context through which a behaviour acts.
//!
//! A behaviour is pure: it gets a message and a context, and what it decides is carried out after the turn.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dormouse_protocol::{ErrorCode, Event, Key, Kind, Payload};

use super::dedupe::{Dedupe, StoredAt};
use super::outlet::{Answer, ReplyTo};
use crate::log::{Entry, Identity, Tail};
use crate::session::SessionId;

/// What an object does while it is awake. One message at a time, in the order of arrival (promise 1).
///
/// Joins, leaves, signals and reads of the log need no decision of the built-in class and are served without an
/// instance, so that they wake nobody (promise 6).
pub trait Object: Send {
    /// The instance has come to be; its log is loaded.
    fn wake(&mut self, _context: &mut Context<'_>) {}

    /// A member has published. Every message must be published or refused; one that is dropped is
    /// answered with `internal`.
    fn message(&mut self, context: &mut Context<'_>, message: Message);

    /// The instance is about to end; what it wants to remember must be in the log.
    fn sleep(&mut self) {}
}

type Maker = dyn Fn(&Identity) -> Box<dyn Object> + Send + Sync;

/// A class of objects: how its instances are made, and when they sleep. Cheap to clone.
#[derive(Clone)]
pub struct Class {
    maker: Arc<Maker>,
    sleep_after: Duration,
}

impl Class {
    /// A class whose instances `maker` makes, and which sleep after so long without a message.
    pub fn new(
        maker: impl Fn(&Identity) -> Box<dyn Object> + Send + Sync + 'static,
        sleep_after: Duration,
    ) -> Self {
        Self { maker: Arc::new(maker), sleep_after }
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

/// What a member wants to publish.
#[derive(Debug)]
pub struct Message {
    /// The session that sends.
    pub sender: SessionId,
    /// What kind of event it wants.
    pub kind: Kind,
    /// What it sends.
    pub data: Payload,
    /// Under which key it is stored once.
    pub key: Option<Key>,
    /// Of a retry: the newest offset that the client knew when it first sent the message.
    pub after: Option<u64>,
    /// Who waits for the answer.
    pub reply: ReplyTo,
}

/// What a behaviour can see and do during one turn.
pub struct Context<'a> {
    pub(super) identity: &'a Identity,
    pub(super) now: u64,
    pub(super) is_full: bool,
    pub(super) tail: &'a mut Tail,
    pub(super) dedupe: &'a mut Dedupe,
    pub(super) effects: &'a mut Effects,
}

/// What a turn decided: carried out together, in one append.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) entries: Vec<Entry>,
    pub(super) answers: Vec<(ReplyTo, Answer)>,
}

impl Context<'_> {
    /// Whose turn it is.
    pub fn identity(&self) -> &Identity {
        self.identity
    }

    /// Milliseconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Stores the message as the next event and delivers it to every member once it is on disk, unless its key was
    /// seen within the window; then the sender gets the first event's place (promise 4). Refused while the disk is full, and where
    /// the message is a retry whose event may have left the window.
    pub fn publish(&mut self, message: Message) {
        let Message { sender, kind, data, key, after, reply } = message;
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
            self.effects.answers.push((reply, Answer::Refused(ErrorCode::KeyExpired, why.into())));
            return;
        }
        if self.is_full {
            let why = "the server's disk is full and the event is not stored; try again later";
            self.effects.answers.push((reply, Answer::Refused(ErrorCode::DiskFull, why.into())));
            return;
        }
        let mut event = Event { offset: 0, time: 0, sender: (&*sender).into(), kind, data, key };
        self.effects.entries.push(self.tail.push(&mut event, self.now));
        if let Some(key) = &event.key {
            let place = StoredAt { offset: event.offset, time: event.time };
            self.dedupe.insert(&sender, key, place);
        }
        let answer = Answer::Published { offset: event.offset, time: event.time, duplicate: false };
        self.effects.answers.push((reply, answer));
    }

    /// Refuses the message.
    pub fn refuse(&mut self, message: Message, code: ErrorCode, why: &str) {
        self.effects.answers.push((message.reply, Answer::Refused(code, why.into())));
    }
}
