//! Messages that wait in an object's mailbox.

use dormouse_protocol::ErrorCode;

use super::delivery::{Answer, Answered, Refusal};
use super::input::{Action, Input, Verb};
use super::reply::ReplyTo;
use crate::limits::Permit;

/// Copies of a publish until its event is delivered: the input, the event in the log's queue, and one for each encoding.
const COPIES: usize = 4;
/// Fixed overhead of a message: the mailbox, the queue, and the key in the dedupe window.
const OVERHEAD_BYTES: usize = 512;

/// An input in an object's mailbox, with the duty to answer it and the permit for its memory.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) input: Input,
    /// `None` if the client wants no answer.
    pub(super) reply: Option<ReplyTo>,
    pub(super) permit: Permit,
}

impl Message {
    pub(super) fn verb(&self) -> Option<Verb> {
        self.input.action.verb()
    }

    /// Answers with a refusal, if the client wants an answer.
    pub(super) fn refuse(self, code: ErrorCode, why: &str) {
        if let Some(reply) = self.reply {
            reply.refuse(code, why);
        }
    }
}

impl Input {
    /// Bytes that it adds to an object's log.
    pub(super) fn size(&self) -> usize {
        match &self.action {
            Action::Publish(publish) => publish.data.as_msgpack().len(),
            _ => 0,
        }
    }

    /// Bytes that the request holds until it is answered.
    pub(super) fn held(&self) -> u32 {
        match &self.action {
            Action::Publish(publish) => publish.held,
            _ => 0,
        }
    }

    /// The answer that refuses it, for a sink that cannot post it.
    pub fn refused(&self, refusal: Refusal) -> Answered {
        // Only inputs with a verb are refused.
        let verb = self.action.verb().unwrap_or(Verb::Read);
        Answered {
            to: self.source.address,
            verb,
            held: self.held(),
            answer: Answer::Refused(refusal),
        }
    }

    /// Bytes of memory in the mailbox; for a publish, until its event is delivered.
    pub(super) fn memory_bytes(&self) -> usize {
        OVERHEAD_BYTES + COPIES * self.held() as usize
    }

    /// Whether the client waits for an answer.
    pub(super) fn is_request(&self) -> bool {
        match &self.action {
            Action::Signal(signal) => signal.is_request,
            _ => true,
        }
    }
}
