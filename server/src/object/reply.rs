//! The obligation to answer an input.

use std::fmt;
use std::sync::Arc;

use dormouse_protocol::ErrorCode;

use super::delivery::{Address, Answer, Answered, Delivery, Refusal, Sink};
use super::input::Verb;

/// The obligation to answer one input exactly once. Dropping it sends a refusal.
pub(super) struct ReplyTo {
    sink: Option<Arc<dyn Sink>>,
    address: Address,
    verb: Verb,
    held: u32,
}

impl ReplyTo {
    /// An obligation to answer through `sink`; the request holds `held` bytes.
    pub(super) fn new(sink: Arc<dyn Sink>, address: Address, verb: Verb, held: u32) -> Self {
        Self { sink: Some(sink), address, verb, held }
    }

    pub(super) fn send(mut self, answer: Answer) {
        self.deliver(answer);
    }

    /// Answers with a refusal.
    pub(super) fn refuse(self, code: ErrorCode, why: &str) {
        self.send(Answer::Refused(Refusal::new(code, why)));
    }

    /// Drops the obligation: another path answers, or no answer is wanted.
    pub(super) fn disarm(mut self) {
        self.sink = None;
    }

    /// Whether the answer goes through this sink.
    pub(super) fn goes_through(&self, sink: &Arc<dyn Sink>) -> bool {
        self.sink.as_ref().is_some_and(|own| Arc::ptr_eq(own, sink))
    }

    /// Passes the obligation to the caller, which must deliver the result.
    pub(super) fn hand_over(mut self, answer: Answer) -> Answered {
        self.sink = None;
        self.answered(answer)
    }

    fn answered(&self, answer: Answer) -> Answered {
        Answered { to: self.address, verb: self.verb, held: self.held, answer }
    }

    fn deliver(&mut self, answer: Answer) {
        if let Some(sink) = self.sink.take() {
            sink.deliver(Delivery::Answer(self.answered(answer)));
        }
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        let message = "the object failed before it could answer; try again with the same key";
        self.deliver(Answer::Refused(Refusal::new(ErrorCode::Internal, message)));
    }
}

impl fmt::Debug for ReplyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReplyTo").field(&self.address).field(&self.verb).finish()
    }
}
