//! Writes queued frames to sockets, once for each socket at the end of an iteration.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;

use bytes::Bytes;
use tracing::debug;

use super::connection::{Connection, Phase};
use super::outbox::{self, Written};
use super::reactor::Reactor;
use crate::log::ObjectId;
use crate::object::Address;

/// Sockets written to in one iteration.
const WRITES: usize = 256;

/// The connections with queued bytes, each once.
#[derive(Default)]
pub(super) struct WriteQueue(VecDeque<Next>);

/// An entry of the write queue.
enum Next {
    Connection(u32),
    /// A connection that was at rest, and the frame for it.
    Frame(Address, Arc<Bytes>),
    /// The end of the flush of this object.
    End(ObjectId),
}

impl WriteQueue {
    pub(super) fn add(&mut self, key: u32, connection: &mut Connection) {
        if !connection.write_queued {
            connection.write_queued = true;
            self.0.push_back(Next::Connection(key));
        }
    }

    /// Queues a shared frame. If the connection is at rest, as most connections of a large room are, the frame stands in this queue
    /// alone, and nothing is allocated for it.
    pub(super) fn add_shared(&mut self, key: u32, connection: &mut Connection, frame: &Arc<Bytes>) {
        if connection.write_queued || !connection.activity.is_at_rest() {
            connection.activity.begin().outbox.push_shared(Bytes::clone(frame));
            return self.add(key, connection);
        }
        connection.write_queued = true;
        self.0.push_back(Next::Frame(connection.address(key as usize, 0), frame.clone()));
    }

    /// Reports the end of a flush when everything queued so far is written.
    pub(super) fn add_end(&mut self, object: ObjectId) {
        self.0.push_back(Next::End(object));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Reactor {
    /// Queues the socket for the writes at the end of the iteration.
    pub(super) fn queue_write(&mut self, key: usize) {
        self.write_queue.add(key as u32, &mut self.connections[key]);
    }

    pub(super) fn write_queued(&mut self) {
        for _ in 0..WRITES {
            match self.write_queue.0.pop_front() {
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
                    let Some(key) = self.find(address) else { continue };
                    self.connections[key].write_queued = false;
                    self.write_shared(key, &frame);
                }
                Some(Next::End(object)) => self.flush_ended(object),
                None => return,
            }
        }
    }

    /// Writes a frame to a connection that was at rest when it was queued.
    fn write_shared(&mut self, key: usize, frame: &Bytes) {
        let connection = &mut self.connections[key];
        let mut bytes = 0;
        if connection.activity.is_at_rest() && connection.is_open() {
            match outbox::write(&mut connection.socket, frame) {
                Ok(written) => bytes = written,
                Err(error) => return self.broken(key, &error),
            }
            self.note_sent(key, bytes);
            if bytes == frame.len() {
                return self.catch_up(key);
            }
        }
        // Everything queued later comes after it.
        self.connections[key].activity.begin().outbox.push_shared_front(frame.slice(bytes..));
        self.write(key);
    }

    fn note_sent(&mut self, key: usize, bytes: usize) {
        self.common.metrics.bytes_out.inc_by(bytes as u64);
        let connection = &mut self.connections[key];
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        connection.unanswered = connection.unanswered.saturating_add(bytes);
    }

    fn broken(&mut self, key: usize, error: &io::Error) {
        debug!(%error, "a connection is lost");
        self.lost(key);
    }

    fn write(&mut self, key: usize) {
        // Not while the outbox is full: it would never become empty.
        if self.connections[key].activity.outbox.bytes() <= self.common.settings.outbound_bytes {
            self.release_signals(key);
        }
        let was_paused = self.is_paused(&self.connections[key]);
        let connection = &mut self.connections[key];
        let work = connection.activity.begin();
        match work.outbox.write_to(&mut connection.socket, &mut self.buffer) {
            Ok(Written { bytes, all: is_empty }) => {
                work.blocked = !is_empty;
                work.progress = self.wheel.now();
                work.count_memory(&self.common.budget);
                self.note_sent(key, bytes);
                let connection = &mut self.connections[key];
                match connection.phase {
                    Phase::Closed(_) if is_empty => return self.lost(key),
                    // The peer learns at once that nothing more comes. To close before it stops sending would
                    // reset the connection, and our close frame could be lost on the way.
                    Phase::DiscardingInput(_) if is_empty => {
                        let _ = connection.socket.shutdown(Shutdown::Write);
                    }
                    _ => {}
                }
                if was_paused && !self.is_paused(&self.connections[key]) {
                    self.go_on(key);
                }
                if is_empty && !self.connections[key].activity.signals.is_empty() {
                    self.queue_write(key);
                }
                self.catch_up(key);
                self.tell_missed(key);
                self.connections[key].activity.rest();
            }
            Err(error) => self.broken(key, &error),
        }
    }
}
