//! Presence operations of connections. Every call returns at once and may come from any thread except from within
//! [`Sink::deliver`](crate::object::Sink::deliver), which is called under the roster's lock.

use std::sync::Arc;

use super::entry::{Data, Holder, Owner};
use super::frames::{RosterFrames, View};
use super::page::{RosterPage, RosterRange};
use super::roster::RosterFull;
use super::timer::ActiveRoster;
use crate::limits::Permit;
use crate::object::delivery::{Address, Delivery};
use crate::object::handle::Handle;
use crate::object::input::ReadRoster;

/// A member that comes into the roster.
#[derive(Debug, Clone)]
pub struct Entrant {
    /// The member that it was before its connection was lost, if it says so.
    pub asked: Option<u64>,
    /// Its number otherwise, from [`Handle::new_member`].
    pub member: u64,
    /// Whose connection it is.
    pub owner: Owner,
    /// Its connection.
    pub holder: Holder,
    /// Its presence data.
    pub data: Data,
}

/// How a member departs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departing {
    /// The client left: the next flush publishes it.
    Leave,
    /// Its connection is gone: it may come back within the grace period.
    Lost,
}

impl Handle {
    /// A number for a new membership: no other of this object has or ever had it. Below 2⁵³.
    pub(in crate::object) fn new_member(&self) -> u64 {
        self.shared.presence.new_member()
    }

    /// Adds a member to the roster and returns its number, as [`Roster::present`](super::roster::Roster::present) says.
    ///
    /// A return to an entry is delivered only if the data changed.
    pub(in crate::object) fn present(
        self: &Arc<Self>,
        entrant: Entrant,
    ) -> Result<u64, RosterFull> {
        let Entrant { asked, member, owner, holder, data } = entrant;
        let presence = &self.shared.presence;
        let max = presence.settings.max_members;
        let presented = self
            .with_roster(|roster| roster.present(asked, member, owner, holder, data, max))
            .inspect_err(|_| presence.metrics.full.inc())?;
        if presented.returned {
            presence.metrics.returns.inc();
        }
        Ok(presented.member)
    }

    /// Changes a member's data; `None` removes it from the roster. An absent member is added under its number.
    /// A member that another connection holds does not change.
    pub(in crate::object) fn update(
        self: &Arc<Self>,
        member: u64,
        owner: Owner,
        holder: Holder,
        data: Option<Data>,
    ) -> Result<(), RosterFull> {
        let presence = &self.shared.presence;
        let max = presence.settings.max_members;
        self.with_roster(|roster| roster.update(member, owner, holder, data, max))
            .inspect_err(|_| presence.metrics.full.inc())
    }

    /// Ends a membership. Nothing happens where it is not in the roster, or another connection holds it by now.
    pub(in crate::object) fn depart(self: &Arc<Self>, member: u64, holder: Holder, how: Departing) {
        let mut state = self.presence.0.lock();
        let Some(active) = &mut state.active else { return };
        let presence = &self.shared.presence;
        if how == Departing::Lost && presence.grace() > 0 {
            if active.roster.lose(member, holder, presence.now() + presence.grace()) {
                presence.metrics.lost.inc();
            }
        } else {
            active.roster.leave(member, holder);
        }
        self.run_due_and_wait(&mut state);
    }

    /// Gives the sink the roster for a member that watches from now on, and from then on every change, until
    /// [`Handle::unwatch`]. `since` is the version that the member has: it gets only the changes, if they are
    /// still known. The permit is for the roster: see [`RosterFrames::most_bytes`].
    pub(in crate::object) fn watch(
        &self,
        sink: usize,
        to: Address,
        view: View,
        since: Option<u64>,
        permit: Permit,
    ) {
        let limit = self.shared.presence.settings.page_members;
        let mut state = self.presence.0.lock();
        let active = state.activate(&self.shared.presence.clock);
        active.watchers |= 1 << sink;
        let roster = match view {
            View::Counts => {
                let range = RosterRange { since: None, after: None, limit: 0 };
                Arc::new(RosterFrames::new(self.id(), None, active.roster.page(range), permit))
            }
            View::Members => match since.and_then(|since| active.roster.changes(since, limit)) {
                Some(changes) => Arc::new(RosterFrames::new(self.id(), None, changes, permit)),
                None => self.first_page(active, limit, permit),
            },
        };
        self.shared.sinks[sink].deliver(Delivery::Roster { to, roster });
    }

    /// The sink has no more members that watch.
    pub(in crate::object) fn unwatch(self: &Arc<Self>, sink: usize) {
        let mut state = self.presence.0.lock();
        if let Some(active) = &mut state.active {
            active.watchers &= !(1 << sink);
            self.run_due_and_wait(&mut state);
        }
    }

    /// Answers, through the sink, the request that is named by `to`: the changes since a version, if requested and
    /// still known; otherwise the members after one, at most `limit`; with 0 only the counts.
    pub(in crate::object) fn roster(
        &self,
        sink: usize,
        to: Address,
        read: ReadRoster,
        permit: Permit,
    ) {
        let ReadRoster { since, after, limit } = read;
        let most = self.shared.presence.settings.page_members;
        let limit = limit.map_or(most, |limit| most.min(limit as usize));
        let mut state = self.presence.0.lock();
        let page = match &state.active {
            Some(active) => active.roster.page(RosterRange { since, after, limit }),
            None => RosterPage::empty(state.version(&self.shared.presence.clock)),
        };
        let roster = Arc::new(RosterFrames::new(self.id(), Some(to.request), page, permit));
        self.shared.sinks[sink].deliver(Delivery::Roster { to, roster });
    }

    /// How many members there are, and how many users, as last published.
    pub fn counts(&self) -> (u32, u32) {
        let state = self.presence.0.lock();
        state.active.as_ref().map_or((0, 0), |active| (active.roster.members, active.roster.users))
    }

    /// Shared by all watchers that start at the same version: many members join a large roster at once.
    fn first_page(
        &self,
        active: &mut ActiveRoster,
        limit: usize,
        permit: Permit,
    ) -> Arc<RosterFrames> {
        let version = active.roster.version;
        if let Some(page) = active.first_page.upgrade().filter(|page| page.version() == version) {
            return page;
        }
        let range = RosterRange { since: None, after: None, limit };
        let page = Arc::new(RosterFrames::new(self.id(), None, active.roster.page(range), permit));
        active.first_page = Arc::downgrade(&page);
        page
    }
}
