//! What a client asks for, from its bytes to the part that does it.

use std::time::Duration;

use bytes::Bytes;
use dormouse_protocol::{
    ClientMessage, Done, ErrorCode, ErrorReply, Event, History, HistoryPage, Publish, ServerMessage,
};
use tracing::error;

use super::framing;
use super::inbox::Letter;
use super::reactor::Reactor;
use super::work::Stalled;
use crate::log::{Entry, ObjectId, PageLimit, ReadError, spawn_blocking_read};
use crate::object::presence::Departing;
use crate::object::{Address, Busy, Handle, Message, ReplyTo};
use crate::pressure::Level;

/// How long a publish waits for room in its object's mailbox.
const STALL: Duration = Duration::from_secs(5);
/// Bytes of one page of history.
const HISTORY_BYTES: usize = 64 * 1024;

impl Reactor {
    /// A whole message has arrived.
    pub(super) fn request(&mut self, key: usize, bytes: &[u8]) {
        self.common.metrics.messages_in.inc();
        let connection = &mut self.connections[key];
        let encoding = connection.form.encoding;
        let message = match encoding.decode_client(bytes) {
            Ok(message) => message,
            Err(error) => {
                let id = encoding.request_id(bytes);
                return self.refuse(key, id, ErrorCode::BadRequest, &error.to_string());
            }
        };
        match message {
            ClientMessage::Signal(signal) => self.signal(key, signal),
            ClientMessage::Ping(ping) => self.done(key, ping.id),
            ClientMessage::Leave(leave) => {
                if self.leave(key, ObjectId(leave.object), Departing::Leave) {
                    self.done(key, leave.id);
                } else {
                    self.refuse_not_joined(key, Some(leave.id));
                }
            }
            ClientMessage::Join(join) => self.join(key, join),
            ClientMessage::History(history) => self.history(key, &history),
            ClientMessage::PresenceSet(set) => self.set_presence(key, &set),
            ClientMessage::PresenceGet(get) => self.read_roster(key, &get),
            ClientMessage::Publish(publish) => self.publish(key, publish, bytes.len()),
        }
    }

    fn publish(&mut self, key: usize, publish: Publish, size: usize) {
        let connection = &mut self.connections[key];
        let object = ObjectId(publish.object);
        let Some(joined) = connection.joined(object) else {
            return self.refuse_not_joined(key, Some(publish.id));
        };
        if self.has_too_many_in_flight(key) {
            return self.refuse_in_flight(key, publish.id);
        }
        if self.common.pressure.is(Level::NoRequests) {
            return self.refuse_for_memory(key, publish.id);
        }
        let connection = &mut self.connections[key];
        let work = connection.work.begin();
        work.in_flight += 1;
        work.in_flight_bytes += size;
        let message = Message {
            sender: connection.session,
            kind: publish.kind,
            data: publish.data,
            key: publish.key,
            after: publish.after,
            reply: ReplyTo::new(
                self.inbox.clone(),
                connection.address(key, publish.id),
                size as u32,
            ),
        };
        if let Err(Busy(message)) = self.audiences[joined.audience as usize].handle.send(message) {
            // To refuse it and take the next one would turn the client's order round: let it wait.
            let until = self.wheel.after(STALL);
            connection.work.begin().stalled = Some(Box::new(Stalled { message, object, until }));
            self.stalled.push(connection.address(key, publish.id));
            self.common.metrics.stalls.inc();
        }
    }

    /// Tries again to hand over a publish that found no room. True when the connection can go on.
    pub(super) fn retry_stalled(&mut self, key: usize) -> bool {
        let connection = &mut self.connections[key];
        let Some(stalled) = connection.work.go_on().and_then(|work| work.stalled.take()) else {
            return true;
        };
        let Stalled { message, object, until } = *stalled;
        let Some(joined) = connection.joined(object) else { return true };
        match self.audiences[joined.audience as usize].handle.send(message) {
            Ok(()) => true,
            Err(Busy(message)) if self.wheel.now() < until => {
                connection.work.begin().stalled =
                    Some(Box::new(Stalled { message, object, until }));
                false
            }
            Err(Busy(message)) => {
                let why = "the object has more to do than it can; try again later";
                message.reply.refuse(ErrorCode::Overloaded, why);
                true
            }
        }
    }

    fn history(&mut self, key: usize, request: &History) {
        let connection = &mut self.connections[key];
        let Some(joined) = connection.joined(ObjectId(request.object)) else {
            return self.refuse_not_joined(key, Some(request.id));
        };
        if request.limit == Some(0) {
            let why = "a page holds at least one event: `limit` is 1 or more";
            return self.refuse(key, Some(request.id), ErrorCode::BadRequest, why);
        }
        if self.common.pressure.is(Level::NoRequests) {
            return self.refuse_for_memory(key, request.id);
        }
        let connection = &mut self.connections[key];
        connection.read_log();
        let most = self.common.settings.limits.history_events;
        let limit = PageLimit {
            events: request.limit.map_or(most, |limit| limit.min(most)) as usize,
            bytes: HISTORY_BYTES,
        };
        let address = connection.address(key, request.id);
        let form = connection.form;
        let handle = self.audiences[joined.audience as usize].handle.clone();
        let (inbox, request) = (self.inbox.clone(), request.clone());
        spawn_blocking_read(&self.common.runtime, move || {
            let page = read_history(&handle, &request, limit);
            let reply = page.map_or_else(
                |error| {
                    error!(%error, object = %handle.identity().name, "history can't be read");
                    refusal(
                        request.id,
                        ErrorCode::Unavailable,
                        "the log can't be read at present; try again later",
                    )
                },
                ServerMessage::History,
            );
            let reply = framing::message(form, &form.encoding.encode_server(&reply));
            inbox.push(Letter::Reply(address, reply));
        });
    }

    pub(super) fn retry_all_stalled(&mut self) {
        for address in std::mem::take(&mut self.stalled) {
            let Some(key) = self.find(address) else { continue };
            if self.retry_stalled(key) {
                self.go_on(key);
            } else {
                self.stalled.push(address);
            }
        }
    }

    /// The reply to a request that read the log.
    pub(super) fn reply(&mut self, address: Address, reply: Bytes) {
        let Some(key) = self.find(address) else { return };
        self.connections[key].queue_frame(reply);
        self.mark_dirty(key);
        self.finish_reading(key);
    }

    /// The request that read the log or a roster has its reply.
    pub(super) fn finish_reading(&mut self, key: usize) {
        self.connections[key].work.begin().reading_log = false;
        self.finish_request(key);
        self.go_on(key);
    }

    /// A request has its reply.
    pub(super) fn finish_request(&mut self, key: usize) {
        let work = self.connections[key].work.begin();
        work.in_flight -= 1;
        if let Some(code) = self.draining
            && work.in_flight == 0
        {
            self.close(key, code);
        }
    }

    /// Replies to a request that has no result.
    pub(super) fn done(&mut self, key: usize, id: u32) {
        self.connections[key].queue(&ServerMessage::Done(Done { id }));
        self.mark_dirty(key);
    }

    /// Whether one more request would be too many.
    pub(super) fn has_too_many_in_flight(&self, key: usize) -> bool {
        self.connections[key].work.in_flight >= self.common.settings.limits.in_flight
    }

    /// Refuses a request that is one too many.
    pub(super) fn refuse_in_flight(&mut self, key: usize, id: u32) {
        let limit = self.common.settings.limits.in_flight;
        let why = format!("{limit} requests wait for their reply; wait for one of them");
        self.refuse(key, Some(id), ErrorCode::TooManyInFlight, &why);
    }

    /// Refuses a request that would take memory.
    pub(super) fn refuse_for_memory(&mut self, key: usize, id: u32) {
        let why = "the server is short of memory; try again later";
        self.refuse(key, Some(id), ErrorCode::Overloaded, why);
    }

    /// Refuses a request about an object that the connection has not joined.
    pub(super) fn refuse_not_joined(&mut self, key: usize, id: Option<u32>) {
        let why = "this connection has not joined that object; `object` is the number in `joined`";
        self.refuse(key, id, ErrorCode::NotJoined, why);
    }

    /// Refuses a request.
    pub(super) fn refuse(&mut self, key: usize, id: Option<u32>, code: ErrorCode, why: &str) {
        self.common.metrics.count_error(code);
        let message = ServerMessage::Error(ErrorReply { id, code, message: why.into() });
        self.connections[key].queue(&message);
        self.mark_dirty(key);
    }
}

fn refusal(id: u32, code: ErrorCode, why: &str) -> ServerMessage {
    ServerMessage::Error(ErrorReply { id: Some(id), code, message: why.into() })
}

/// Blocking.
fn read_history(
    handle: &Handle,
    request: &History,
    limit: PageLimit,
) -> Result<HistoryPage, ReadError> {
    let range = handle.history(request.after, request.before, request.reverse, limit)?;
    let events = range.events.iter().map(Entry::decode).collect::<Result<Vec<Event>, _>>()?;
    Ok(HistoryPage { id: request.id, epoch: handle.identity().epoch, more: range.more, events })
}
