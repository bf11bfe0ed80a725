//! What a client is told: each message is judged by what it asked, by what it knows, and by what is true.

use dormouse_protocol::{
    ClientMessage, ErrorCode, ErrorReply, Event, PresenceSet, Published, ServerMessage,
};

use super::client::{Around, Client, State};
use super::seat::{Seat, Stage};
use super::truth::{Verdict, ensure};
use super::view::View;

impl Client {
    pub(super) fn take(&mut self, around: &mut Around<'_>, message: &ServerMessage) -> Verdict {
        match message {
            ServerMessage::Welcome(welcome) => {
                ensure!(*welcome.session == *self.session.id, "{welcome:?} to {:?}", self.session);
                Ok(())
            }
            ServerMessage::Joined(joined) => {
                let Some(ClientMessage::Join(join)) = self.waiting.remove(&joined.id) else {
                    return Err(format!("{joined:?} answers nothing"));
                };
                let seat =
                    self.seats.iter_mut().find(|seat| around.rooms[seat.room].name == join.object);
                let seat = seat.ok_or("a room that it did not ask for")?;
                ensure!(seat.stage == Stage::Joining, "{joined:?}, and it is {:?}", seat.stage);
                seat.joined(&around.rooms[seat.room], &join, joined, around.now)
            }
            ServerMessage::Events(events) => {
                for event in &events.events {
                    self.reply_comes_first(event)?;
                }
                let seat = self.seat(events.object)?;
                seat.events(&mut around.rooms[seat.room], events)
            }
            ServerMessage::CaughtUp(caught_up) => self.seat(caught_up.object)?.caught_up(caught_up),
            ServerMessage::Reset(reset) => {
                let seat = self.seat(reset.object)?;
                seat.reset(&around.rooms[seat.room], reset)
            }
            ServerMessage::Published(published) => self.published(around, published),
            ServerMessage::Signals(signals) => self.seat(signals.object)?.signals(signals),
            ServerMessage::History(page) => {
                let Some(ClientMessage::History(asked)) = self.waiting.remove(&page.id) else {
                    return Err(format!("{page:?} answers nothing"));
                };
                let room = self.seat(asked.object)?.room;
                let mut events: Vec<&Event> = page.events.iter().collect();
                if asked.reverse {
                    events.reverse();
                }
                let follows = |pair: &[&Event]| pair[0].offset + 1 == pair[1].offset;
                ensure!(events.windows(2).all(follows), "a page with a hole: {page:?}");
                events.into_iter().try_for_each(|event| around.rooms[room].got(event))
            }
            ServerMessage::Roster(roster) => {
                if let Some(id) = roster.id {
                    let asked = self.waiting.remove(&id);
                    let is_answer = matches!(asked, Some(ClientMessage::PresenceGet(_)));
                    ensure!(is_answer, "{roster:?} answers {asked:?}");
                    let seat = self.seat(roster.object)?;
                    return around.rooms[seat.room].seen(&View::of(roster)?);
                }
                let seat = self.seat(roster.object)?;
                seat.roster(&mut around.rooms[seat.room], roster)
            }
            ServerMessage::Presence(changes) => {
                let seat = self.seat(changes.object)?;
                seat.presence(&mut around.rooms[seat.room], changes)
            }
            ServerMessage::Done(done) => match self.waiting.remove(&done.id) {
                Some(ClientMessage::Leave(leave)) => {
                    self.seat(leave.object)?.left();
                    Ok(())
                }
                Some(ClientMessage::PresenceSet(set)) => {
                    let is_later = |request: &ClientMessage| matches!(request, ClientMessage::PresenceSet(other) if other.object == set.object);
                    let is_last = !self.waiting.values().any(is_later);
                    let entered = self.seat(set.object)?;
                    let is_in = matches!(entered.stage, Stage::In(_)) && set.data.is_some();
                    entered.is_entered |= is_last && is_in;
                    Ok(())
                }
                Some(ClientMessage::Ping(_) | ClientMessage::Signal(_)) => Ok(()),
                other => Err(format!("{done:?} answers {other:?}")),
            },
            ServerMessage::TokenExpiring(_) | ServerMessage::Removed(_) => {
                Err(format!("{message:?}, and there are no tokens"))
            }
            ServerMessage::Error(error) => self.refused(around, error),
        }
    }

    /// The seat in an object, as a member.
    fn seat(&mut self, object: u64) -> Verdict<&mut Seat> {
        let is_meant = |seat: &&mut Seat| matches!(seat.stage, Stage::In(own) | Stage::Leaving(own) if own == object);
        let seat = self.seats.iter_mut().find(is_meant);
        seat.ok_or_else(|| format!("it is told of {object}, where it is no member"))
    }

    fn published(&mut self, around: &mut Around<'_>, published: &Published) -> Verdict {
        let Published { id, offset, time, duplicate } = *published;
        let Some(ClientMessage::Publish(_)) = self.waiting.remove(&id) else {
            return Err(format!("{published:?} answers nothing"));
        };
        let at = self.said.iter().position(|said| said.state == State::Sent(id));
        let at = at.ok_or("it did not say that")?;
        let said = &mut self.said[at];
        around.rooms[said.room].acknowledged(&said.data, offset, time)?;
        // A key is forgotten with its event.
        let is_known = said.first.is_some_and(|first| around.rooms[said.room].keeps(first));
        ensure!(duplicate || !is_known, "{published:?} is new for the second time");
        ensure!(!duplicate || said.sent > 1, "{published:?} was sent once");
        said.first = said.first.or((!duplicate).then_some(offset));
        said.state = State::Stored(offset);
        if said.sent > 1 {
            return Ok(());
        }
        // What one connection publishes is stored in its order. Who sends again may come later.
        let room = said.room;
        let before = self.said[..at].iter().filter(|said| said.room == room && said.sent == 1);
        let disorder = before.filter_map(|said| match said.state {
            State::Stored(before) => Some(before),
            _ => None,
        });
        let disorder = disorder.max().filter(|before| *before >= offset);
        ensure!(disorder.is_none(), "{published:?} was said after what is at {disorder:?}");
        Ok(())
    }

    /// Who publishes is answered before it gets the event, if it asked only once.
    fn reply_comes_first(&self, event: &Event) -> Verdict {
        let own = self.said.iter().find(|said| said.data == event.data);
        let is_early =
            own.is_some_and(|said| said.sent == 1 && matches!(said.state, State::Sent(_)));
        ensure!(!is_early, "{event:?} comes before its reply");
        Ok(())
    }

    fn refused(&mut self, around: &mut Around<'_>, error: &ErrorReply) -> Verdict {
        let asked = error.id.and_then(|id| self.waiting.remove(&id));
        let has_failed = around.machine.has_failed();
        match asked {
            Some(ClientMessage::Publish(publish)) => {
                let said = self.said.iter_mut().find(|said| said.state == State::Sent(publish.id));
                let said = said.ok_or("it did not say that")?;
                let is_true = match error.code {
                    ErrorCode::Overloaded => true,
                    ErrorCode::Unavailable => has_failed,
                    ErrorCode::Internal => around.rooms[said.room].has_crashed,
                    _ => false,
                };
                ensure!(is_true, "{error:?} to {publish:?}");
                said.state = if said.key.is_some() { State::Due } else { State::Lost };
                Ok(())
            }
            Some(request) if error.code == ErrorCode::Overloaded => {
                ensure!(around.machine.was_short(), "{error:?} to {request:?}");
                self.had_no_memory(around, request)
            }
            other => Err(format!("{error:?} to {other:?}")),
        }
    }

    /// There was no memory for a request: what is still wanted is asked for again.
    fn had_no_memory(&mut self, around: &Around<'_>, request: ClientMessage) -> Verdict {
        match request {
            ClientMessage::Join(join) => {
                let is_meant = |seat: &&mut Seat| around.rooms[seat.room].name == join.object;
                let seat = self.seats.iter_mut().find(is_meant);
                let seat = seat.ok_or("a room that it did not ask for")?;
                ensure!(seat.stage == Stage::Joining, "it is {:?}", seat.stage);
                seat.stage = Stage::Wanted;
            }
            ClientMessage::PresenceSet(set) => {
                let is_later = |request: &ClientMessage| matches!(request, ClientMessage::PresenceSet(other) if other.object == set.object);
                let is_last = !self.waiting.values().any(is_later);
                let is_in = self.seats.iter().any(|seat| seat.stage == Stage::In(set.object));
                if is_last && is_in {
                    self.ask(|id| ClientMessage::PresenceSet(PresenceSet { id, ..set }));
                }
            }
            ClientMessage::History(_)
            | ClientMessage::PresenceGet(_)
            | ClientMessage::Signal(_) => {}
            other => return Err(format!("{other:?} needs no memory")),
        }
        Ok(())
    }
}
