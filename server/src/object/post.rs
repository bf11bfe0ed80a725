//! Posting: an input goes to the instance if the class decides about it; the handle carries out all others at once.

use std::sync::Arc;

use dormouse_protocol::{ErrorCode, Payload};

use super::delivery::{
    Address, Answer, Answered, Delivery, EventsRead, ReadReply, Refusal, SignalFrames, Sink,
};
use super::handle::Handle;
use super::input::{
    Action, Input, Join, Leave, Range, Read, SetPresence, Signal, Source, Verb, Watch,
};
use super::mailbox::Message;
use super::presence::{Data, Entrant, RosterFrames, RosterFull, View};
use super::reply::ReplyTo;
use crate::limits::{Budget, Permit, Purpose};
use crate::log::ReadError;

/// Copies of a signal: the message and both encodings.
const SIGNAL_COPIES: usize = 3;
/// Fixed overhead of a signal in bytes.
const SIGNAL_BYTES: usize = 512;

/// The object's mailbox is full; the input comes back.
#[derive(Debug)]
pub struct Busy(pub Box<Input>);

impl Handle {
    /// Takes an input without waiting. Must not be called from within [`Sink::deliver`].
    ///
    /// Every request gets exactly one answer. One connection's inputs keep their order if the class decides about all of
    /// them or about none.
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
        let Some(permit) = self.budget().try_acquire(Purpose::Publish, input.memory_bytes()) else {
            self.refuse(&input);
            return Ok(());
        };
        let Source { sink, address } = input.source;
        let reply = input
            .is_request()
            .then(|| ReplyTo::new(self.sink(sink).clone(), address, verb, input.held()));
        let message = Message { input, reply, permit };
        let capacity = self.shared.settings.mailbox;
        match self.step(|lifecycle| lifecycle.post(message, capacity, self.now_ms())) {
            Ok(start) => {
                self.begin(start);
                Ok(())
            }
            Err(Message { input, reply, .. }) => {
                reply.into_iter().for_each(ReplyTo::disarm);
                Err(Busy(Box::new(input)))
            }
        }
    }

    /// Carries out an input other than a publish.
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
            Action::SetPresence(set) => self.set_presence(source, set),
            Action::Watch(Watch { view, since }) => {
                // A sink posts no watch beyond its budget, so the excess is at most one watch per sink.
                let permit = self.budget().charge(RosterFrames::most_bytes(view));
                self.watch(source.sink, source.address, view, since, permit);
            }
            Action::Unwatch => self.unwatch(source.sink),
            Action::ReadRoster(read) => {
                let bytes = RosterFrames::most_bytes(View::Members);
                match self.budget().try_acquire(Purpose::Roster, bytes) {
                    Some(permit) => self.roster(source.sink, source.address, read, permit),
                    None => self.answer(source, Verb::Read, Answer::Refused(overloaded())),
                }
            }
            Action::Read(read) => self.read(source, read),
        }
    }

    /// Holds the lock of the head, so the sink gets the answer exactly before the first event after that head (promise 5).
    fn join(self: &Arc<Self>, source: Source, join: Join) {
        let Join { owner, encoding, holder, member: asked, presence } = join;
        let new = self.new_member();
        let member = match presence {
            None => new,
            Some(data) => {
                let Some(data) = self.presence_data(&data) else {
                    return self.answer(source, Verb::Join, Answer::Refused(overloaded()));
                };
                match self.present(Entrant { asked, member: new, owner, holder, data }) {
                    Ok(member) => member,
                    Err(RosterFull) => return self.answer(source, Verb::Join, roster_full()),
                }
            }
        };
        let head = self.head.lock();
        self.subscribe(source.sink, encoding);
        self.answer(source, Verb::Join, Answer::Joined { member, head: *head });
    }

    fn signal(&self, source: Source, signal: Signal) {
        let Signal { sender, data, key, is_request } = signal;
        let bytes = SIGNAL_BYTES + SIGNAL_COPIES * data.as_msgpack().len();
        let Some(permit) = self.budget().try_acquire(Purpose::Signal, bytes) else {
            if is_request {
                self.answer(source, Verb::Signal, Answer::Refused(overloaded()));
            }
            return;
        };
        let frames = Arc::new(SignalFrames::new(self.id(), sender, data, key, permit));
        for sink in self.subscribed_sinks() {
            sink.deliver(Delivery::Signal(frames.clone()));
        }
        if is_request {
            self.answer(source, Verb::Signal, Answer::Done);
        }
    }

    fn set_presence(self: &Arc<Self>, source: Source, set: SetPresence) {
        let SetPresence { member, owner, holder, data } = set;
        let data = match data.map(|data| self.presence_data(&data)) {
            None => None,
            Some(Some(data)) => Some(data),
            Some(None) => {
                return self.answer(source, Verb::Presence, Answer::Refused(overloaded()));
            }
        };
        let answer = match self.update(member, owner, holder, data) {
            Ok(()) => Answer::Done,
            Err(RosterFull) => roster_full(),
        };
        self.answer(source, Verb::Presence, answer);
    }

    /// `None` where the budget has no room for it.
    fn presence_data(&self, payload: &Payload) -> Option<Data> {
        let permit = self.budget().try_acquire(Purpose::Presence, Data::cost(payload))?;
        Some(Data::new(payload, permit))
    }

    /// Reads the log on another thread.
    fn read(self: &Arc<Self>, source: Source, read: Read) {
        let mut answer = ReadAnswer {
            to: source.address,
            read,
            sink: self.sink(source.sink).clone(),
            handle: self.clone(),
            permit: None,
            outcome: Err(unreadable()),
        };
        self.shared.settings.reads.spawn(move || answer.fill());
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

    fn budget(&self) -> &Budget {
        &self.shared.settings.budget
    }

    fn answer(&self, source: Source, verb: Verb, answer: Answer) {
        let answered = Answered { to: source.address, verb, held: 0, answer };
        self.sink(source.sink).deliver(Delivery::Answer(answered));
    }

    /// Refuses an input for want of memory, if it wants an answer.
    fn refuse(&self, input: &Input) {
        if input.is_request() {
            let sink = self.sink(input.source.sink);
            sink.deliver(Delivery::Answer(input.refused(overloaded())));
        }
    }
}

/// The answer to a read, given however the read ends: by a panic too.
struct ReadAnswer {
    to: Address,
    read: Read,
    sink: Arc<dyn Sink>,
    handle: Arc<Handle>,
    permit: Option<Permit>,
    outcome: Result<EventsRead, Refusal>,
}

impl ReadAnswer {
    /// Reads; blocks.
    fn fill(&mut self) {
        let purpose = match self.read.range {
            Range::After(_) => Purpose::Page,
            Range::Between { .. } => Purpose::History,
        };
        // Only now: a read that waits for its thread holds nothing.
        self.permit = self.handle.budget().try_acquire(purpose, self.read.bytes);
        self.outcome = match (&self.permit, self.handle.identity()) {
            (None, _) => Err(overloaded()),
            (Some(_), identity) => self.handle.events(self.read).map_err(|error| {
                tracing::error!(%error, object = %identity.name, "the log cannot be read");
                unreadable()
            }),
        };
    }
}

impl Drop for ReadAnswer {
    fn drop(&mut self) {
        let identity = &self.handle.identity;
        self.sink.deliver(Delivery::Read(ReadReply {
            to: self.to,
            tag: self.read.tag,
            range: self.read.range,
            object: identity.id,
            epoch: identity.epoch,
            outcome: std::mem::replace(&mut self.outcome, Err(unreadable())),
            permit: self.permit.take(),
        }));
    }
}

fn unreadable() -> Refusal {
    let why = "the log cannot be read at present; try again later";
    Refusal::new(ErrorCode::Unavailable, why)
}

fn overloaded() -> Refusal {
    Refusal::new(ErrorCode::Overloaded, "the server is short of memory; try again later")
}

fn roster_full() -> Answer {
    let why =
        "the roster holds as many members as it may; join without presence, or try again later";
    Answer::Refused(Refusal::new(ErrorCode::RosterFull, why))
}
