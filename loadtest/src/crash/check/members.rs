//! Promises 2 and 5 for those who read: from where it joined, every member gets every event of the log once and in order, over all
//! its connections.

use std::collections::HashMap;

use dormouse_protocol::{HistoryPage, Joined, Position, ResetReason, Start};

use super::{Breach, ClientId, Fault, Room, Violations};

/// Where all members stand.
#[derive(Default)]
pub(super) struct Members(HashMap<(ClientId, Room), Member>);

/// What a client has of an object.
#[derive(Default)]
struct Member {
    position: u64,
    is_member: bool,
}

impl Members {
    pub(super) fn joined(
        &mut self,
        client: ClientId,
        room: Room,
        asked: Start,
        joined: &Joined,
        out: &mut Violations,
    ) {
        let before = self.0.get(&(client, room)).map(|member| member.position);
        let Joined { head, from, .. } = *joined;
        let is_right = match asked {
            Start::Now => from == head,
            Start::All => from == 0,
            Start::Last(count) => from == head.saturating_sub(count.into()),
            Start::After(position) => {
                from == position.offset && from <= head && before == Some(position.offset)
            }
        };
        if !is_right || joined.resumed != matches!(asked, Start::After(_)) {
            let what = format!("{asked:?} by one that has {before:?} is answered with {joined:?}");
            out.add(Fault::new(Breach::Hole, what).room(room).offset(from).client(client));
        }
        self.0.insert((client, room), Member { position: from, is_member: true });
    }

    pub(super) fn reset(
        &mut self,
        client: ClientId,
        room: Room,
        reason: ResetReason,
        at: Position,
        out: &mut Violations,
    ) {
        let member = self.0.entry((client, room)).or_default();
        let what = format!("{reason:?}, it has {} events", member.position);
        out.add(Fault::new(Breach::Reset, what).room(room).offset(at.offset).client(client));
        *member = Member { position: at.offset, is_member: true };
    }

    pub(super) fn left(&mut self, client: ClientId, room: Room) {
        self.0.entry((client, room)).or_default().is_member = false;
    }

    pub(super) fn is_member(&self, client: ClientId, room: Room) -> bool {
        self.0.get(&(client, room)).is_some_and(|member| member.is_member)
    }

    pub(super) fn event(
        &mut self,
        client: ClientId,
        room: Room,
        offset: u64,
        out: &mut Violations,
    ) {
        let member = self.0.entry((client, room)).or_default();
        let fault =
            |breach, what| Fault::new(breach, what).room(room).offset(offset).client(client);
        if !member.is_member {
            out.add(fault(Breach::Hole, "an event reaches a client that has left".to_owned()));
        }
        let position = std::mem::replace(&mut member.position, offset);
        if offset <= position {
            out.add(fault(Breach::Repeated, format!("it comes after {position}")));
        } else if offset != position + 1 {
            out.add(fault(Breach::Hole, format!("it comes after {position}")));
        }
    }

    pub(super) fn caught_up(
        &mut self,
        client: ClientId,
        room: Room,
        offset: u64,
        out: &mut Violations,
    ) {
        let position = self.0.entry((client, room)).or_default().position;
        if position != offset {
            let what = format!("it is said to have caught up here, and has {position} events");
            out.add(Fault::new(Breach::Hole, what).room(room).offset(offset).client(client));
        }
    }

    /// A page of events after an offset.
    pub(super) fn page(
        client: ClientId,
        room: Room,
        after: u64,
        page: &HistoryPage,
        out: &mut Violations,
    ) {
        for (event, offset) in page.events.iter().zip(after + 1..) {
            if event.offset != offset {
                let what = format!("a page after {after} has offset {} here", event.offset);
                let fault = Fault::new(Breach::Hole, what).room(room).client(client);
                return out.add(fault.offset(offset));
            }
        }
    }

    /// Which of these clients have not come to these ends, and what they have.
    pub(super) fn behind(&self, clients: &[ClientId], heads: &[u64]) -> Vec<(ClientId, Room, u64)> {
        let mut behind = Vec::new();
        for (room, head) in heads.iter().enumerate() {
            for client in clients {
                let member = self.0.get(&(*client, Room(room)));
                let position = member.map_or(0, |member| member.position);
                if position != *head {
                    behind.push((*client, Room(room), position));
                }
            }
        }
        behind
    }
}
