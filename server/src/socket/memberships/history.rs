//! Requests for pages of history.

use bytes::Bytes;
use dormouse_protocol::{ErrorCode, History};

use super::Memberships;
use crate::auth::Verb;
use crate::log::PageLimit;
use crate::object::input::{Action, Range, Read};
use crate::object::{Address, Refusal};
use crate::socket::connections::Connections;
use crate::socket::connections::admit::Demand;

/// Bytes of one page of history.
const HISTORY_BYTES: usize = 64 * 1024;
/// A page of history is held as events, decoded, as a message and as a frame while it is made.
const COPIES: usize = 4;

impl Memberships {
    pub(in crate::socket) fn history(
        &mut self,
        connections: &mut Connections,
        key: usize,
        request: &History,
    ) {
        let Some(joined) =
            connections.member(key, request.object, Some(request.id), Some(Verb::History))
        else {
            return;
        };
        if request.limit == Some(0) {
            let why = "a page holds at least one event: `limit` is 1 or more";
            return connections.refuse(key, Some(request.id), ErrorCode::BadRequest, why);
        }
        if !connections.admit(key, Some(request.id), &Demand::Read) {
            return;
        }
        let connection = &mut connections[key];
        connection.read_log();
        let most = self.common.settings.limits.history_events;
        let limit = PageLimit {
            events: request.limit.map_or(most, |limit| limit.min(most)) as usize,
            bytes: HISTORY_BYTES,
        };
        let (after, before, reverse) = (request.after, request.before, request.reverse);
        let range = Range::Between { after, before, reverse };
        let event_bytes = self.common.settings.limits.message_bytes as usize;
        let bytes = COPIES * HISTORY_BYTES.max(event_bytes);
        let read = Read { range, limit, bytes, tag: connection.format.tag() };
        self.post(connections, key, request.id, joined.object, Action::Read(read));
    }
}

impl Connections {
    /// The log was read for a request.
    pub(in crate::socket) fn history_read(
        &mut self,
        address: Address,
        reply: Result<Bytes, Refusal>,
    ) {
        let Some(key) = self.find(address) else { return };
        match reply {
            Ok(frame) => self[key].queue_shared(frame),
            Err(Refusal { code, message }) => {
                self.refuse(key, Some(address.request), code, &message);
            }
        }
        self.queue_write(key);
        self.finish_reading(key);
    }
}
