//! The members that one object has on one reactor, and the position of each of them. No I/O.
//!
//! This module keeps promise 2: a member gets events only if they directly follow its position. Otherwise it reads the log.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use dormouse_protocol::Encoding;

use super::batch::Batch;
use super::frames::{Delivered, Speakers};
use crate::limits::{Budget, Permit};
use crate::object::input::{Action, Watch};
use crate::object::presence::View;
use crate::object::{Address, EventFrames, Handle, Input, Source};
use crate::socket::Bounds;
use crate::socket::page::{Page, PageKey, Pages};
use crate::socket::wire_format::WireFormat;

/// Bytes of recent deliveries that are kept for members that catch up.
const RECENT_BYTES: usize = 256 * 1024;

/// The address of inputs that get no answer.
pub(in crate::socket) const NOWHERE: Address =
    Address { connection: u32::MAX, generation: 0, request: 0 };

/// Members of one object.
pub(in crate::socket) struct Subscribers {
    pub(in crate::socket) handle: Arc<Handle>,
    pub(in crate::socket) members: Vec<Member>,
    /// The newest offset that this reactor knows. A member at this position is live.
    pub(in crate::socket) newest: u64,
    pub(in crate::socket) speakers: Speakers,
    /// Members for which a page of the log is being read.
    reading: u32,
    /// Members that watch the roster.
    watching: u32,
    /// Recent deliveries and pages, shared by the members that catch up; exists only while a member does.
    recent: Option<Box<Recent>>,
    /// The frames that go to the members next.
    pub(in crate::socket) batch: Option<Box<Batch>>,
    /// For the memory of the memberships and of the object.
    permit: Option<Permit>,
}

/// Recent deliveries, oldest first, and pages of the log.
#[derive(Default)]
struct Recent {
    deliveries: VecDeque<Arc<Delivered>>,
    bytes: usize,
    pages: Pages,
}

/// A connection that is a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::socket) struct Member {
    /// The last event that was queued for it.
    pub(in crate::socket) position: u64,
    /// The number of the membership; the roster uses the same number.
    pub(in crate::socket) number: u64,
    /// The connection's key.
    pub(in crate::socket) connection: u32,
    pub(in crate::socket) mode: DeliveryMode,
    pub(in crate::socket) watching: Watching,
}

/// What a member gets of the roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::socket) enum Watching {
    /// Nothing.
    Nobody,
    /// A roster is on its way. It contains the changes that arrive before it.
    FromNext(View),
    /// A roster is on its way, but the member has missed a later change: it discards this roster and asks for the next one.
    FromOneAfterNext(View),
    /// Every change.
    Following(View),
    /// The member lacks changes. It gets the whole roster when its socket accepts more bytes.
    Missed(View),
}

/// Where a member gets its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::socket) enum DeliveryMode {
    /// From the commits.
    Live,
    /// From the log. The next page is read when its outbox has room.
    Behind,
    /// From the log; a page is being read.
    Reading,
    /// From the log; a page is being read, and the reply to the join waits for it.
    Joining,
}

impl DeliveryMode {
    fn is_reading(self) -> bool {
        matches!(self, Self::Reading | Self::Joining)
    }
}

impl Recent {
    fn keep(&mut self, delivered: &Arc<Delivered>, most: usize) {
        self.bytes += delivered.size();
        self.deliveries.push_back(delivered.clone());
        while self.deliveries.len() > most || self.bytes > RECENT_BYTES {
            match self.deliveries.pop_front() {
                Some(oldest) => self.bytes -= oldest.size(),
                None => break,
            }
        }
    }
}

impl Subscribers {
    pub(in crate::socket) fn new(handle: Arc<Handle>) -> Self {
        Self {
            handle,
            members: Vec::new(),
            newest: 0,
            speakers: [0; WireFormat::COUNT],
            reading: 0,
            watching: 0,
            recent: None,
            batch: None,
            permit: None,
        }
    }

    /// Memory of a membership.
    pub(in crate::socket) const MEMBER_BYTES: usize = 128;
    /// Memory of an object in use, besides: its handle, its subscribers and its name.
    pub(in crate::socket) const OBJECT_BYTES: usize = 2 << 10;

    /// Counts a member of this format whose join will be posted. The reactor then accepts the object's deliveries until
    /// [`Subscribers::drop_speaker`].
    pub(in crate::socket) fn expect(&mut self, format: WireFormat) {
        self.speakers[format.index()] += 1;
    }

    /// Adds an expected member, which stands behind, and returns its index. The permit is for [`Subscribers::MEMBER_BYTES`], and of
    /// the first member also for [`Subscribers::OBJECT_BYTES`].
    pub(in crate::socket) fn add(
        &mut self,
        connection: u32,
        number: u64,
        head: u64,
        permit: Permit,
    ) -> u32 {
        match &mut self.permit {
            Some(all) => all.merge(permit),
            none => *none = Some(permit),
        }
        self.newest = self.newest.max(head);
        if self.members.len() == self.members.capacity() {
            // By a half: unused capacity stays allocated as long as the members stay.
            self.members.reserve_exact(self.members.len() / 2 + 1);
        }
        self.members.push(Member {
            position: 0,
            number,
            connection,
            mode: DeliveryMode::Behind,
            watching: Watching::Nobody,
        });
        self.members.len() as u32 - 1
    }

    /// A member of this format has left, or its join was refused.
    pub(in crate::socket) fn drop_speaker(&mut self, sink: usize, format: WireFormat) {
        self.speakers[format.index()] -= 1;
        if !self.is_spoken(format.encoding) {
            self.post(sink, NOWHERE, Action::Unsubscribe(format.encoding));
        }
    }

    /// Removes a member. Returns it, and the member that has now its index.
    pub(in crate::socket) fn remove(
        &mut self,
        sink: usize,
        place: u32,
        format: WireFormat,
    ) -> (Member, Option<Member>) {
        let gone = self.members.swap_remove(place as usize);
        if let Some(permit) = &mut self.permit {
            permit.shrink_to(Self::OBJECT_BYTES + self.members.len() * Self::MEMBER_BYTES);
        }
        if gone.mode.is_reading() {
            self.one_less_reading();
        }
        self.drop_speaker(sink, format);
        if gone.watching != Watching::Nobody {
            self.watching -= 1;
            if self.watching == 0 {
                self.post(sink, NOWHERE, Action::Unwatch);
            }
        }
        (gone, self.members.get(place as usize).copied())
    }

    /// Makes the member watch the roster: it gets the roster first, then every change. The roster goes to `to`.
    pub(in crate::socket) fn watch(
        &mut self,
        sink: usize,
        place: u32,
        to: Address,
        view: View,
        since: Option<u64>,
    ) {
        self.set_watching(place, Watching::FromNext(view));
        self.post(sink, to, Action::Watch(Watch { view, since }));
    }

    /// Makes the member watch the roster when the budget has room for the first roster.
    pub(in crate::socket) fn watch_later(&mut self, place: u32, view: View) {
        self.set_watching(place, Watching::Missed(view));
    }

    fn set_watching(&mut self, place: u32, watching: Watching) {
        let member = &mut self.members[place as usize];
        let before = std::mem::replace(&mut member.watching, watching);
        self.watching += u32::from(before == Watching::Nobody);
    }

    /// Whether a member uses an encoding, in any format.
    fn is_spoken(&self, encoding: Encoding) -> bool {
        let speak =
            |format: &WireFormat| format.encoding == encoding && self.speakers[format.index()] > 0;
        WireFormat::ALL.iter().any(speak)
    }

    /// Whether there is no member and no expected member.
    pub(in crate::socket) fn is_empty(&self) -> bool {
        self.speakers.iter().all(|count| *count == 0)
    }

    /// Posts an input that no class decides about.
    pub(in crate::socket) fn post(&self, sink: usize, address: Address, action: Action) {
        let posted = self.handle.post(Input { source: Source { sink, address }, action });
        debug_assert!(posted.is_ok(), "no class decides about it");
    }

    /// Notes delivered events and frames them for the members. `None` if the budget has no room.
    pub(in crate::socket) fn take(
        &mut self,
        events: &EventFrames,
        bounds: Bounds,
        budget: &Budget,
    ) -> Option<Arc<Delivered>> {
        self.newest = self.newest.max(events.last);
        let delivered = Arc::new(Delivered::new(events, self.speakers, budget)?);
        if self.reading > 0 {
            self.recent.get_or_insert_default().keep(&delivered, bounds.recent_deliveries);
        }
        Some(delivered)
    }

    /// Drops the recent deliveries and pages: members can read them again.
    pub(in crate::socket) fn forget_recent(&mut self) {
        self.recent = None;
    }

    /// Bytes of the recent deliveries and pages.
    pub(in crate::socket) fn recent_bytes(&self) -> usize {
        self.recent.as_ref().map_or(0, |recent| recent.bytes + recent.pages.bytes())
    }

    /// A recent page that was read for another member.
    pub(in crate::socket) fn kept_page(&self, key: PageKey) -> Option<Arc<Page>> {
        self.recent.as_ref()?.pages.find(key)
    }

    /// Keeps a page for other members that catch up.
    pub(in crate::socket) fn keep_page(&mut self, key: PageKey, page: &Arc<Page>, bounds: Bounds) {
        if self.reading > 0 {
            self.recent.get_or_insert_default().pages.keep(key, page, bounds.page_events);
        }
    }

    /// Changes the delivery mode of a member.
    pub(in crate::socket) fn set_mode(&mut self, place: u32, mode: DeliveryMode) {
        let member = &mut self.members[place as usize];
        let was_reading = std::mem::replace(&mut member.mode, mode).is_reading();
        match (was_reading, mode.is_reading()) {
            (false, true) => self.reading += 1,
            (true, false) => self.one_less_reading(),
            _ => {}
        }
    }

    /// Makes the member live if the recent deliveries contain all events that it lacks, and returns their frames. Otherwise `None`,
    /// and the member is behind.
    pub(in crate::socket) fn rejoin(
        &mut self,
        place: u32,
        format: WireFormat,
    ) -> Option<Vec<Bytes>> {
        let member = &mut self.members[place as usize];
        let mut position = member.position;
        let mut missed = Vec::new();
        let recent = self.recent.iter().flat_map(|recent| &recent.deliveries);
        for delivered in recent.filter(|delivered| delivered.last > member.position) {
            if delivered.first != position + 1 {
                break;
            }
            let Some(frame) = delivered.frame(format) else { break };
            missed.push(frame.clone());
            position = delivered.last;
        }
        if position < self.newest {
            self.set_mode(place, DeliveryMode::Behind);
            return None;
        }
        member.position = position;
        self.set_mode(place, DeliveryMode::Live);
        Some(missed)
    }

    fn one_less_reading(&mut self) {
        self.reading -= 1;
        if self.reading == 0 {
            self.recent = None;
        }
    }
}
