//! Promise 8: what a client that watches is told of a roster makes sense, is the same for everybody at one version, and at the end
//! it is who is there.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use dormouse_protocol::{Payload, Presence, Roster};

use super::{Breach, ClientId, Fault, Room, Violations};

/// What everybody sees.
#[derive(Default)]
pub(super) struct Rosters {
    views: HashMap<(ClientId, Room), View>,
    /// A hash of what a version says.
    versions: HashMap<(Room, u64), u64>,
}

/// Who is here, by number: whose connection it is, and what it says.
type Here = BTreeMap<u64, (Box<str>, Payload)>;

/// A roster, as one client knows it.
#[derive(Default)]
struct View {
    version: u64,
    here: Here,
}

/// An entry that has to be in a roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::crash) struct Place {
    pub(in crate::crash) room: Room,
    pub(in crate::crash) member: u64,
    pub(in crate::crash) session: Box<str>,
    pub(in crate::crash) data: Payload,
}

impl Rosters {
    pub(super) fn roster(
        &mut self,
        client: ClientId,
        room: Room,
        roster: &Roster,
        out: &mut Violations,
    ) {
        let view = self.views.entry((client, room)).or_default();
        if roster.version < view.version || roster.more {
            let what = format!("{roster:?} is older than {}, or a part", view.version);
            out.add(Fault::new(Breach::Roster, what).room(room).client(client));
        }
        match roster.since {
            None => view.here.clear(),
            Some(since) if since == view.version => {}
            Some(_) => {
                let what = format!("{roster:?} does not lead on from {}", view.version);
                out.add(Fault::new(Breach::Roster, what).room(room).client(client));
            }
        }
        // Somebody may have come and gone since.
        view.here.retain(|member, _| !roster.left.contains(member));
        for present in &roster.present {
            view.here.insert(present.member, (present.user.clone(), present.data.clone()));
        }
        view.version = roster.version;
        self.agree(client, room, roster.members, out);
    }

    pub(super) fn presence(
        &mut self,
        client: ClientId,
        room: Room,
        changes: &Presence,
        out: &mut Violations,
    ) {
        let view = self.views.entry((client, room)).or_default();
        let mut is_wrong = changes.version != view.version + 1;
        for arrival in &changes.join {
            let seen = (arrival.user.clone(), arrival.data.clone());
            is_wrong |= view.here.insert(arrival.member, seen).is_some();
        }
        for update in &changes.update {
            match view.here.get_mut(&update.member) {
                Some(seen) => seen.1 = update.data.clone(),
                None => is_wrong = true,
            }
        }
        for gone in &changes.leave {
            let seen = view.here.remove(&gone.member);
            is_wrong |= seen.is_none_or(|(user, _)| user != gone.user);
        }
        if is_wrong {
            let what = format!("{changes:?} does not lead on from version {}", view.version);
            out.add(Fault::new(Breach::Roster, what).room(room).client(client));
        }
        view.version = changes.version;
        self.agree(client, room, changes.members, out);
    }

    /// The number that was told is right, and all who know a version know the same of it.
    fn agree(&mut self, client: ClientId, room: Room, members: u32, out: &mut Violations) {
        let View { version, here } = &self.views[&(client, room)];
        if here.len() != members as usize {
            let what = format!("version {version} is said to have {members}, and has {here:?}");
            out.add(Fault::new(Breach::Roster, what).room(room).client(client));
        }
        let mut hasher = DefaultHasher::new();
        for (member, (user, data)) in here {
            (member, user, data.as_msgpack()).hash(&mut hasher);
        }
        let hash = hasher.finish();
        if *self.versions.entry((room, *version)).or_insert(hash) != hash {
            let what = format!("version {version} was another one for others than {here:?}");
            out.add(Fault::new(Breach::Roster, what).room(room).client(client));
        }
    }

    /// Who sees something else than these places, and what is wrong with it.
    pub(super) fn wrong_views(
        &self,
        clients: &[ClientId],
        places: &[Place],
    ) -> Vec<(ClientId, Room, String)> {
        let mut wrong = Vec::new();
        let mut views: Vec<_> = self.views.iter().collect();
        views.sort_unstable_by_key(|(who, _)| **who);
        for ((client, room), View { version, here }) in views {
            if !clients.contains(client) {
                continue;
            }
            let places: Vec<&Place> = places.iter().filter(|place| place.room == *room).collect();
            let is_seen = |place: &Place| {
                let seen = here.get(&place.member);
                seen.is_some_and(|(user, data)| *user == place.session && *data == place.data)
            };
            let mut note = |what: String| {
                wrong.push((*client, *room, format!("version {version} of the roster {what}")));
            };
            for place in places.iter().filter(|place| !is_seen(place)) {
                let seen = here.get(&place.member);
                note(format!("has {seen:?} where {place:?} should be"));
            }
            for (member, seen) in here {
                if !places.iter().any(|place| place.member == *member) {
                    note(format!("has member {member}, {seen:?}, who is not there"));
                }
            }
        }
        wrong
    }
}
