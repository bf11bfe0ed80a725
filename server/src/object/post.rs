//! The way in: an input goes to the instance where the class decides about it, and is carried out at once otherwise.

use std::sync::Arc;

use dormouse_protocol::ErrorCode;

use super::delivery::{
    Address, Answer, Answered, Delivery, EventsRead, ReadReply, Refusal, SignalFrames, Sink,
};
use super::handle::Handle;
use super::input::{
    Action, Input, Join, Leave, Range, Read, SetPresence, Signal, Source, Verb, Watch,
};
use super::mailbox::Message;
use super::presence::{Entrant, RosterFull};
use super::reply::ReplyTo;
use crate::clock::now_ms;
use crate::log::{ReadError, elsewhere};

/// The object's mailbox is full; the input comes back.
#[derive(Debug)]
pub struct Busy(pub Input);

impl Handle {
    /// Takes an input without waiting. Must not be called from within [`Sink::deliver`].
    ///
    /// Every action that wants an answer gets exactly one. Those of one connection are carried out in the order in which they
    /// were posted, as far as the class decides about all of them or about none.
    pub fn post(self: &Arc<Self>, input: Input) -> Result<(), Busy> {
        match input.action.verb() {
            Some(verb) if self.interests.contains(verb) => self.enqueue(input, verb),
            _ => {
                self.carry_out(input);
                Ok(())
            }
        }
    }

    /// Puts an input into the mailbox, waking the object if it sleeps.
    #[expect(clippy::result_large_err, reason = "what has no room comes back")]
    fn enqueue(self: &Arc<Self>, input: Input, verb: Verb) -> Result<(), Busy> {
        let Source { sink, address } = input.source;
        let reply = input
            .is_request()
            .then(|| ReplyTo::new(self.sink(sink).clone(), address, verb, input.held()));
        let message = Message { input, reply };
        let capacity = self.shared.settings.mailbox;
        match self.step(|lifecycle| lifecycle.post(message, capacity, now_ms())) {
            Ok(start) => {
                self.begin(start);
                Ok(())
            }
            Err(Message { input, reply }) => {
                reply.into_iter().for_each(ReplyTo::disarm);
                Err(Busy(input))
            }
        }
    }

    /// Does what an input asks for. Publishes are the instance's.
    pub(super) fn carry_out(self: &Arc<Self>, input: Input) {
        let Input { source, action } = input;
        match action {
            Action::Join(join) => self.join(source, join),
            Action::Leave(Leave { member, holder, how, is_request }) => {
                self.depart(member, holder, how);
                if is_request {
                    self.answer(source, Verb::Leave, Answer::Done);
                }
            }
            Action::Unsubscribe(encoding) => self.unsubscribe(source.sink, encoding),
            Action::Publish(_) => debug_assert!(false, "every class decides about publishes"),
            Action::Signal(signal) => self.signal(source, signal),
            Action::SetPresence(set) => self.set_presence(source, &set),
            Action::Watch(Watch { view, since }) => {
                self.watch(source.sink, source.address, view, since);
            }
            Action::Unwatch => self.unwatch(source.sink),
            Action::ReadRoster(read) => self.roster(source.sink, source.address, read),
            Action::Read(read) => self.read(source, read),
        }
    }

    /// The answer stands in the sink exactly before the first event after its head, since the head is locked meanwhile
    /// (promise 5).
    fn join(self: &Arc<Self>, source: Source, join: Join) {
        let Join { session, encoding, holder, member: asked, presence } = join;
        let new = self.new_member();
        let member = match presence {
            None => Ok(new),
            Some(data) => self.present(Entrant { asked, member: new, user: session, holder, data }),
        };
        let member = match member {
            Ok(member) => member,
            Err(RosterFull) => return self.answer(source, Verb::Join, roster_full()),
        };
        let head = self.head.lock();
        self.subscribe(source.sink, encoding);
        self.answer(source, Verb::Join, Answer::Joined { member, head: *head });
    }

    fn signal(&self, source: Source, signal: Signal) {
        let Signal { sender, data, key, is_request } = signal;
        let frames = Arc::new(SignalFrames::new(self.id(), sender, data, key));
        for sink in self.subscribed_sinks() {
            sink.deliver(Delivery::Signal(frames.clone()));
        }
        if is_request {
            self.answer(source, Verb::Signal, Answer::Done);
        }
    }

    fn set_presence(self: &Arc<Self>, source: Source, set: &SetPresence) {
        let SetPresence { member, session, holder, data } = set;
        let answer = match self.update(*member, *session, *holder, data.as_ref()) {
            Ok(()) => Answer::Done,
            Err(RosterFull) => roster_full(),
        };
        self.answer(source, Verb::Presence, answer);
    }

    /// Reads the log on another thread.
    fn read(self: &Arc<Self>, source: Source, read: Read) {
        let handle = self.clone();
        let answer = ReadAnswer {
            to: source.address,
            read,
            sink: self.sink(source.sink).clone(),
            handle: self.clone(),
            outcome: None,
        };
        elsewhere(&self.shared.runtime, move || {
            let mut answer = answer;
            answer.outcome = handle
                .events(read)
                .inspect_err(|error| {
                    let object = &handle.identity.name;
                    tracing::error!(%error, %object, "the log of an object cannot be read");
                })
                .ok();
        });
    }

    /// The events of a range, up to the head; blocks. The log may hold more already: a commit is about to move the head, and
    /// a member that had an event from beyond it would come back with a position that is ahead.
    fn events(&self, read: Read) -> Result<EventsRead, ReadError> {
        let (head, log) = (self.head(), &self.shared.log);
        match read.range {
            Range::After(after) => {
                let page = log.page(&self.identity, after, read.limit)?;
                Ok(EventsRead::Page(page.up_to(head)))
            }
            Range::Between { after, before, reverse } => {
                let before = before.map_or(head + 1, |before| before.min(head + 1));
                let range = log.range(&self.identity, after, Some(before), reverse, read.limit)?;
                Ok(EventsRead::Range(range))
            }
        }
    }

    fn answer(&self, source: Source, verb: Verb, answer: Answer) {
        let answered = Answered { to: source.address, verb, held: 0, answer };
        self.sink(source.sink).deliver(Delivery::Answer(answered));
    }
}

/// The answer to a read, given however the read ends: by a panic too.
struct ReadAnswer {
    to: Address,
    read: Read,
    sink: Arc<dyn Sink>,
    handle: Arc<Handle>,
    outcome: Option<EventsRead>,
}

impl Drop for ReadAnswer {
    fn drop(&mut self) {
        let unreadable = || {
            let why = "the log cannot be read at present; try again later";
            Refusal::new(ErrorCode::Unavailable, why)
        };
        let identity = &self.handle.identity;
        self.sink.deliver(Delivery::Read(ReadReply {
            to: self.to,
            tag: self.read.tag,
            range: self.read.range,
            object: identity.id,
            epoch: identity.epoch,
            outcome: self.outcome.take().ok_or_else(unreadable),
        }));
    }
}

fn roster_full() -> Answer {
    let why =
        "the roster holds as many members as it may; join without presence, or try again later";
    Answer::Refused(Refusal::new(ErrorCode::RosterFull, why))
}
