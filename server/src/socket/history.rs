//! Replies to requests for history, as frames. Made on the thread that has read the log.

use bytes::Bytes;
use dormouse_protocol::{DecodeError, ErrorCode, Event, HistoryPage, ServerMessage};

use super::framing;
use super::wire_format::WireFormat;
use crate::log::Entry;
use crate::object::{EventsRead, ReadReply, Refusal};

/// The reply to a request for history, as a frame that carries the permit for its memory.
pub(super) fn frame(reply: ReadReply) -> Result<Bytes, Refusal> {
    let ReadReply { to, tag, epoch, outcome, permit, .. } = reply;
    let format = WireFormat::of_tag(tag);
    let page = ServerMessage::History(page(to.request, epoch, outcome?)?);
    let frame = framing::message(format, &format.encoding.encode_server(&page));
    Ok(match permit {
        Some(mut permit) => {
            permit.charge(frame.len());
            permit.attach(frame)
        }
        None => frame,
    })
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
