//! Long-lived clients follow some objects for the whole run and publish to them. Their connections are cut now and then: they resume, and send
//! again what was not acknowledged, as real clients do.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dormouse_protocol::{Encoding, Key, Kind, Payload, Start};
use tokio::time::{Instant, sleep_until};

use super::faults::Fault;
use super::oracle::Reader;
use super::stage::{HOT, Phase, Stage, now_ms, random};
use crate::client::{Client, Notice, Object, Tally};

/// How long it may take until everything is acknowledged, or received, in the end.
const PATIENCE: Duration = Duration::from_mins(1);

/// A member of several objects.
pub(super) struct LongLivedClient {
    stage: Arc<Stage>,
    /// As a publisher.
    number: u32,
    client: Client,
    /// The hot ones are the first.
    seats: Vec<(Object, Reader)>,
    /// How long to wait between publishes, on average.
    interval: Duration,
    sequence: u32,
    /// What is not acknowledged.
    waiting: HashMap<Key, (usize, u32)>,
    is_settled: bool,
    /// What the oracle has of the client's tally.
    counted: Tally,
}

impl LongLivedClient {
    pub(super) fn new(
        stage: Arc<Stage>,
        number: u32,
        encoding: Encoding,
        objects: impl IntoIterator<Item = usize>,
        interval: Duration,
    ) -> Self {
        let mut client = Client::new(&stage.url, encoding);
        let join =
            |object| (client.join(stage.name(object).clone(), Start::All), Reader::new(object));
        let seats = objects.into_iter().map(join).collect();
        Self {
            number,
            client,
            seats,
            interval,
            sequence: 0,
            waiting: HashMap::new(),
            is_settled: false,
            counted: Tally::default(),
            stage,
        }
    }

    /// Until everything is published and received.
    pub(super) async fn run(mut self) {
        let played = self.play().await;
        self.settle();
        if let Err(why) = played {
            let (number, failure) = (self.number, self.client.last_failure());
            let failure = failure.unwrap_or_default().to_owned();
            self.stage.fault(Fault::Refused, || {
                format!("long-lived client {number}: {why:#} ({failure})")
            });
        }
        let mut oracle = self.stage.oracle();
        for (_, reader) in &self.seats {
            reader.close(&mut oracle);
        }
    }

    async fn play(&mut self) -> Result<()> {
        let mut publish_at = Instant::now() + random(0.0..1.0);
        let mut cut_at = Instant::now() + random(0.5..30.0);
        while self.stage.is_running() {
            let stage = self.stage.clone();
            tokio::select! {
                notice = self.client.next() => self.take(notice?)?,
                () = sleep_until(publish_at), if self.client.may_publish() => {
                    publish_at += self.interval.mul_f64(rand::random_range(0.0..2.0));
                    self.publish()?;
                }
                () = sleep_until(cut_at) => {
                    cut_at = Instant::now() + random(5.0..30.0);
                    self.cut();
                }
                () = stage.reached(Phase::Finishing) => {}
            }
            self.count();
        }
        let until = Instant::now() + PATIENCE;
        while !self.waiting.is_empty() {
            self.turn(until).await.context("publishes that nobody acknowledged")?;
        }
        self.settle();
        let stage = self.stage.clone();
        let drained = stage.reached(Phase::Draining);
        tokio::pin!(drained);
        loop {
            tokio::select! {
                () = &mut drained => break,
                notice = self.client.next() => self.take(notice?)?,
            }
        }
        let until = Instant::now() + PATIENCE;
        while !self.is_complete() {
            self.turn(until).await.context("events that never came")?;
        }
        self.count();
        Ok(())
    }

    fn settle(&mut self) {
        if !std::mem::replace(&mut self.is_settled, true) {
            self.stage.settle();
        }
    }

    async fn turn(&mut self, until: Instant) -> Result<()> {
        let notice = tokio::time::timeout_at(until, self.client.next()).await?;
        self.take(notice?)
    }

    fn is_complete(&self) -> bool {
        let oracle = self.stage.oracle();
        self.seats.iter().all(|(_, reader)| reader.is_complete(&oracle))
    }

    fn publish(&mut self) -> Result<()> {
        let hot = rand::random::<bool>();
        let range = if hot { 0..HOT } else { HOT..self.seats.len() };
        let (object, reader) = &self.seats[rand::random_range(range)];
        self.sequence += 1;
        let (number, sequence) = (self.number, self.sequence);
        let text = self.stage.oracle().payload(usize::from(!hot), number, sequence);
        let key = format!("{number}-{sequence}").parse::<Key>()?;
        self.waiting.insert(key.clone(), (reader.object(), sequence));
        self.client.publish(*object, Kind::default(), Payload::of(&text)?, key);
        Ok(())
    }

    /// Mostly for a moment; sometimes for so long that the hot objects are trimmed meanwhile. Not then with a publish on its way:
    /// of an event that is trimmed the server forgets the key too, and stores it again.
    fn cut(&mut self) {
        let away = match rand::random_range(0..3) {
            0 if self.waiting.is_empty() => random(3.0..12.0),
            _ => random(0.0..0.3),
        };
        self.client.cut(away);
    }

    fn take(&mut self, notice: Notice) -> Result<()> {
        let mut oracle = self.stage.oracle();
        let oracle = &mut *oracle;
        match notice {
            Notice::Joined { object, joined, .. } => {
                reader(&mut self.seats, object)?.continue_at(oracle, joined.from);
            }
            Notice::Reset { object, position, .. } => {
                reader(&mut self.seats, object)?.reset(oracle, position.offset, now_ms());
            }
            Notice::Events { object, events } => {
                reader(&mut self.seats, object)?.events(oracle, &events);
            }
            Notice::Published { key, published, .. } => {
                let sent = self.waiting.remove(&key);
                let (object, sequence) = sent.context("acknowledged, and never sent")?;
                ensure!(published.offset > 0, "offsets begin at 1");
                oracle.published(object, published.offset, None, (self.number, sequence));
            }
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self) {
        let now = self.client.tally();
        let counts = &mut self.stage.oracle().counts;
        counts.connects += now.connections - self.counted.connections;
        counts.resumes += now.resumed - self.counted.resumed;
        self.counted = now;
    }
}

fn reader(seats: &mut [(Object, Reader)], object: Object) -> Result<&mut Reader> {
    let seat = seats.iter_mut().find(|(known, _)| *known == object);
    seat.map(|(_, reader)| reader).context("no such object")
}
