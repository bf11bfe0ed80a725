//! A member that receives the log until it has all of it. The agents are observers, too, and publish besides.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use dormouse_protocol::{Encoding, Key, Kind, Payload, Start};
use tokio::sync::watch;

use super::record::{KIND, Record};
use super::trace::Change;
use super::{Phase, Stage};
use crate::client::{Client, Notice, Object, Tally};

/// How long a member that was cut off stays away, at most.
const AWAY_MS_MAX: u64 = 300;

/// What an observer does besides receiving.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Habit {
    /// Joins when so many eighths of the transactions are acknowledged.
    pub(super) joins_after_eighths: usize,
    /// Is cut off from time to time.
    pub(super) is_cut: bool,
}

/// A member.
pub(super) struct Observer {
    client: Client,
    room: Object,
    record: Record,
    stage: Arc<Stage>,
    phase: watch::Receiver<Phase>,
    until_cut: Option<u64>,
}

/// What happened to a member.
pub(super) enum Step {
    /// It joined, or received something, which stands in its record.
    Received,
    /// Its publish was acknowledged.
    Acknowledged { key: Key, offset: u64 },
    /// It has everything, or there is nothing more to wait for.
    Over,
}

/// What is left of a member.
pub(super) struct Member {
    pub(super) record: Record,
    pub(super) tally: Tally,
    pub(super) last_failure: Option<String>,
}

impl Observer {
    pub(super) fn new(stage: &Arc<Stage>, name: String, encoding: Encoding, is_cut: bool) -> Self {
        let mut client = Client::new(&stage.url, encoding);
        let room = client.join(stage.room.clone(), Start::All);
        Self {
            client,
            room,
            record: Record::new(name),
            phase: stage.phase.subscribe(),
            until_cut: is_cut.then(|| stage.next_cut()),
            stage: Arc::clone(stage),
        }
    }

    /// Joins the room, which must be empty.
    pub(super) async fn enter(&mut self) -> Result<()> {
        loop {
            match self.client.next().await? {
                Notice::Joined { joined, .. } if joined.head == 0 => return Ok(()),
                Notice::Joined { joined, .. } => {
                    bail!(
                        "{} is not a fresh room: it holds {} events",
                        self.stage.room,
                        joined.head
                    )
                }
                _ => {}
            }
        }
    }

    /// Receives until it has the whole log.
    pub(super) async fn run(mut self, habit: Habit) -> Result<Member> {
        let eighth = self.stage.trace.txns.len() as u64 * habit.joins_after_eighths as u64 / 8;
        self.wait_for_acknowledged(eighth).await;
        while !matches!(self.next().await?, Step::Over) {}
        Ok(self.leave())
    }

    /// Waits for the next thing that happens. Nothing is lost where the future is dropped.
    pub(super) async fn next(&mut self) -> Result<Step> {
        loop {
            let over = match *self.phase.borrow_and_update() {
                Phase::Publishing => false,
                Phase::Complete { head, .. } => self.record.last_offset() >= head,
                Phase::Stalled => true,
            };
            if over {
                return Ok(Step::Over);
            }
            let notice = tokio::select! {
                notice = self.client.next() => notice?,
                changed = self.phase.changed() => {
                    if changed.is_err() {
                        return Ok(Step::Over);
                    }
                    continue;
                }
            };
            return Ok(self.take(notice));
        }
    }

    /// What was received so far.
    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// Whether a publish would go out at once.
    pub(super) fn may_publish(&self) -> bool {
        self.client.may_publish()
    }

    /// Publishes a transaction. The key is made of its index, so that it is stored once however often it is sent.
    pub(super) fn publish(&mut self, change: &Change) -> Result<()> {
        let kind: Kind = KIND.parse()?;
        let key: Key = change.i.to_string().parse()?;
        self.client.publish(self.room, kind, Payload::of(change)?, key);
        Ok(())
    }

    /// Ends.
    pub(super) fn leave(self) -> Member {
        Member {
            record: self.record,
            tally: self.client.tally(),
            last_failure: self.client.last_failure().map(str::to_owned),
        }
    }

    fn take(&mut self, notice: Notice) -> Step {
        match notice {
            Notice::Published { key, published, .. } => {
                return Step::Acknowledged { key, offset: published.offset };
            }
            Notice::Reset { reason, .. } => self.record.reset(reason),
            Notice::Events { events, .. } => {
                self.record.add(&events);
                self.stage.progress.delivered(events.len() as u64);
                self.cut_when_due(events.len() as u64);
            }
            _ => {}
        }
        Step::Received
    }

    fn cut_when_due(&mut self, received: u64) {
        let Some(until_cut) = &mut self.until_cut else { return };
        *until_cut = until_cut.saturating_sub(received);
        if *until_cut == 0 {
            *until_cut = self.stage.next_cut();
            self.client.cut(Duration::from_millis(rand::random_range(0..=AWAY_MS_MAX)));
        }
    }

    async fn wait_for_acknowledged(&mut self, count: u64) {
        let mut acknowledged = self.stage.progress.acknowledged();
        tokio::select! {
            _ = acknowledged.wait_for(|n| *n >= count) => {}
            _ = self.phase.wait_for(|phase| *phase == Phase::Stalled) => {}
        }
    }
}
