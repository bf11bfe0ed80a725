//! What connections may do, and the end of that: the notice before a token expires, the expiry, and revocations.
//!
//! Owns the part of the wheel that is about tokens. Does not close connections: the reactor asks and closes.

use std::sync::Arc;

use dormouse_protocol::{CloseCode, ServerMessage, TokenExpiring};
use tokio::time::Instant;

use super::Connections;
use super::wheel::{self, Tick};
use crate::auth::{Access, Admitted};
use crate::object::presence::Owner;
use crate::rates::Scope;
use crate::session::UserName;

/// What a connection may do, and until when.
pub(super) struct Granted {
    access: Arc<Access>,
    /// When the token expires.
    end: Option<Tick>,
    /// When `token_expiring` is due; `None` once it is sent.
    notice: Option<Tick>,
    /// The client has not sent its token yet, and `end` is when it must have.
    awaits_token: bool,
    /// When the connection's entry in the wheel is due. An entry that is due at another time has been replaced.
    entry: Tick,
}

impl Granted {
    /// When the connection has to be checked because of its token.
    fn due(&self) -> Option<Tick> {
        self.notice.or(self.end)
    }
}

impl Connections {
    /// Schedules the next check of an open connection: at `due`, or when its token is about to expire, whichever is earlier. A connection
    /// has one entry in the wheel. A second one for the expiry alone would stay there after the connection has closed.
    pub(in crate::socket) fn look_again(&mut self, key: usize, due: Tick) {
        let due = match self.access.get_mut(&(key as u32)) {
            Some(granted) => {
                let due = granted.due().map_or(due, |end| due.min(end));
                granted.entry = due.max(self.wheel.now() + 1);
                granted.entry
            }
            None => due,
        };
        self.wheel.insert(due, self.slab[key].address(key, 0));
    }

    /// Whether the entry that is due now was replaced by an earlier one, which has scheduled the next check already.
    pub(in crate::socket) fn is_replaced(&self, key: usize) -> bool {
        let granted = self.access.get(&(key as u32));
        granted.is_some_and(|granted| granted.entry > self.wheel.now())
    }

    /// Sets what a connection may do from now on. If the token expires before the next check, an earlier entry in the wheel replaces the
    /// one of that check.
    pub(in crate::socket) fn set_access(&mut self, key: usize, admitted: Admitted) {
        let awaits_token = admitted.awaits_token();
        let Admitted { access, left } = admitted;
        // Not before its time: the client would connect again with the same token, which is still valid.
        let end = left.map(|left| self.wheel.at(Instant::now() + left));
        // Otherwise a client whose tokens are shorter than the notice would send one after another without a pause.
        let lead = left.map(|left| self.common.settings.expiry_notice.min(left / 4));
        let notice = end
            .zip(lead)
            .filter(|_| !awaits_token)
            .map(|(end, lead)| end.saturating_sub(wheel::ticks(lead)));
        let entry = self.access.get(&(key as u32)).map(|granted| granted.entry);
        let entry_due = entry.unwrap_or(Tick::MAX);
        let granted = Granted { access, end, notice, awaits_token, entry: entry_due };
        let due = granted.due();
        self.access.insert(key as u32, granted);
        if let (Some(entry), Some(due)) = (entry, due)
            && due < entry
        {
            self.look_again(key, due);
        }
    }

    /// Sends `token_expiring` when it is due, once for each token.
    pub(in crate::socket) fn send_expiry_notice(&mut self, key: usize) {
        let now = self.wheel.now();
        let Some(granted) = self.access.get_mut(&(key as u32)) else { return };
        let Some((end, _)) = granted.end.zip(granted.notice.filter(|notice| *notice <= now)) else {
            return;
        };
        granted.notice = None;
        let expires_in_ms = wheel::time(end.saturating_sub(now)).as_millis() as u64;
        self.slab[key].queue(&ServerMessage::TokenExpiring(TokenExpiring { expires_in_ms }));
        self.queue_write(key);
    }

    /// What a connection may do; `None` is everything.
    pub(in crate::socket) fn access(&self, key: usize) -> Option<&Arc<Access>> {
        self.access.get(&(key as u32)).map(|granted| &granted.access)
    }

    /// The user of a connection, if it has named one.
    pub(in crate::socket) fn user(&self, key: usize) -> Option<UserName> {
        self.access(key).and_then(|access| access.subject.shared_user())
    }

    /// The owner of a connection's roster entries.
    pub(in crate::socket) fn owner(&self, key: usize) -> Owner {
        Owner::new(self.slab[key].session, self.user(key))
    }

    /// The open connections whose tokens are revoked.
    pub(in crate::socket) fn revoked(&self) -> Vec<usize> {
        let is_revoked = |access: &Access| self.common.auth.is_revoked(access);
        let revoked = self.access.iter().filter(|(key, granted)| {
            self.slab[**key as usize].is_open() && is_revoked(&granted.access)
        });
        revoked.map(|(key, _)| *key as usize).collect()
    }

    /// Why the connection has to be closed, if its token has expired or did not come in time.
    pub(in crate::socket) fn end_of_access(&self, key: usize) -> Option<CloseCode> {
        let granted = self.access.get(&(key as u32))?;
        granted.end.filter(|end| *end <= self.wheel.now())?;
        Some(if granted.awaits_token { CloseCode::Unauthorized } else { CloseCode::TokenExpired })
    }

    /// Whether a connection may have a token of this user: its own, or the first that it names.
    pub(in crate::socket) fn may_be(&self, key: usize, user: Option<&str>) -> bool {
        let own = self.user(key);
        own.is_none() || own.as_deref() == user
    }

    /// Counts a connection without a user as a connection of this user. The error: the user has too many.
    pub(in crate::socket) fn count_user(&mut self, key: usize, user: &str) -> Result<(), Scope> {
        match self.limited.get_mut(&(key as u32)) {
            Some(client) => self.common.rates.name_user(client, user),
            None => Ok(()),
        }
    }
}
