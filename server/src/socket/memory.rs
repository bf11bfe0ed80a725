//! Connections that wait for memory: they go on in the order in which they came, as soon as the budget has room again.

use std::time::Duration;

use super::reactor::Reactor;

/// How soon the reactor looks again whether there is memory: others give it back, and do not tell.
pub(super) const RETRY: Duration = Duration::from_millis(10);
/// With less room than this it does not try: a page or a read would hardly find room.
const WORTH_TRYING: usize = 64 << 10;
/// Connections that go on in one iteration.
const TRIES: usize = 256;

impl Reactor {
    /// Puts the connection into the queue for memory, once. The reactor does not read from it until it leaves the queue.
    pub(super) fn starve(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        if !std::mem::replace(&mut connection.activity.begin().starved, true) {
            self.starved.push_back(connection.address(key, 0));
            self.common.metrics.starved.inc();
        }
    }

    /// Lets connections that have waited for memory go on. Those that still find none go to the end of the line.
    pub(super) fn feed_starved(&mut self) {
        for _ in 0..self.starved.len().min(TRIES) {
            if !self.common.budget.has_room(WORTH_TRYING) {
                return;
            }
            let Some(address) = self.starved.pop_front() else { return };
            let Some(key) = self.find(address) else { continue };
            self.connections[key].activity.begin().starved = false;
            self.catch_up(key);
            self.tell_missed(key);
            self.go_on(key);
            self.connections[key].activity.rest();
        }
    }
}
