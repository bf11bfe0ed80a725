//! What is wrong, in words and in numbers.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use dormouse_protocol::Key;
use serde::Serialize;

use super::{ClientId, Room};

/// So many violations of each kind are described; all are counted.
const DESCRIBED_MAX: u64 = 8;
/// Characters of one description: events can be long.
const TEXT_MAX: usize = 600;

/// Which promise is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::crash) enum Breach {
    /// An acknowledged event is not in the log, or a member never receives an event.
    Lost,
    /// An event is stored or received twice.
    Repeated,
    /// Events stand in another order than they were sent in.
    Reordered,
    /// An event is not what was published, or not the same for everybody.
    Altered,
    /// An event that nobody has published.
    Invented,
    /// An event stands elsewhere than it was said to.
    Moved,
    /// A member's events do not follow one another.
    Hole,
    /// The log is another one than before.
    Epoch,
    /// A position was not continued.
    Reset,
    /// A roster has somebody who is not there, or lacks somebody.
    Roster,
    /// A signal is repeated, or reaches who is not there.
    Signal,
    /// The server or a client can't go on.
    Conduct,
}

impl Breach {
    const ALL: [Self; 12] = [
        Self::Lost,
        Self::Repeated,
        Self::Reordered,
        Self::Altered,
        Self::Invented,
        Self::Moved,
        Self::Hole,
        Self::Epoch,
        Self::Reset,
        Self::Roster,
        Self::Signal,
        Self::Conduct,
    ];
}

/// Something that is wrong, and where.
#[derive(Debug)]
pub(in crate::crash) struct Fault {
    breach: Breach,
    what: String,
    room: Option<Room>,
    offset: Option<u64>,
    client: Option<ClientId>,
    key: Option<Key>,
}

impl Fault {
    pub(in crate::crash) fn new(breach: Breach, what: impl Into<String>) -> Self {
        let mut what = what.into();
        if let Some((end, _)) = what.char_indices().nth(TEXT_MAX) {
            what.replace_range(end.., "…");
        }
        Self { breach, what, room: None, offset: None, client: None, key: None }
    }

    pub(in crate::crash) fn room(self, room: Room) -> Self {
        Self { room: Some(room), ..self }
    }

    pub(in crate::crash) fn offset(self, offset: u64) -> Self {
        Self { offset: Some(offset), ..self }
    }

    /// Who saw it or, with a key, who has published it.
    pub(in crate::crash) fn client(self, client: ClientId) -> Self {
        Self { client: Some(client), ..self }
    }

    pub(in crate::crash) fn key(self, key: &Key) -> Self {
        Self { key: Some(key.clone()), ..self }
    }
}

/// A fault, and when it was found.
#[derive(Debug)]
pub(in crate::crash) struct Violation {
    fault: Fault,
    kill: u64,
}

impl Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { breach, what, room, offset, client, key } = &self.fault;
        write!(f, "{breach:?} after kill {}", self.kill)?;
        if let Some(room) = room {
            write!(f, ", {room}")?;
        }
        if let Some(offset) = offset {
            write!(f, ", offset {offset}")?;
        }
        if let Some(client) = client {
            write!(f, ", {client}")?;
        }
        if let Some(key) = key {
            write!(f, ", key {key}")?;
        }
        write!(f, ": {what}")
    }
}

/// All that is wrong.
#[derive(Debug, Default)]
pub(in crate::crash) struct Violations {
    /// How often the server was killed or stopped until now.
    pub(super) kill: u64,
    counts: BTreeMap<Breach, u64>,
    described: Vec<Violation>,
}

impl Violations {
    pub(super) fn add(&mut self, fault: Fault) {
        let count = self.counts.entry(fault.breach).or_default();
        *count += 1;
        if *count <= DESCRIBED_MAX {
            self.described.push(Violation { fault, kill: self.kill });
        }
    }

    /// How many there are in all.
    pub(in crate::crash) fn count(&self) -> u64 {
        self.counts.values().sum()
    }

    /// How many there are of each kind.
    pub(in crate::crash) fn counts(&self) -> BTreeMap<Breach, u64> {
        let count = |breach| (breach, self.counts.get(&breach).copied().unwrap_or(0));
        Breach::ALL.map(count).into()
    }

    /// The first ones of each kind.
    pub(in crate::crash) fn described(&self) -> &[Violation] {
        &self.described
    }
}
