//! Which peers are still there: pings, deadlines, and sockets that take nothing.
//!
//! A peer that we don't read from can't be judged by what it sends, and one whose socket is full doesn't get our
//! ping: of these only the kernel knows whether they are there.

use std::num::NonZero;
use std::time::Duration;

use dormouse_protocol::CloseCode;

use super::connections::connection::Phase;
use super::connections::peer;
use super::connections::wheel::{self, Tick};
use super::connections::{CLOSE_CHECK, Connections};
use super::frame;
use super::reactor::Reactor;
use crate::object::Address;

/// A peer that was sent more than this since it was last heard may still be reading.
const SLOW_BYTES: u32 = 16 * 1024;

/// Pings go out together, up to a thirty-second of the interval early: their answers then come together too, and cost one turn
/// of the loop instead of one each.
fn together(at: Tick, silence: Duration) -> Tick {
    let step = (wheel::ticks(silence) / 32).max(1);
    at - at % step
}

impl Reactor {
    /// Something of this connection may be due.
    pub(super) fn deadline(&mut self, address: Address) {
        let Some(key) = self.connections.find(address) else { return };
        match self.connections[key].phase {
            Phase::Closing(due) | Phase::DiscardingInput(due) | Phase::Closed(due) => {
                // Otherwise its own entry is still in the wheel.
                if due <= self.connections.wheel.now() {
                    self.lost(key);
                } else if self.connections.draining.is_some() {
                    self.end_if_told(key);
                }
            }
            Phase::Open if self.connections.is_replaced(key) => {}
            Phase::Open => match self.connections.judge(key) {
                Ok(next) => self.connections.look_again(key, next),
                Err(code) => {
                    self.close(key, code);
                    // A peer that is gone or stuck is not expected to answer.
                    if code != CloseCode::TokenExpired {
                        self.connections.peer_closed(key);
                    }
                }
            },
        }
    }

    /// A server that stops does not wait for the answer to its close frame: the connection ends as soon as the peer's system has
    /// the frame.
    fn end_if_told(&mut self, key: usize) {
        let connection = &self.connections[key];
        let work = &connection.activity;
        let is_written = work.outbox.is_empty() && !work.blocked;
        if is_written && peer::has_everything(&connection.socket) {
            return self.lost(key);
        }
        let address = connection.address(key, 0);
        self.connections.wheel.insert(self.connections.wheel.after(CLOSE_CHECK), address);
    }
}

impl Connections {
    /// When to look at an open connection again, or why it is to be closed.
    fn judge(&mut self, key: usize) -> Result<Tick, CloseCode> {
        if let Some(code) = self.end_of_access(key) {
            return Err(code);
        }
        self.send_expiry_notice(key);
        let now = self.wheel.now();
        let silence = self.silence(self[key].generation);
        let is_paused = self.is_paused(key);
        if is_paused {
            self.excuse_record(key);
        }
        let settings = self.common.settings;
        let after_pong_timeout = self.wheel.after(settings.pong_timeout);
        let after_silence = self.wheel.after(silence);
        let connection = &mut self[key];
        if let Some(work) = connection.activity.go_on()
            && (is_paused || work.blocked)
        {
            work.message_begun = now;
        }
        let stalled = wheel::ticks(settings.stall_timeout);
        if connection.activity.blocked {
            if now - connection.activity.progress >= stalled {
                return Err(CloseCode::Stalled);
            }
            if peer::is_gone(&connection.socket, settings.ping_interval + settings.pong_timeout) {
                return Err(CloseCode::PingTimeout);
            }
            return Ok(after_pong_timeout);
        }
        if is_paused {
            connection.heard = now;
            connection.pong_due = None;
        }
        let ping_at = together(connection.heard + wheel::ticks(silence), silence);
        match connection.pong_due {
            Some(due) if due.get() <= now => {
                let is_slow = connection.unanswered > SLOW_BYTES;
                if !is_slow || peer::is_gone(&connection.socket, settings.pong_timeout) {
                    return Err(CloseCode::PingTimeout);
                }
                if now - connection.heard >= stalled {
                    return Err(CloseCode::Stalled);
                }
                // The ping may wait behind what was sent before it, in buffers that are not ours.
                Ok(after_pong_timeout)
            }
            Some(due) => Ok(due.get().min(after_silence)),
            None if ping_at <= now => {
                let due = after_pong_timeout;
                connection.pong_due = NonZero::new(due);
                connection.activity.begin().outbox.push(frame::PING);
                self.common.metrics.pings.inc();
                self.queue_write(key);
                // The pong may come long before it is due, and the next silence begin.
                Ok(due.min(after_silence))
            }
            None => Ok(ping_at),
        }
    }
}
