//! Pages of history, which a client asks for.

use bytes::Bytes;
use dormouse_protocol::{
    DecodeError, ErrorCode, ErrorReply, Event, History, HistoryPage, ServerMessage,
};

use super::admit::Demand;
use super::form::Form;
use super::framing;
use super::reactor::Reactor;
use crate::log::{Entry, PageLimit};
use crate::object::input::{Action, Range, Read};
use crate::object::{EventsRead, ReadReply, Refusal};

/// Bytes of one page of history.
const HISTORY_BYTES: usize = 64 * 1024;

impl Reactor {
    pub(super) fn history(&mut self, key: usize, request: &History) {
        let Some(joined) = self.member(key, request.object, Some(request.id)) else { return };
        if request.limit == Some(0) {
            let why = "a page holds at least one event: `limit` is 1 or more";
            return self.refuse(key, Some(request.id), ErrorCode::BadRequest, why);
        }
        if !self.admit(key, Some(request.id), &Demand::Read) {
            return;
        }
        let connection = &mut self.connections[key];
        connection.read_log();
        let most = self.common.settings.limits.history_events;
        let limit = PageLimit {
            events: request.limit.map_or(most, |limit| limit.min(most)) as usize,
            bytes: HISTORY_BYTES,
        };
        let (after, before, reverse) = (request.after, request.before, request.reverse);
        let range = Range::Between { after, before, reverse };
        let read = Read { range, limit, tag: connection.form.tag() };
        self.post(key, request.id, joined.object, Action::Read(read));
    }
}

/// The reply to a request for history, as a frame.
pub(super) fn frame(reply: ReadReply) -> Bytes {
    let ReadReply { to, tag, epoch, outcome, .. } = reply;
    let form = Form::of_tag(tag);
    let message = match outcome.and_then(|read| page(to.request, epoch, read)) {
        Ok(page) => ServerMessage::History(page),
        Err(Refusal { code, message }) => {
            ServerMessage::Error(ErrorReply { id: Some(to.request), code, message })
        }
    };
    framing::message(form, &form.encoding.encode_server(&message))
}

fn page(id: u32, epoch: u32, read: EventsRead) -> Result<HistoryPage, Refusal> {
    let (entries, more) = match read {
        EventsRead::Range(range) => (range.events, range.more),
        EventsRead::Page(page) => (page.events, page.last < page.head),
    };
    let events: Result<Vec<Event>, DecodeError> = entries.iter().map(Entry::decode).collect();
    let events = events.map_err(|error| {
        tracing::error!(%error, "an event in the log cannot be decoded");
        Refusal::new(ErrorCode::Unavailable, "the log cannot be read at present; try again later")
    })?;
    Ok(HistoryPage { id, epoch, more, events })
}
