//! What a client wants of one object, and how far the present connection has come with it. Pure.

use dormouse_protocol::{
    ClientMessage, Join, Joined, Leave, ObjectName, Payload, Position, PresenceSet, Start, Watch,
};

pub(super) struct Membership {
    name: ObjectName,
    /// Where the next join starts.
    pub(super) start: Start,
    /// The client wants to be a member.
    pub(super) is_wanted: bool,
    is_watching: bool,
    /// What the roster is to say of it.
    pub(super) presence: Option<Payload>,
    /// What the present membership was asked to say.
    said: Option<Payload>,
    /// The newest membership's number in the roster.
    pub(super) member: Option<u64>,
    /// The version of the roster that was received last.
    pub(super) version: Option<u64>,
    /// On the present connection; kept after a leave, so that what follows one is recognized.
    pub(super) number: Option<u64>,
    pub(super) progress: Progress,
}

/// How far a join has come on the present connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Apart,
    Asked { id: u32, from: Start },
    Member,
    Leaving { id: u32 },
}

impl Membership {
    pub(super) fn new(name: ObjectName, start: Start, is_watching: bool) -> Self {
        Self {
            name,
            start,
            is_wanted: true,
            is_watching,
            presence: None,
            said: None,
            member: None,
            version: None,
            number: None,
            progress: Progress::Apart,
        }
    }

    /// The connection is gone.
    pub(super) fn part(&mut self) {
        self.progress = Progress::Apart;
        self.number = None;
    }

    pub(super) fn is_asked(&self) -> bool {
        matches!(self.progress, Progress::Asked { .. } | Progress::Leaving { .. })
    }

    /// The number of the object, while the client is a member.
    pub(super) fn number(&self) -> Option<u64> {
        self.number.filter(|_| self.progress == Progress::Member)
    }

    /// Nothing is left to ask for.
    pub(super) fn is_settled(&self) -> bool {
        match self.progress {
            Progress::Member => self.is_wanted && self.said == self.presence,
            Progress::Apart => !self.is_wanted,
            Progress::Asked { .. } | Progress::Leaving { .. } => false,
        }
    }

    /// The next request, where there is one to be sent now.
    pub(super) fn ask(&mut self, id: u32) -> Option<ClientMessage> {
        let number = self.number();
        match (self.progress, number) {
            (Progress::Apart, _) if self.is_wanted => {
                self.progress = Progress::Asked { id, from: self.start };
                self.said.clone_from(&self.presence);
                let watch = match self.version {
                    _ if !self.is_watching => Watch::None,
                    Some(version) => Watch::Since(version),
                    None => Watch::Roster,
                };
                let join = Join::new(id, self.name.clone(), self.start);
                let presence = self.presence.clone();
                let member = self.member.filter(|_| presence.is_some());
                Some(ClientMessage::Join(Join { presence, watch, member, ..join }))
            }
            (Progress::Member, Some(object)) if !self.is_wanted => {
                self.progress = Progress::Leaving { id };
                Some(ClientMessage::Leave(Leave { id, object }))
            }
            (Progress::Member, Some(object)) if self.said != self.presence => {
                self.said.clone_from(&self.presence);
                let data = self.presence.clone();
                Some(ClientMessage::PresenceSet(PresenceSet { id, object, data }))
            }
            _ => None,
        }
    }

    /// Takes the reply to a join.
    pub(super) fn joined(&mut self, joined: &Joined) {
        self.progress = Progress::Member;
        self.number = Some(joined.object);
        self.member = Some(joined.member);
        self.start = Start::After(Position { epoch: joined.epoch, offset: joined.from });
    }

    /// Takes the reply to a leave. Who has left comes back as another member.
    pub(super) fn left(&mut self) {
        self.progress = Progress::Apart;
        self.member = None;
    }

    pub(super) fn advance(&mut self, offset: u64) {
        if let Start::After(position) = &mut self.start {
            position.offset = offset;
        }
    }
}
