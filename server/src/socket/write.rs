//! Writes queued frames to sockets, once for each socket at the end of an iteration.

use std::io;

use bytes::Bytes;
use tracing::debug;

use super::connections::connection::Phase;
use super::connections::write_queue::Next;
use super::reactor::Reactor;

/// Sockets written to in one iteration.
const WRITES: usize = 256;

impl Reactor {
    pub(super) fn write_queued(&mut self) {
        for _ in 0..WRITES {
            match self.connections.write_queue.pop() {
                Some(Next::Connection(key)) => {
                    let key = key as usize;
                    // The key may belong to a newer connection, which is not queued.
                    let Some(connection) = self.connections.get_mut(key) else { continue };
                    if std::mem::take(&mut connection.write_queued) && !connection.activity.blocked
                    {
                        self.write(key);
                    }
                }
                Some(Next::Frame(address, frame)) => {
                    let Some(key) = self.connections.find(address) else { continue };
                    self.connections[key].write_queued = false;
                    self.write_shared(key, &frame);
                }
                Some(Next::End(object)) => self.memberships.flush_ended(object),
                None => return,
            }
        }
    }

    /// Writes a frame to a connection that was at rest when it was queued.
    fn write_shared(&mut self, key: usize, frame: &Bytes) {
        let connection = &self.connections[key];
        let mut bytes = 0;
        if connection.activity.is_at_rest() && connection.is_open() {
            let written = match self.connections.write_frame(key, frame) {
                Ok(written) => written,
                Err(error) => return self.broken(key, &error),
            };
            bytes = written.bytes;
            self.connections.note_sent(key, bytes);
            if written.all {
                return self.memberships.catch_up(&mut self.connections, key);
            }
        }
        // Everything queued later comes after it.
        self.connections[key].activity.begin().outbox.push_shared_front(frame.slice(bytes..));
        self.write(key);
    }

    fn broken(&mut self, key: usize, error: &io::Error) {
        debug!(%error, "a connection is lost");
        self.lost(key);
    }

    fn write(&mut self, key: usize) {
        // Not while the outbox is full: it would never become empty.
        if self.connections[key].activity.outbox.bytes() <= self.common.settings.outbound_bytes {
            self.connections.release_signals(key);
        }
        let was_paused = self.connections.is_paused(key);
        match self.connections.write_outbox(key) {
            Ok(is_empty) => {
                match self.connections[key].phase {
                    Phase::Closed(_) if is_empty => return self.lost(key),
                    // The peer learns at once that nothing more comes. To close before it stops sending would
                    // reset the connection, and our close frame could be lost on the way.
                    Phase::DiscardingInput(_) if is_empty => {
                        self.connections.end_output(key);
                    }
                    _ => {}
                }
                if was_paused && !self.connections.is_paused(key) {
                    self.connections.go_on(key);
                }
                if is_empty && !self.connections[key].activity.signals.is_empty() {
                    self.connections.queue_write(key);
                }
                self.memberships.catch_up(&mut self.connections, key);
                self.memberships.tell_missed(&mut self.connections, key);
                self.connections[key].activity.rest();
            }
            Err(error) => self.broken(key, &error),
        }
    }
}
