//! What a client tells its owner.

use dormouse_protocol::{
    Event, HistoryPage, Joined, Key, Position, Presence, Published, ResetReason, Roster,
    SignalItem, Start,
};

use super::Object;

/// What happened.
#[derive(Debug)]
pub enum Notice {
    /// The client is a member, for the first time or again.
    Joined {
        /// Of what.
        object: Object,
        /// Where it asked to start.
        asked: Start,
        /// The reply.
        joined: Joined,
    },
    /// What was received of an object is to be dropped: the whole log follows.
    Reset {
        /// Of what.
        object: Object,
        /// Why.
        reason: ResetReason,
        /// What follows starts after this.
        position: Position,
    },
    /// The client is no member any more, as it wished.
    Left {
        /// Of what.
        object: Object,
    },
    /// What follows is live.
    CaughtUp {
        /// Of what.
        object: Object,
        /// The last event that was received.
        offset: u64,
    },
    /// Events as the server sent them.
    Events {
        /// Of what.
        object: Object,
        /// The events.
        events: Vec<Event>,
    },
    /// A publish was acknowledged.
    Published {
        /// In what.
        object: Object,
        /// The key that it was given.
        key: Key,
        /// How often it was sent.
        sent: u32,
        /// The acknowledgement.
        published: Published,
    },
    /// Signals as the server sent them.
    Signals {
        /// Of what.
        object: Object,
        /// The signals.
        signals: Vec<SignalItem>,
    },
    /// The roster, or what has changed since the one that was received last.
    Roster {
        /// Of what.
        object: Object,
        /// The message.
        roster: Roster,
    },
    /// What has changed in the roster.
    Presence {
        /// Of what.
        object: Object,
        /// The message.
        changes: Presence,
    },
    /// The reply to [`Client::history`].
    History {
        /// Of what.
        object: Object,
        /// After which offset it starts.
        after: u64,
        /// The page.
        page: HistoryPage,
    },
}

impl Notice {
    /// Of what it tells.
    pub fn object(&self) -> Object {
        match self {
            Self::Joined { object, .. }
            | Self::Reset { object, .. }
            | Self::Left { object }
            | Self::CaughtUp { object, .. }
            | Self::Events { object, .. }
            | Self::Published { object, .. }
            | Self::Signals { object, .. }
            | Self::Roster { object, .. }
            | Self::Presence { object, .. }
            | Self::History { object, .. } => *object,
        }
    }
}

/// What a client went through.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Connections that were established.
    pub connections: u64,
    /// Joins that continued at a position.
    pub resumed: u64,
    /// Positions that could not be continued.
    pub resets: u64,
    /// Publishes that were sent again.
    pub retries: u64,
    /// Acknowledgements that said that the event was stored before.
    pub duplicates: u64,
}
