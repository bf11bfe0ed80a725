//! Pages of the log as frames: read once for all members that need the same page, and kept while a member catches up.
//!
//! After a restart, or where a proxy fails, a whole room comes back at once with nearly the same positions. Pages end at fixed
//! offsets, so that readers with different positions share the second one.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use dormouse_protocol::{ErrorCode, encode_events};

use super::framing;
use super::wire_format::WireFormat;
use crate::limits::Permit;
use crate::log::{self, ObjectId, PageLimit};
use crate::object::input::{Range, Read};
use crate::object::{EventsRead, ReadReply};

/// Bytes with which a page ends.
const PAGE_BYTES: usize = 64 * 1024;
/// Bytes of pages that are kept for the members of one object on one reactor.
const KEPT_BYTES: usize = 1 << 20;

/// A page is held as events, as a message and as a frame while it is made.
const COPIES: usize = 3;

/// Which page it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PageKey {
    pub(super) object: ObjectId,
    /// It begins behind this offset.
    pub(super) after: u64,
    pub(super) format: WireFormat,
}

/// A page of the log as a frame.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) after: u64,
    /// The last event's offset, or `after` where there is none.
    pub(super) last: u64,
    /// The newest event when it was read.
    pub(super) head: u64,
    /// Events up to this offset are no longer kept.
    pub(super) trimmed: u64,
    pub(super) events: u64,
    pub(super) frame: Option<Bytes>,
}

/// A page that was read, for all members that wait for it.
#[derive(Clone)]
pub(super) struct PageRead {
    pub(super) key: PageKey,
    pub(super) page: Result<Arc<Page>, NoPage>,
}

/// Why there is no page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPage {
    /// There is no memory for it now.
    Memory,
    /// The log can't be read.
    Failed,
}

impl PageKey {
    /// The read that brings the page, of events that have at most `event_bytes` each. It ends at a multiple of `stride`.
    pub(super) fn read(self, stride: u64, event_bytes: usize) -> Read {
        let events = (stride - self.after % stride) as usize;
        let limit = PageLimit { events, bytes: PAGE_BYTES };
        let bytes = COPIES * PAGE_BYTES.max(event_bytes);
        Read { range: Range::After(self.after), limit, bytes, tag: self.format.tag() }
    }
}

impl Page {
    /// Makes a page of what was read after an offset.
    pub(super) fn frame(reply: ReadReply, after: u64) -> PageRead {
        let format = WireFormat::of_tag(reply.tag);
        let key = PageKey { object: reply.object, after, format };
        let page = match reply.outcome {
            Ok(EventsRead::Page(page)) => Self::of_events(key, &page, reply.permit),
            Err(refusal) if refusal.code == ErrorCode::Overloaded => Err(NoPage::Memory),
            Ok(EventsRead::Range(_)) | Err(_) => Err(NoPage::Failed),
        };
        PageRead { key, page: page.map(Arc::new) }
    }

    /// The frame carries the permit.
    fn of_events(key: PageKey, page: &log::Page, permit: Option<Permit>) -> Result<Self, NoPage> {
        let PageKey { object, after, format } = key;
        let frame = if page.events.is_empty() {
            None
        } else {
            let message = encode_events(format.encoding, object.0, &page.events);
            let message = message.map_err(|error| {
                tracing::error!(%error, "an event in the log cannot be decoded");
                NoPage::Failed
            })?;
            let frame = framing::message(format, &message);
            Some(match permit {
                Some(mut permit) => {
                    permit.charge(frame.len());
                    permit.attach(frame)
                }
                None => frame,
            })
        };
        Ok(Self {
            after,
            last: page.last,
            head: page.head,
            trimmed: page.trimmed,
            events: page.events.len() as u64,
            frame,
        })
    }

    /// What is appended later does not belong to it.
    fn is_full(&self, stride: u64) -> bool {
        self.frame.is_some() && (self.last < self.head || self.last.is_multiple_of(stride))
    }

    fn size(&self) -> usize {
        self.frame.as_ref().map_or(0, Bytes::len)
    }
}

/// Recent pages of one object, oldest first.
#[derive(Default)]
pub(super) struct Pages {
    pages: VecDeque<(PageKey, Arc<Page>)>,
    bytes: usize,
}

impl Pages {
    pub(super) fn find(&self, key: PageKey) -> Option<Arc<Page>> {
        let page = self.pages.iter().find(|(kept, _)| *kept == key);
        page.map(|(_, page)| page.clone())
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps a page for later readers, unless it could grow or is kept already.
    pub(super) fn keep(&mut self, key: PageKey, page: &Arc<Page>, stride: u64) {
        if !page.is_full(stride) || self.find(key).is_some() {
            return;
        }
        self.bytes += page.size();
        self.pages.push_back((key, page.clone()));
        while self.bytes > KEPT_BYTES {
            let Some((_, oldest)) = self.pages.pop_front() else { return };
            self.bytes -= oldest.size();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRIDE: u64 = 4;

    fn page(after: u64, head: u64, bytes: usize) -> (PageKey, Arc<Page>) {
        let key = PageKey { object: ObjectId(1), after, format: WireFormat::ALL[0] };
        let frame = Some(Bytes::from(vec![0; bytes]));
        (key, Arc::new(Page { after, last: after + 1, head, trimmed: 0, events: 1, frame }))
    }

    #[test]
    fn full_pages_are_kept_once_up_to_a_bound() {
        let mut pages = Pages::default();
        let half = KEPT_BYTES / 2;
        for (key, page) in [page(0, 9, half), page(0, 9, half), page(1, 9, half), page(0, 9, half)]
        {
            pages.keep(key, &page, STRIDE);
        }
        assert_eq!((pages.pages.len(), pages.bytes), (2, KEPT_BYTES));
        let (next, page) = page(2, 9, 1);
        pages.keep(next, &page, STRIDE);
        assert!(pages.find(PageKey { after: 0, ..next }).is_none(), "the oldest goes first");
        assert!(pages.find(PageKey { after: 1, ..next }).is_some());
        assert_eq!((pages.pages.len(), pages.bytes), (2, half + 1));
    }

    #[test]
    fn a_page_that_would_grow_is_not_kept() {
        let mut pages = Pages::default();
        let (key, at_head) = page(6, 7, 1);
        pages.keep(key, &at_head, STRIDE);
        assert!(pages.find(key).is_none());
        let (key, at_the_end_of_its_stride) = page(STRIDE - 1, STRIDE, 1);
        pages.keep(key, &at_the_end_of_its_stride, STRIDE);
        assert!(pages.find(key).is_some());
    }
}
