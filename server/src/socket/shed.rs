//! What reactors give up when memory is short: connections for which much is held, those with the most first.

use std::time::Duration;

use dormouse_protocol::CloseCode;

use super::Reactors;
use super::connections::connection::Connection;
use super::inbox::Command;
use super::reactor::Reactor;
use crate::memory;

/// A connection that holds less is not worth closing.
const WORTH: usize = 16 << 10;

impl Reactors {
    /// Closes the connections that hold the most, until they have held so many bytes together, as far as there are such. Forgets
    /// pages that are kept for others, and gives freed memory back to the system. Returns at once.
    pub fn shed(&self, bytes: usize) {
        let share = bytes / self.inboxes.len().max(1);
        for inbox in &*self.inboxes {
            inbox.push(Command::Shed(share));
        }
    }
}

impl Reactor {
    pub(super) fn shed(&mut self, bytes: usize) {
        self.memberships.forget_recent();
        let mut hoarders: Vec<_> = self
            .connections
            .iter()
            .map(|(key, connection)| (held_bytes(connection), key))
            .filter(|(held, _)| bytes > 0 && *held >= WORTH)
            .collect();
        hoarders.sort_unstable_by(|a, b| b.cmp(a));
        let mut left = bytes;
        for (held, key) in hoarders {
            if left == 0 {
                break;
            }
            left = left.saturating_sub(held);
            if self.connections[key].activity.blocked {
                self.cut(key);
            } else if self.connections[key].is_open() {
                self.close(key, CloseCode::Overloaded);
                self.connections.discard_input(key);
                self.connections[key].activity.forget_input();
            }
        }
        memory::give_back();
    }

    /// Ends a connection at once. Its socket takes nothing, so it would not take a close frame behind all that waits: the client
    /// finds the connection broken, and comes again.
    fn cut(&mut self, key: usize) {
        if self.connections[key].is_open() {
            self.common.metrics.count_close(CloseCode::Overloaded);
        }
        // What the kernel holds goes too.
        let socket = socket2::SockRef::from(&self.connections[key].socket);
        let _ = socket.set_linger(Some(Duration::ZERO));
        self.lost(key);
    }
}

/// Memory that is held for a connection, without what its socket is about to take.
fn held_bytes(connection: &Connection) -> usize {
    let work = &connection.activity;
    let unanswered = work.decoder.held_bytes() + work.unread.held_bytes();
    if !work.blocked {
        return unanswered;
    }
    let signals: usize = work.signals.iter().map(|kept| kept.frame.len()).sum();
    unanswered + work.outbox.bytes() + signals
}
