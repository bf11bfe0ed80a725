//! What is said besides the rows: how many objects are in which state, and how many are not shown.

use dormouse::object::State;

use super::column::readable;
use super::server::Objects;

const STATES: [State; 4] = [State::Awake, State::Waking, State::FallingAsleep, State::Asleep];

/// What a server said, and what it was asked.
pub(super) struct Summary {
    pub(super) objects: Objects,
    pub(super) url: String,
    /// Only these were asked for.
    pub(super) state: Option<String>,
}

impl Summary {
    /// The objects in use, by state.
    pub(super) fn counts(&self) -> String {
        let count =
            |state: State| format!("{} {}", self.count(state.as_str()), readable(state.as_str()));
        STATES.map(count).join(" · ")
    }

    /// How many objects there are beyond the rows.
    pub(super) fn more(&self) -> Option<String> {
        let total = match &self.state {
            Some(state) => self.count(state),
            None => self.objects.counts.values().sum(),
        };
        let more = total.saturating_sub(self.objects.rows.len() as u64);
        (more > 0).then(|| format!("… and {more} more"))
    }

    /// What stands in the place of rows where there is none.
    pub(super) fn nothing(&self) -> String {
        match &self.state {
            Some(state) => format!("No object is {}.", readable(state)),
            None => format!("No object is in use: open {} in a browser, and one is.", self.url),
        }
    }

    fn count(&self, state: &str) -> u64 {
        self.objects.counts.get(state).copied().unwrap_or(0)
    }
}
