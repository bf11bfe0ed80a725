//! The queue of what is written at the end of an iteration.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::connection::Connection;
use crate::log::ObjectId;
use crate::object::Address;

/// The connections with queued bytes, each once.
#[derive(Default)]
pub(in crate::socket) struct WriteQueue(VecDeque<Next>);

/// An entry of the write queue.
pub(in crate::socket) enum Next {
    Connection(u32),
    /// A connection that was at rest, and the frame for it.
    Frame(Address, Arc<Bytes>),
    /// The end of the flush of this object.
    End(ObjectId),
}

impl WriteQueue {
    pub(in crate::socket) fn add(&mut self, key: u32, connection: &mut Connection) {
        if !connection.write_queued {
            connection.write_queued = true;
            self.0.push_back(Next::Connection(key));
        }
    }

    /// Queues a shared frame. If the connection is at rest, as most connections of a large room are, the frame stands in this queue
    /// alone, and nothing is allocated for it.
    pub(in crate::socket) fn add_shared(
        &mut self,
        key: u32,
        connection: &mut Connection,
        frame: &Arc<Bytes>,
    ) {
        if connection.write_queued || !connection.activity.is_at_rest() {
            connection.activity.begin().outbox.push_shared(Bytes::clone(frame));
            return self.add(key, connection);
        }
        connection.write_queued = true;
        self.0.push_back(Next::Frame(connection.address(key as usize, 0), frame.clone()));
    }

    /// Reports the end of a flush when everything queued so far is written.
    pub(in crate::socket) fn add_end(&mut self, object: ObjectId) {
        self.0.push_back(Next::End(object));
    }

    pub(in crate::socket) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the next entry.
    pub(in crate::socket) fn pop(&mut self) -> Option<Next> {
        self.0.pop_front()
    }
}
