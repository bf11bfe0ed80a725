//! Catch-up: a member that has not every event reads the log, page by page, until it is live.
//!
//! It is one path for a join with a past, a resume, and a reader too slow for the live stream (promises 5 and 7). A
//! connection has at most one page on its way, besides the first of a join, and the next is read once its socket takes more.

use std::collections::hash_map::Entry;

use dormouse_protocol::{
    CaughtUp, CloseCode, ErrorCode, Joined as JoinReply, Reset, ResetReason, ServerMessage, Watch,
};

use super::Memberships;
use super::subscribers::{DeliveryMode, NOWHERE};
use crate::object::Address;
use crate::object::input::Action;
use crate::object::presence::Departing;
use crate::socket::connections::Connections;
use crate::socket::connections::admit::SHORT_OF_MEMORY;
use crate::socket::connections::connection::Membership;
use crate::socket::inbox::Command;
use crate::socket::page::{NoPage, Page, PageKey, PageRead};

/// A join whose reply waits for the first page.
pub(in crate::socket) struct FirstPage {
    pub(in crate::socket) request: u32,
    /// The newest event when the connection became a member.
    pub(in crate::socket) head: u64,
    /// The position was asked for by offset and epoch: the reply says whether it is continued.
    pub(in crate::socket) is_resume: bool,
    /// Why it is known not to be.
    pub(in crate::socket) reset: Option<ResetReason>,
    /// What the member wants to watch of the roster.
    pub(in crate::socket) watch: Watch,
}

/// A membership that waits for a page.
pub(in crate::socket) struct Reader {
    connection: Address,
    /// Of the membership that reads.
    serial: u32,
    join: Option<FirstPage>,
}

impl Memberships {
    /// Reads a page for some membership of the connection that stands behind, if its socket takes more.
    pub(in crate::socket) fn catch_up(&mut self, connections: &mut Connections, key: usize) {
        let Some(connection) = connections.get_mut(key) else { return };
        let is_full = connection.activity.outbox.bytes() > self.common.settings.outbound_bytes;
        let waits = connection.activity.reading_page || connection.activity.starved;
        if waits || is_full || !connection.is_open() {
            return;
        }
        let behind = connection.joins.iter().position(|joined| {
            let member =
                &self.subscribers[joined.subscribers as usize].members[joined.member as usize];
            member.mode == DeliveryMode::Behind
        });
        let Some(index) = behind else { return };
        // The membership goes to the end of the list, so that all memberships are served.
        let joined = connection.joins.remove(index);
        connection.joins.push(joined);
        let subscribers = &mut self.subscribers[joined.subscribers as usize];
        let after = subscribers.members[joined.member as usize].position;
        self.read_page(connections, key, joined, after, None);
    }

    /// Reads the page after an offset for a membership.
    pub(in crate::socket) fn read_page(
        &mut self,
        connections: &mut Connections,
        key: usize,
        joined: Membership,
        after: u64,
        join: Option<FirstPage>,
    ) {
        let Membership { object, serial, .. } = joined;
        let connection = &mut connections[key];
        let subscribers = &mut self.subscribers[joined.subscribers as usize];
        let mode = if join.is_some() { DeliveryMode::Joining } else { DeliveryMode::Reading };
        subscribers.set_mode(joined.member, mode);
        connection.activity.begin().reading_page |= join.is_none();
        let page_key = PageKey { object, after, format: connection.format };
        let reader = Reader { connection: connection.address(key, 0), serial, join };
        match self.readers.entry(page_key) {
            Entry::Occupied(mut others) => return others.get_mut().push(reader),
            Entry::Vacant(nobody) => _ = nobody.insert(vec![reader]),
        }
        if let Some(page) = subscribers.kept_page(page_key) {
            let read = PageRead { key: page_key, page: Ok(page) };
            return self.inbox.push(Command::Page(read));
        }
        self.common.metrics.pages.inc();
        let settings = &self.common.settings;
        let event_bytes = settings.limits.message_bytes as usize;
        let read = page_key.read(settings.bounds.page_events, event_bytes);
        subscribers.post(self.index, NOWHERE, Action::Read(read));
    }

    /// A page has been read.
    pub(in crate::socket) fn page_read(&mut self, connections: &mut Connections, read: PageRead) {
        let PageRead { key: page_key, page } = read;
        let has_room = || self.common.budget.has_room(self.common.budget.limit() / 2);
        if let Ok(page) = &page
            && has_room()
            && let Some(&subscribers) = self.subscribers_of.get(&page_key.object)
        {
            let bounds = self.common.settings.bounds;
            self.subscribers[subscribers as usize].keep_page(page_key, page, bounds);
        }
        for reader in self.readers.remove(&page_key).unwrap_or_default() {
            self.page_read_for(connections, reader, page_key, page.as_deref().map_err(|why| *why));
        }
    }

    /// A page has come for a reader, or can't be read.
    fn page_read_for(
        &mut self,
        connections: &mut Connections,
        reader: Reader,
        page_key: PageKey,
        page: Result<&Page, NoPage>,
    ) {
        let Reader { connection, serial, join } = reader;
        let Some(key) = connections.find(connection) else { return };
        let connection = &mut connections[key];
        if join.is_none()
            && let Some(work) = connection.activity.go_on()
        {
            work.reading_page = false;
        }
        let joined = connection.joined(page_key.object).filter(|joined| joined.serial == serial);
        // Left meanwhile; a joining connection only by its end, since its requests wait for the reply.
        let Some(joined) = joined else {
            self.catch_up(connections, key);
            return connections[key].activity.rest();
        };
        match (page, join) {
            (Ok(page), join) => {
                self.take_page(connections, key, joined, page, join);
                self.catch_up(connections, key);
            }
            (Err(why), Some(first)) => {
                // It may try again, and its place in the roster may be one that it came back to.
                self.leave(connections, key, page_key.object, Departing::Lost);
                match why {
                    NoPage::Memory => {
                        let request = Some(first.request);
                        connections.refuse(key, request, ErrorCode::Overloaded, SHORT_OF_MEMORY);
                    }
                    NoPage::Failed => {
                        let why = "the log can't be read at present; try again later";
                        connections.refuse(key, Some(first.request), ErrorCode::Unavailable, why);
                    }
                }
                connections.finish_reading(key);
            }
            (Err(NoPage::Memory), None) => {
                self.subscribers[joined.subscribers as usize]
                    .set_mode(joined.member, DeliveryMode::Behind);
                connections.starve(key);
            }
            // To go on without the page would be a hole.
            (Err(NoPage::Failed), None) => connections.ask_close(key, CloseCode::Internal),
        }
    }

    fn take_page(
        &mut self,
        connections: &mut Connections,
        key: usize,
        joined: Membership,
        page: &Page,
        join: Option<FirstPage>,
    ) {
        let connection = &mut connections[key];
        let subscribers = &mut self.subscribers[joined.subscribers as usize];
        let epoch = subscribers.handle.identity().epoch;
        let from = page.after.max(page.trimmed);
        let is_trimmed = page.trimmed > page.after;
        let watch = join.as_ref().map(|first| first.watch);
        let number = subscribers.members[joined.member as usize].number;
        if let Some(first) = join {
            let reset =
                first.reset.or((first.is_resume && is_trimmed).then_some(ResetReason::Trimmed));
            connection.queue(&ServerMessage::Joined(JoinReply {
                id: first.request,
                object: joined.object.0,
                epoch,
                head: first.head.max(from),
                from,
                resumed: first.is_resume && reset.is_none(),
                member: number,
                reset,
            }));
            self.common.metrics.count_join(first.is_resume, reset);
        } else if is_trimmed {
            let reason = ResetReason::Trimmed;
            let object = joined.object.0;
            connection.queue(&ServerMessage::Reset(Reset { object, reason, epoch, from }));
            self.common.metrics.resets.inc();
        }
        if let Some(frame) = &page.frame {
            connection.activity.begin().outbox.push_shared(frame.clone());
            self.common.metrics.caught_up_events.inc_by(page.events);
        }
        subscribers.members[joined.member as usize].position = page.last.max(from);
        // It may have ended within events whose delivery is still on its way.
        subscribers.newest = subscribers.newest.max(page.head);
        self.go_live(connections, key, joined);
        connections.queue_write(key);
        if let Some(watch) = watch {
            self.watch(connections, key, joined, watch);
            connections.finish_reading(key);
        }
    }

    /// Makes a member live, if it has every event or lacks only recent ones.
    pub(in crate::socket) fn go_live(
        &mut self,
        connections: &mut Connections,
        key: usize,
        joined: Membership,
    ) {
        let connection = &mut connections[key];
        let subscribers = &mut self.subscribers[joined.subscribers as usize];
        let Some(missed) = subscribers.rejoin(joined.member, connection.format) else { return };
        for frame in missed {
            connection.activity.begin().outbox.push_shared(frame);
        }
        let offset = subscribers.members[joined.member as usize].position;
        let object = joined.object.0;
        connection.queue(&ServerMessage::CaughtUp(CaughtUp { object, offset }));
    }
}
