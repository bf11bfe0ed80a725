//! How connections end: the closing handshake, the drain of all connections, and lost connections.

use std::net::Shutdown;

use dormouse_protocol::CloseCode;

use super::connection::Phase;
use super::frame;
use super::liveness::CLOSE_CHECK;
use super::reactor::Reactor;
use super::wheel::Tick;
use crate::log::ObjectId;
use crate::object::presence::Departing;

/// The members of a dead peer leave at once: it has been silent for long. All other peers may come back.
fn departing(code: CloseCode) -> Departing {
    match code {
        CloseCode::PingTimeout | CloseCode::Stalled => Departing::Leave,
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
        self.end_by(key, Phase::Closing);
        self.common.metrics.count_close(code);
        self.leave_all(key, departing(code));
        self.go_on(key);
    }

    /// Discards everything that the peer still sends: after a protocol error it cannot be decoded.
    pub(super) fn discard_input(&mut self, key: usize) {
        self.end_by(key, Phase::DiscardingInput);
    }

    /// The peer sends no more. The socket is closed when the outbox is empty (RFC 6455, section 7.1.1: the server closes first).
    pub(super) fn peer_closed(&mut self, key: usize) {
        self.end_by(key, Phase::Closed);
    }

    /// Enters a phase of closing, which lasts for `close_timeout` at most.
    fn end_by(&mut self, key: usize, phase: fn(Tick) -> Phase) {
        let due = self.wheel.after(self.common.settings.close_timeout);
        let connection = &mut self.connections[key];
        connection.phase = phase(due);
        self.wheel.insert(due, connection.address(key, 0));
        if self.draining.is_some() {
            let address = self.connections[key].address(key, 0);
            self.wheel.insert(self.wheel.after(CLOSE_CHECK), address);
        }
        self.queue_write(key);
    }

    /// Accepts no more requests, and closes every connection with `code` when its requests are answered.
    pub(super) fn drain(&mut self, code: CloseCode) {
        self.draining = Some(code);
        let keys: Vec<usize> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            if self.connections[key].activity.in_flight == 0 {
                self.close(key, code);
            }
        }
    }

    pub(super) fn leave_all(&mut self, key: usize, how: Departing) {
        let joins: Vec<ObjectId> =
            self.connections[key].joins.iter().map(|joined| joined.object).collect();
        for object in joins {
            self.leave(key, object, how);
        }
    }

    /// Ends the connection.
    pub(super) fn lost(&mut self, key: usize) {
        self.leave_all(key, Departing::Lost);
        let mut connection = self.connections.remove(key);
        let _ = self.poll.registry().deregister(&mut connection.socket);
        // The kernel may still hold the last frames: a plain close sends them, and then a FIN.
        let _ = connection.socket.shutdown(Shutdown::Write);
        self.common.metrics.connections.dec();
    }
}
