//! What one who watches knows of a roster, and how messages change it. Judges a message only by what is known already.

use std::collections::{BTreeMap, BTreeSet};

use dormouse_protocol::{Payload, Presence, Roster};

/// Who is here, by number: whose connection it is, and what it says.
pub(crate) type Here = BTreeMap<u64, (Box<str>, Payload)>;

/// What is known of a roster at one version. Who only counts does not know who is here.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct View {
    pub(crate) version: u64,
    pub(crate) members: u32,
    pub(crate) users: u32,
    pub(crate) here: Option<Here>,
}

/// Takes a roster, or what has changed since the one that is known.
pub(crate) fn look(view: Option<View>, roster: &Roster, counts: bool) -> Result<View, String> {
    if (roster.more && !counts) || view.as_ref().is_some_and(|view| view.version > roster.version) {
        return Err(format!("{roster:?} is a part, or older than what is known"));
    }
    let mut here = match (roster.since, view) {
        (None, _) => Here::new(),
        (Some(since), Some(View { version, here: Some(here), .. })) if version == since => here,
        (_, view) => return Err(format!("{roster:?} does not lead on from {view:?}")),
    };
    for member in &roster.left {
        // It may have come and gone since.
        here.remove(member);
    }
    for present in &roster.present {
        here.insert(present.member, (present.user.clone(), present.data.clone()));
    }
    let (version, members, users) = (roster.version, roster.members, roster.users);
    View { version, members, users, here: (!counts).then_some(here) }.counted()
}

/// Takes the changes from one version to the next.
pub(crate) fn hear(view: Option<View>, changes: &Presence, counts: bool) -> Result<View, String> {
    let mut here = match view {
        Some(View { version, here, .. }) if version + 1 == changes.version => here,
        other => return Err(format!("{changes:?} does not follow {other:?}")),
    };
    let Presence { version, members, users, join, update, leave, .. } = changes;
    if (join.is_empty() && update.is_empty() && leave.is_empty()) != counts {
        return Err(format!("{changes:?} says too little or too much"));
    }
    if let Some(here) = &mut here {
        for arrival in join {
            if arrival.first != is_away(here, &arrival.user) {
                return Err(format!("{arrival:?} is wrong about the first one"));
            }
            let seen = (arrival.user.clone(), arrival.data.clone());
            if here.insert(arrival.member, seen).is_some() {
                return Err(format!("{arrival:?} was here"));
            }
        }
        for update in update {
            match here.get_mut(&update.member) {
                Some(seen) if seen.1 != update.data => seen.1 = update.data.clone(),
                other => return Err(format!("{update:?} of {other:?}")),
            }
        }
        for gone in leave {
            let seen = here.remove(&gone.member);
            if seen.is_none_or(|(user, _)| user != gone.user) {
                return Err(format!("{gone:?} was not here"));
            }
            if gone.last != is_away(here, &gone.user) {
                return Err(format!("{gone:?} is wrong about the last one"));
            }
        }
    }
    View { version: *version, members: *members, users: *users, here }.counted()
}

impl View {
    /// Whether it may be the same version of a roster; what only the other one knows is known from now on.
    pub(crate) fn agrees(&mut self, other: &Self) -> bool {
        if self.here.is_none() {
            self.here.clone_from(&other.here);
        }
        (self.members, self.users) == (other.members, other.users)
            && (other.here.is_none() || self.here == other.here)
    }

    /// What a whole roster says.
    pub(crate) fn of(roster: &Roster) -> Result<Self, String> {
        look(None, roster, false)
    }

    /// The same, if its numbers are right.
    fn counted(self) -> Result<Self, String> {
        if let Some(here) = &self.here {
            let users: BTreeSet<_> = here.values().map(|(user, _)| user).collect();
            if (here.len(), users.len()) != (self.members as usize, self.users as usize) {
                return Err(format!("{self:?} has wrong numbers"));
            }
        }
        Ok(self)
    }
}

fn is_away(here: &Here, user: &str) -> bool {
    here.values().all(|(other, _)| **other != *user)
}
