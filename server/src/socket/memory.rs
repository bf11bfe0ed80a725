//! Connections that wait for memory: they go on in the order in which they came, as soon as the budget has room again.

use super::reactor::Reactor;

/// With less room than this it does not try: a page or a read would hardly find room.
const WORTH_TRYING: usize = 64 << 10;
/// Connections that go on in one iteration.
const TRIES: usize = 256;

impl Reactor {
    /// Lets connections that have waited for memory go on. Those that still find none go to the end of the line.
    pub(super) fn feed_starved(&mut self) {
        for _ in 0..self.connections.starved.len().min(TRIES) {
            if !self.common.budget.has_room(WORTH_TRYING) {
                return;
            }
            let Some(address) = self.connections.starved.pop_front() else { return };
            let Some(key) = self.connections.find(address) else { continue };
            self.connections[key].activity.begin().starved = false;
            self.memberships.catch_up(&mut self.connections, key);
            self.memberships.tell_missed(&mut self.connections, key);
            self.connections.go_on(key);
            self.connections[key].activity.rest();
        }
    }
}
