//! Visitors come, join one object, do this and that, and go in all the ways in which one can go; some come back to where they were.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use dormouse_protocol::{
    ClientMessage, Encoding, History, HistoryPage, Join, Key, Kind, Leave, Payload, Position,
    PresenceGet, PresenceSet, Publish, ServerMessage, Start, Watch,
};
use tokio::time::Instant;

use super::checked_client::CheckedClient;
use super::faults::Fault;
use super::oracle::Reader;
use super::stage::{GRACE, HOT, Stage, random};

/// One of so many visits is the last one to an object.
const MOVES_ON: u32 = 4;

/// Someone who comes and goes.
pub(super) struct Visitor {
    stage: Arc<Stage>,
    /// As a publisher, and as who sends signals.
    number: u32,
    encoding: Encoding,
    visits: u32,
    sequence: u32,
    remembered: Option<Remembered>,
}

/// What is left of the last visit.
struct Remembered {
    token: Box<str>,
    reader: Reader,
    epoch: u32,
    /// The membership that it had in the roster, and when it went, if it went without a word.
    place: Option<(u64, Instant)>,
}

/// How a visit ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parting {
    Leave,
    Close,
    Cut,
}

impl Visitor {
    pub(super) fn new(stage: Arc<Stage>, number: u32, encoding: Encoding) -> Self {
        Self { stage, number, encoding, visits: 0, sequence: 0, remembered: None }
    }

    /// Comes and goes until the run is over.
    pub(super) async fn run(mut self) {
        self.stage.pause(0.0..2.0).await;
        while self.stage.is_running() {
            let remembered = self.remembered.take();
            match self.visit(remembered).await {
                Ok(remembered) => self.remembered = remembered,
                Err(why) => {
                    let number = self.number;
                    self.stage
                        .fault(Fault::Refused, || format!("the visit of {number} failed: {why:#}"));
                }
            }
            match rand::random_range(0..10) {
                0 => self.stage.pause(5.0..12.0).await,
                1..4 => self.stage.pause(1.0..4.0).await,
                _ => self.stage.pause(0.0..1.0).await,
            }
        }
    }

    async fn visit(&mut self, remembered: Option<Remembered>) -> Result<Option<Remembered>> {
        self.visits += 1;
        let token = remembered.as_ref().map(|remembered| remembered.token.clone());
        let mut client =
            CheckedClient::connect(&self.stage, token.as_deref(), self.encoding, None).await?;
        let has_presence = rand::random_range(0..3) > 0;
        let (reader, start, place) = self.arrival(remembered);
        let object = reader.object();
        let presence = has_presence.then(|| Payload::of(&self.number)).transpose()?;
        let watch = match rand::random_range(0..4) {
            0 | 1 => Watch::Roster,
            2 => Watch::Count,
            _ => Watch::None,
        };
        let name = self.stage.name(object).clone();
        let mut join = Join::new(0, name, start);
        (join.presence, join.watch, join.member) =
            (presence, watch, place.map(|(member, _)| member));
        let joined = client.join(reader, join).await?;
        if let Some((member, gone)) = place.filter(|_| has_presence) {
            self.check_place(member, gone, joined.member);
        }

        for nth in 0..rand::random_range(1..6) {
            client.listen(Instant::now() + random(0.0..0.5)).await?;
            self.act(&mut client, object, nth + 1).await?;
        }
        let parting = match rand::random_range(0..4) {
            0 => Parting::Leave,
            1 => Parting::Close,
            _ => Parting::Cut,
        };
        if parting == Parting::Leave {
            client.request(|id, object| ClientMessage::Leave(Leave { id, object })).await?;
        }
        let token = client.welcome.token.clone();
        let (reader, epoch) = client.take_reader().context("nothing was joined")?;
        match parting {
            Parting::Cut => drop(client),
            // What comes before the end is nobody's any more.
            Parting::Leave | Parting::Close => client.close().await?,
        }
        if rand::random_range(0..MOVES_ON) == 0 {
            return Ok(None);
        }
        let stays = has_presence && parting == Parting::Cut;
        let place = stays.then(|| (joined.member, Instant::now()));
        Ok(Some(Remembered { token, reader, epoch, place }))
    }

    /// Where to go, and from which place of the log.
    fn arrival(&self, remembered: Option<Remembered>) -> (Reader, Start, Option<(u64, Instant)>) {
        if let Some(Remembered { reader, epoch, place, .. }) = remembered {
            let offset = reader.last().unwrap_or_default();
            return (reader, Start::After(Position { epoch, offset }), place);
        }
        let start = match rand::random_range(0..3) {
            0 => Start::All,
            1 => Start::Last(rand::random_range(0..50)),
            _ => Start::Now,
        };
        (Reader::new(self.stage.any_object()), start, None)
    }

    /// Within the grace period a member gets its place back.
    fn check_place(&self, before: u64, gone: Instant, now: u64) {
        let mut oracle = self.stage.oracle();
        oracle.counts.returns += u64::from(before == now);
        // The server reckons from when it noticed: later than that.
        if before != now && gone.elapsed() < GRACE {
            oracle.faults.add(Fault::Presence, || {
                format!("{before} came back after {:?} and is {now}", gone.elapsed())
            });
        }
    }

    async fn act(&mut self, client: &mut CheckedClient, object: usize, nth: u32) -> Result<()> {
        match rand::random_range(0..8) {
            0 => self.publish(client, object).await,
            1 => self.history(client, object).await,
            2 => {
                let ask = |id, object| {
                    let (since, after, limit) = (None, None, Some(50));
                    ClientMessage::PresenceGet(PresenceGet { id, object, since, after, limit })
                };
                let ServerMessage::Roster(_) = client.request(ask).await? else {
                    bail!("a roster was asked for, and something else came");
                };
                self.stage.oracle().counts.reads += 1;
                Ok(())
            }
            3 => {
                let data = Some(Payload::of(&(self.number, nth))?);
                let set = |id, object| ClientMessage::PresenceSet(PresenceSet { id, object, data });
                client.request(set).await.map(drop)
            }
            _ => {
                let data = Payload::of(&[self.number, self.visits, nth])?;
                let key = rand::random::<bool>().then(|| "cursor".parse::<Key>()).transpose()?;
                client.signal(data, key);
                Ok(())
            }
        }
    }

    /// Waits for the acknowledgement: what is sent again later would be another event.
    async fn publish(&mut self, client: &mut CheckedClient, object: usize) -> Result<()> {
        self.sequence += 1;
        let (number, sequence) = (self.number, self.sequence);
        let text = self.stage.oracle().payload(usize::from(object >= HOT), number, sequence);
        let data = Payload::of(&text)?;
        let key = Some(format!("{number}-{sequence}").parse::<Key>()?);
        let publish = |id, object| {
            ClientMessage::Publish(Publish {
                id,
                object,
                kind: Kind::default(),
                data,
                key,
                after: None,
            })
        };
        let ServerMessage::Published(published) = client.request(publish).await? else {
            bail!("a publish was answered with something else");
        };
        ensure!(!published.duplicate, "a publish that was never sent before is a duplicate");
        let time = Some(published.time);
        self.stage.oracle().published(object, published.offset, time, (number, sequence));
        Ok(())
    }

    /// The end of the log, backwards.
    async fn history(&mut self, client: &mut CheckedClient, object: usize) -> Result<()> {
        let ask = |id, object| {
            let (after, before, limit) = (None, None, Some(20));
            ClientMessage::History(History { id, object, after, before, limit, reverse: true })
        };
        let ServerMessage::History(HistoryPage { events, .. }) = client.request(ask).await? else {
            bail!("history was asked for, and something else came");
        };
        let mut oracle = self.stage.oracle();
        oracle.counts.reads += 1;
        if !events.is_sorted_by(|later, earlier| later.offset == earlier.offset + 1) {
            oracle.faults.add(Fault::Misplaced, || format!("object {object}: a page with holes"));
        }
        for event in &events {
            oracle.read(object, event);
        }
        Ok(())
    }
}
