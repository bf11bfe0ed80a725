//! A member of one object over one connection, whoever it is: everything that it receives is checked, whatever it waits for.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use dormouse_protocol::{
    ClientMessage, Encoding, Join, Joined, Payload, ServerMessage, Signal, Signals, Start, Welcome,
};
use tokio::time::{Instant, timeout_at};

use super::faults::Fault;
use super::oracle::Reader;
use super::roster::Watched;
use super::stage::{Stage, now_ms};
use crate::link::Link;

/// A connection.
pub(super) struct CheckedClient {
    stage: Arc<Stage>,
    link: Link,
    pub(super) welcome: Welcome,
    last_id: u32,
    seat: Option<Seat>,
}

/// What a client has joined.
struct Seat {
    number: u64,
    reader: Reader,
    start: Start,
    epoch: u32,
    watched: Watched,
    /// Of every sender its latest visit and the last signals in it: without and with a key.
    signals: HashMap<u32, (u32, [u32; 2])>,
}

impl CheckedClient {
    /// Connects, with the token of an earlier session to continue it. Some have a receive buffer of so many bytes.
    pub(super) async fn connect(
        stage: &Arc<Stage>,
        token: Option<&str>,
        encoding: Encoding,
        receive_buffer: Option<u32>,
    ) -> Result<Self> {
        let query = token.map(|token| format!("?session={token}")).unwrap_or_default();
        let url = format!("{}/v1/connect{query}", stage.url);
        let mut link = match receive_buffer {
            None => Link::connect(url, encoding).await?,
            Some(bytes) => Link::connect_narrow(url, stage.address, encoding, bytes).await?,
        };
        let ServerMessage::Welcome(welcome) = link.receive().await? else {
            bail!("the first message is no welcome");
        };
        stage.oracle().counts.connects += 1;
        Ok(Self { stage: stage.clone(), link, welcome, last_id: 0, seat: None })
    }

    /// Joins an object and gives the reply.
    pub(super) async fn join(&mut self, reader: Reader, join: Join) -> Result<Joined> {
        self.seat = Some(Seat {
            number: 0,
            reader,
            start: join.from,
            epoch: 0,
            watched: Watched::new(join.watch),
            signals: HashMap::new(),
        });
        match self.request(|id, _| ClientMessage::Join(Join { id, ..join })).await? {
            ServerMessage::Joined(joined) => Ok(joined),
            other => bail!("a join was answered {other:?}"),
        }
    }

    /// The reader and the epoch of what it has joined, which it leaves behind.
    pub(super) fn take_reader(&mut self) -> Option<(Reader, u32)> {
        self.seat.take().map(|seat| (seat.reader, seat.epoch))
    }

    /// Whether it has every event that anybody was told of.
    pub(super) fn is_complete(&self) -> bool {
        self.seat.as_ref().is_some_and(|seat| seat.reader.is_complete(&self.stage.oracle()))
    }

    /// Sends a request, given its id and the object's number, and waits for its reply.
    pub(super) async fn request(
        &mut self,
        request: impl FnOnce(u32, u64) -> ClientMessage,
    ) -> Result<ServerMessage> {
        self.last_id += 1;
        let (id, number) = (self.last_id, self.seat.as_ref().map_or(0, |seat| seat.number));
        self.link.send(&request(id, number));
        loop {
            let message = self.link.receive().await?;
            self.take(&message)?;
            match &message {
                ServerMessage::Error(error) => bail!("refused: {error:?}"),
                message if id_of(message) == Some(id) => {}
                _ => continue,
            }
            return Ok(message);
        }
    }

    /// Sends a signal without waiting for anything.
    pub(super) fn signal(&mut self, data: Payload, key: Option<dormouse_protocol::Key>) {
        let object = self.seat.as_ref().map_or(0, |seat| seat.number);
        self.link.send(&ClientMessage::Signal(Signal { id: None, object, data, key }));
    }

    /// Takes what comes, until then.
    pub(super) async fn listen(&mut self, until: Instant) -> Result<()> {
        while let Ok(message) = timeout_at(until, self.link.receive()).await {
            self.take(&message?)?;
        }
        Ok(())
    }

    /// Closes the connection as clients do.
    pub(super) async fn close(self) -> Result<()> {
        let Self { link, .. } = self;
        Ok(link.close().await?)
    }

    fn take(&mut self, message: &ServerMessage) -> Result<()> {
        let mut oracle = self.stage.oracle();
        let oracle = &mut *oracle;
        let seat = self.seat.as_mut();
        match message {
            ServerMessage::Joined(joined) => {
                let seat = seat.context("joined, without having asked")?;
                seat.number = joined.object;
                seat.epoch = joined.epoch;
                seat.reader.joined(oracle, joined, seat.start, now_ms());
            }
            ServerMessage::Events(events) => {
                of(seat, events.object)?.reader.events(oracle, &events.events);
            }
            ServerMessage::CaughtUp(caught_up) => {
                of(seat, caught_up.object)?.reader.caught_up(oracle, caught_up.offset);
            }
            ServerMessage::Reset(reset) => {
                of(seat, reset.object)?.reader.reset(oracle, reset.from, now_ms());
            }
            ServerMessage::Roster(roster) if roster.id.is_none() => {
                let seat = of(seat, roster.object)?;
                oracle.counts.presence += 1;
                if let Err(why) = seat.watched.roster(roster) {
                    oracle.faults.add(Fault::Presence, || format!("{why:#}"));
                }
            }
            ServerMessage::Presence(presence) => {
                let seat = of(seat, presence.object)?;
                oracle.counts.presence += 1;
                if let Err(why) = seat.watched.presence(presence) {
                    oracle.faults.add(Fault::Presence, || format!("{why:#}"));
                }
            }
            ServerMessage::Signals(signals) => {
                let seat = of(seat, signals.object)?;
                oracle.counts.signals += signals.signals.len() as u64;
                if let Err(why) = seat.signals(signals) {
                    oracle.faults.add(Fault::Signal, || format!("{why:#}"));
                }
            }
            ServerMessage::Removed(removed) => bail!("the server ended a membership: {removed:?}"),
            ServerMessage::Welcome(_)
            | ServerMessage::TokenExpiring(_)
            | ServerMessage::Published(_)
            | ServerMessage::History(_)
            | ServerMessage::Roster(_)
            | ServerMessage::Done(_)
            | ServerMessage::Error(_) => {}
        }
        Ok(())
    }
}

impl Seat {
    /// Signals can be lost, but of one sender's visit they come in its order, those with the key and those without it.
    fn signals(&mut self, signals: &Signals) -> Result<()> {
        for signal in &signals.signals {
            let [sender, visit, nth] = signal.data.read::<[u32; 3]>().context("nobody's signal")?;
            let known = self.signals.entry(sender).or_insert((visit, [0; 2]));
            if known.0 < visit {
                *known = (visit, [0; 2]);
            }
            let last = &mut known.1[usize::from(signal.key.is_some())];
            // Of earlier visits some may still be on their way, over another connection.
            if known.0 == visit && std::mem::replace(last, nth) >= nth {
                bail!("a signal of {sender} came again or late: {nth}");
            }
        }
        Ok(())
    }
}

/// After the reply to a `leave` nothing of the object may follow, and nothing of others ever.
fn of(seat: Option<&mut Seat>, number: u64) -> Result<&mut Seat> {
    let seat = seat.filter(|seat| seat.number == number);
    seat.with_context(|| format!("something of object {number}, which was not joined"))
}

fn id_of(message: &ServerMessage) -> Option<u32> {
    match message {
        ServerMessage::Joined(joined) => Some(joined.id),
        ServerMessage::Published(published) => Some(published.id),
        ServerMessage::History(page) => Some(page.id),
        ServerMessage::Roster(roster) => roster.id,
        ServerMessage::Done(done) => Some(done.id),
        ServerMessage::Welcome(_)
        | ServerMessage::Events(_)
        | ServerMessage::CaughtUp(_)
        | ServerMessage::Reset(_)
        | ServerMessage::Signals(_)
        | ServerMessage::Presence(_)
        | ServerMessage::TokenExpiring(_)
        | ServerMessage::Removed(_)
        | ServerMessage::Error(_) => None,
    }
}
