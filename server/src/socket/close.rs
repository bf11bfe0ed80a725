//! How connections end: the closing handshake, the drain of all connections, and lost connections.

use dormouse_protocol::CloseCode;

use super::connections::connection::Phase;
use super::frame;
use super::reactor::Reactor;
use crate::object::presence::Departing;

/// The members of a dead peer leave at once: it has been silent for long. So do those of a client that is not let in any more. All other
/// peers may come back.
fn departing(code: CloseCode) -> Departing {
    match code {
        CloseCode::PingTimeout | CloseCode::Stalled | CloseCode::Unauthorized => Departing::Leave,
        _ => Departing::Lost,
    }
}

impl Reactor {
    /// Begins the closing handshake, unless it has begun. Frames that are queued already still go out.
    pub(super) fn close(&mut self, key: usize, code: CloseCode) {
        let connection = &mut self.connections[key];
        if !connection.is_open() {
            return;
        }
        let work = connection.activity.begin();
        work.outbox.push(frame::close(code));
        work.signals = Vec::new();
        self.connections.end_by(key, Phase::Closing);
        self.common.metrics.count_close(code);
        self.memberships.leave_all(&mut self.connections, key, departing(code));
        self.connections.go_on(key);
    }

    /// Accepts no more requests, and closes every connection with `code` when its requests are answered.
    pub(super) fn drain(&mut self, code: CloseCode) {
        self.connections.draining = Some(code);
        let keys: Vec<usize> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            if self.connections[key].activity.in_flight == 0 {
                self.close(key, code);
            }
        }
    }

    /// Closes the connections whose tokens are revoked, and returns their number. The reactor executes no request of theirs after this.
    pub(super) fn close_revoked(&mut self) -> usize {
        let revoked = self.connections.revoked();
        for key in &revoked {
            self.close(*key, CloseCode::Unauthorized);
            self.connections.discard_input(*key);
        }
        revoked.len()
    }

    /// Ends the connection.
    pub(super) fn lost(&mut self, key: usize) {
        self.memberships.leave_all(&mut self.connections, key, Departing::Lost);
        self.connections.remove(key);
    }
}
