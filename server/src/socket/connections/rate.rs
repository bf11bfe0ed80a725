//! The rate limits of a connection: what its messages count, the refusal, and the close of a connection that continues.

use dormouse_protocol::{CloseCode, ErrorCode, ErrorReply, ServerMessage};

use super::Connections;
use crate::log::ObjectId;
use crate::rates::{Limited, Quantity};

impl Connections {
    /// Counts against the rate limits of the connection, or says which one refuses.
    pub(in crate::socket) fn count(
        &self,
        key: usize,
        quantity: Quantity,
        count: usize,
        object: Option<ObjectId>,
    ) -> Result<(), Limited> {
        let Some(client) = self.limited.get(&(key as u32)) else { return Ok(()) };
        self.common.rates.admit(client, quantity, count, object.map(|object| object.0))
    }

    /// Counts a token that is not valid. The error: the address has sent too many.
    pub(in crate::socket) fn count_failed_auth(&self, key: usize) -> Result<(), Limited> {
        let Some(client) = self.limited.get(&(key as u32)) else { return Ok(()) };
        self.common.rates.failed_auth_of(client)
    }

    /// Whether the server may decode a message of so many bytes. Otherwise this refuses it; `request` returns the id of its request.
    pub(in crate::socket) fn admit_message(
        &mut self,
        key: usize,
        bytes: usize,
        request: impl FnOnce() -> Option<u32>,
    ) -> bool {
        let counted = self
            .count(key, Quantity::Requests, 1, None)
            .and_then(|()| self.count(key, Quantity::Bytes, bytes, None));
        if let Err(limited) = counted {
            self.refuse_limited(key, request(), limited);
            return false;
        }
        true
    }

    /// Whether the server handles a ping or a pong. Otherwise it ignores the frame.
    pub(in crate::socket) fn admit_control(&mut self, key: usize) -> bool {
        let is_admitted = self.count(key, Quantity::Requests, 1, None).is_ok();
        if !is_admitted {
            self.count_refusal(key);
        }
        is_admitted
    }

    /// Refuses a request because of a rate limit.
    pub(in crate::socket) fn refuse_limited(
        &mut self,
        key: usize,
        id: Option<u32>,
        limited: Limited,
    ) {
        let code = ErrorCode::RateLimited;
        self.common.metrics.count_error(code);
        // Rounded up: the server would refuse a client that comes a fraction of a millisecond too early.
        let wait = limited.retry_after.as_millis() as u64 + 1;
        let scope = limited.scope.name();
        let message = format!("the rate limit of this {scope} is reached: wait {wait} ms").into();
        let reply = ErrorReply { id, code, message, retry_after_ms: Some(wait) };
        self[key].queue(&ServerMessage::Error(reply));
        self.queue_write(key);
        self.count_refusal(key);
    }

    /// Counts a refusal, and closes the connection if it has too many.
    fn count_refusal(&mut self, key: usize) {
        if self.count(key, Quantity::Refusals, 1, None).is_err() {
            self.ask_close(key, CloseCode::RateLimited);
        }
    }
}
