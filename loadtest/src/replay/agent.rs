//! One author of the recording: publishes its transactions in their order, each when it has received from the room
//! what the author had seen of the others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use tokio::time::{Instant, sleep_until};

use super::Stage;
use super::check::Ack;
use super::observer::{Member, Observer, Step};
use crate::cli::Speed;
use crate::report::microseconds;

/// An author.
pub(super) struct Agent {
    observer: Observer,
    stage: Arc<Stage>,
    number: usize,
    /// What it has not published yet.
    left: VecDeque<usize>,
    /// Which transactions it has received.
    seen: Vec<bool>,
    /// How much of its record is in `seen`.
    read: usize,
    /// When it published which transaction.
    published: Vec<Option<Instant>>,
    figures: Figures,
}

/// What the author measured.
pub(super) struct Figures {
    pub(super) acks: Vec<Ack>,
    pub(super) to_ack_us: Histogram<u64>,
    pub(super) to_own_event_us: Histogram<u64>,
}

/// When the next transaction may go out.
enum Next {
    Now(usize),
    At(Instant),
    /// When something has been received, or never.
    Later,
}

impl Agent {
    pub(super) fn new(stage: &Arc<Stage>, number: usize, observer: Observer) -> Self {
        let count = stage.trace.txns.len();
        Self {
            observer,
            stage: Arc::clone(stage),
            number,
            left: stage.trace.of_agent(number).collect(),
            seen: vec![false; count],
            read: 0,
            published: vec![None; count],
            figures: Figures {
                acks: Vec::new(),
                to_ack_us: microseconds(),
                to_own_event_us: microseconds(),
            },
        }
    }

    /// Publishes everything and receives until it has the whole log.
    pub(super) async fn run(mut self, started: Instant) -> Result<(Member, Figures)> {
        loop {
            let step = match self.next(started) {
                Next::Now(index) => {
                    self.published[index] = Some(Instant::now());
                    self.observer.publish(&self.stage.trace.change(index))?;
                    self.left.pop_front();
                    continue;
                }
                Next::At(due) => {
                    let _rest = self.stage.progress.rest();
                    tokio::select! {
                        step = self.observer.next() => step?,
                        () = sleep_until(due) => continue,
                    }
                }
                Next::Later => self.observer.next().await?,
            };
            match step {
                Step::Received => self.read_record(),
                Step::Acknowledged { key, offset } => self.acknowledged(key.parse()?, offset),
                Step::Over => return Ok((self.observer.leave(), self.figures)),
            }
        }
    }

    fn next(&self, started: Instant) -> Next {
        let Some(index) = self.left.front().copied() else { return Next::Later };
        let trace = &self.stage.trace;
        let knows = |p: &usize| self.seen[*p] || trace.txns[*p].agent == self.number;
        if !self.observer.may_publish() || !trace.txns[index].parents.iter().all(knows) {
            return Next::Later;
        }
        let due = match self.stage.speed {
            Speed::Max => started,
            Speed::Times(times) => started + trace.elapsed(index).div_f64(times),
        };
        if due <= Instant::now() { Next::Now(index) } else { Next::At(due) }
    }

    fn read_record(&mut self) {
        let entries = &self.observer.record().entries;
        for entry in entries.get(self.read..).unwrap_or_default() {
            let index = entry.change.i;
            let Some(seen) = self.seen.get_mut(index) else { continue };
            if !std::mem::replace(seen, true)
                && let Some(published) = self.published[index]
            {
                self.figures.to_own_event_us.saturating_record(micros(published.elapsed()));
            }
        }
        self.read = entries.len();
    }

    fn acknowledged(&mut self, index: usize, offset: u64) {
        if let Some(published) = self.published[index] {
            self.figures.to_ack_us.saturating_record(micros(published.elapsed()));
        }
        self.figures.acks.push(Ack { index, offset });
        self.stage.progress.acknowledge(offset);
    }
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}
