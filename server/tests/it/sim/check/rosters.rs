//! Promise 8: everybody who watches a room sees the same roster at the same version, nobody goes who has not gone, and at the end
//! it has exactly those who are here.

use std::collections::{HashMap, HashSet};

use dormouse_protocol::{ClientMessage, ServerMessage, Watch};

use super::Talk;
use super::view::{View, hear, look};
use crate::sim::history::{Connection, Diary, End, History, Line};

pub(super) fn check(history: &History, wrong: &mut Vec<String>) {
    let endings = endings(history);
    let mut versions = Versions::new();
    for (name, room) in &history.rooms {
        match View::of(&room.roster) {
            Ok(view) => agree(&mut versions, name, &view, wrong),
            Err(what) => wrong.push(what),
        }
    }
    for diary in &history.clients {
        let mut watcher = Watcher {
            history,
            diary,
            endings: &endings,
            versions: &mut versions,
            views: HashMap::new(),
            entered: HashSet::new(),
            wrong,
        };
        for connection in &diary.connections {
            watcher.watch(connection, &Talk::of(connection));
        }
    }
    check_places(history, &endings, wrong);
}

/// The numbers of members who were taken out of a roster by their clients, as far as those asked for it.
fn endings(history: &History) -> HashSet<u64> {
    let mut endings = HashSet::new();
    for connection in history.clients.iter().flat_map(|diary| &diary.connections) {
        let mut members = HashMap::new();
        for line in &connection.lines {
            let object = match line {
                Line::Got(ServerMessage::Joined(joined)) => {
                    members.insert(joined.object, joined.member);
                    continue;
                }
                Line::Sent(ClientMessage::Leave(leave)) => leave.object,
                Line::Sent(ClientMessage::PresenceSet(set)) if set.data.is_none() => set.object,
                _ => continue,
            };
            endings.extend(members.get(&object));
        }
        if connection.end == End::Closed {
            endings.extend(members.into_values());
        }
    }
    endings
}

type Versions<'a> = HashMap<(&'a str, u64), View>;

/// All who know a version know the same of it.
fn agree<'a>(versions: &mut Versions<'a>, name: &'a str, view: &View, wrong: &mut Vec<String>) {
    let known = versions.entry((name, view.version)).or_insert_with(|| view.clone());
    if !known.agrees(view) {
        wrong.push(format!("{name} has two rosters of one version: {known:?} and {view:?}"));
    }
}

/// One client.
struct Watcher<'a, 'b> {
    history: &'a History,
    diary: &'a Diary,
    endings: &'b HashSet<u64>,
    versions: &'b mut Versions<'a>,
    views: HashMap<&'a str, View>,
    /// Its numbers that came into a roster, for all it was told.
    entered: HashSet<u64>,
    wrong: &'b mut Vec<String>,
}

impl<'a> Watcher<'a, '_> {
    fn watch(&mut self, connection: &'a Connection, talk: &Talk<'a>) {
        let mut numbers: HashMap<u64, u64> = HashMap::new();
        // What is watched, and whether it was seen yet.
        let mut watched: HashMap<u64, (Watch, bool)> = HashMap::new();
        for line in &connection.lines {
            let Line::Got(message) = line else { continue };
            match message {
                ServerMessage::Joined(joined) => {
                    let Some(ClientMessage::Join(join)) = talk.requests.get(&joined.id) else {
                        continue;
                    };
                    watched.insert(joined.object, (join.watch, false));
                    let is_in = |member: &u64| {
                        self.entered.contains(member) && !self.endings.contains(member)
                    };
                    let kept = join.member.filter(is_in);
                    numbers.insert(joined.object, joined.member);
                    if join.presence.is_some() {
                        self.entered.insert(joined.member);
                    }
                    if kept.is_some_and(|member| member != joined.member) {
                        self.note(&format!("{join:?} comes back as {joined:?}"));
                    }
                }
                ServerMessage::Done(done) => match talk.requests.get(&done.id) {
                    Some(ClientMessage::Leave(leave)) => _ = watched.remove(&leave.object),
                    Some(ClientMessage::PresenceSet(set)) => {
                        self.entered.extend(numbers.get(&set.object));
                    }
                    _ => {}
                },
                ServerMessage::Roster(roster) if roster.id.is_none() => {
                    let Some((watch, is_seen)) = watched.get_mut(&roster.object) else {
                        self.note(&format!("{roster:?} of no membership"));
                        continue;
                    };
                    *is_seen = true;
                    let (watch, name) = (*watch, talk.names[&roster.object]);
                    self.see(name, watch, |view, counts| look(view, roster, counts));
                    roster.left.iter().for_each(|member| self.goes(*member));
                }
                ServerMessage::Roster(roster) => {
                    let Some(name) = talk.names.get(&roster.object) else { continue };
                    match View::of(roster) {
                        Ok(view) => agree(self.versions, name, &view, self.wrong),
                        Err(what) => self.note(&what),
                    }
                }
                ServerMessage::Presence(changes) => {
                    let Some((watch, true)) = watched.get(&changes.object) else {
                        self.note(&format!("{changes:?} before a roster"));
                        continue;
                    };
                    let name = talk.names[&changes.object];
                    self.see(name, *watch, |view, counts| hear(view, changes, counts));
                    changes.leave.iter().for_each(|gone| self.goes(gone.member));
                }
                _ => {}
            }
        }
        if connection.end == End::Lived {
            for (object, (watch, is_seen)) in watched {
                let name = talk.names[&object];
                let goal = self.history.rooms[name].version;
                let view = self.views.get(name).filter(|_| is_seen);
                let is_there = view.is_some_and(|view| view.version >= goal);
                if watch != Watch::None && !is_there {
                    self.note(&format!("it does not see version {goal} of the roster of {name}"));
                }
            }
        }
    }

    /// Changes what it knows of a roster, and compares.
    fn see(
        &mut self,
        name: &'a str,
        watch: Watch,
        change: impl FnOnce(Option<View>, bool) -> Result<View, String>,
    ) {
        if watch == Watch::None {
            return self.note(&format!("it is told of {name}, which it does not watch"));
        }
        match change(self.views.remove(name), watch == Watch::Count) {
            Ok(view) => {
                agree(self.versions, name, &view, self.wrong);
                self.views.insert(name, view);
            }
            Err(what) => self.note(&format!("{name}: {what}")),
        }
    }

    /// Somebody has gone: then he said so, since nobody stays away for longer than the grace period.
    fn goes(&mut self, member: u64) {
        if !self.endings.contains(&member) {
            self.note(&format!("{member} goes, whose client did not"));
        }
    }

    fn note(&mut self, what: &str) {
        self.wrong.push(format!("{}: {what}", self.diary.session));
    }
}

/// At the end exactly those are here who should be.
fn check_places(history: &History, endings: &HashSet<u64>, wrong: &mut Vec<String>) {
    let ghosts: HashSet<&str> = history
        .clients
        .iter()
        .filter(|diary| diary.connections.iter().any(|talk| may_linger(talk, endings)))
        .map(|diary| &*diary.session)
        .collect();
    let mut places = HashMap::new();
    for place in history.clients.iter().flat_map(|diary| &diary.places) {
        let here = history.rooms[&place.room].roster.present.iter();
        let is_here = |p: &&dormouse_protocol::Present| {
            p.member == place.member && *p.user == *place.user && p.data == place.data
        };
        if here.filter(is_here).count() != 1 {
            wrong.push(format!("{place:?} is not in the roster"));
        }
        places.insert((&*place.room, place.member), place);
    }
    for (name, room) in &history.rooms {
        for present in &room.roster.present {
            let is_known = places.contains_key(&(&**name, present.member));
            if !is_known && !ghosts.contains(&*present.user) {
                wrong.push(format!("{name} has {present:?}, who is not here"));
            }
        }
    }
}

/// Whether the client can't know under which number it is in a roster, or whether it still is: it asked to come or to go, and
/// its connection broke before the answer. Then an entry stays for the grace period, and nobody is wrong.
fn may_linger(connection: &Connection, endings: &HashSet<u64>) -> bool {
    let talk = Talk::of(connection);
    let unanswered = talk.requests.iter().filter(|(id, _)| !talk.replies.contains_key(id));
    let mut unanswered = unanswered.map(|(_, request)| request);
    connection.end == End::Closed
        || unanswered.any(|request| match request {
            ClientMessage::Join(join) => {
                join.presence.is_some() && join.member.is_none_or(|m| endings.contains(&m))
            }
            ClientMessage::Leave(_) | ClientMessage::PresenceSet(_) => true,
            _ => false,
        })
}
