//! One client of the run: does what it likes, and tells the judge what it asks and what happens to it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use dormouse_protocol::{Encoding, Payload, Start};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::check::{Breach, ClientId, Fault, Place, Post, Room, Sign};
use super::plan::{Whim, Whims};
use super::stage::{Pace, Stage, Standing};
use crate::client::{Client, Notice, Object, Tally};

/// The longest pause between two connections: a server is seldom there for long.
const RECONNECT_MAX: Duration = Duration::from_millis(100);
/// The longest pause between two whims.
const PAUSE_MAX: Duration = Duration::from_millis(60);
/// The same, for those who hurry.
const BURST_PAUSE_MAX: Duration = Duration::from_millis(4);
/// Publishes that may wait for their acknowledgement.
const WAITING_MAX: usize = 24;
/// The same, for those who hurry.
const BURST_WAITING_MAX: usize = 64;
/// Acknowledged publishes that may be tried again.
const RECENT_MAX: usize = 30;
const KINDS: [&str; 3] = ["message", "note", "edit"];

/// A client and its whims.
pub(super) struct Player {
    id: ClientId,
    client: Client,
    whims: Whims,
    stage: Arc<Stage>,
    pace: watch::Receiver<Pace>,
    cuts: watch::Receiver<u64>,
    rooms: Vec<Object>,
    /// When it does something next, and what.
    due: Instant,
    whim: Whim,
    /// What was published and acknowledged.
    recent: VecDeque<Post>,
    /// What is not acknowledged yet.
    waiting: VecDeque<Post>,
    /// Publishes, signals and presences so far.
    count: u64,
    figures: Figures,
}

/// What a client went through.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Figures {
    pub(super) tally: Tally,
    pub(super) delivered: u64,
    pub(super) signals: u64,
}

/// What events carry: something that nobody else publishes.
#[derive(Serialize)]
struct Text {
    number: u64,
    text: String,
}

impl Player {
    /// A client, which is a member of every room and watches its roster.
    pub(super) fn new(stage: &Arc<Stage>, id: ClientId, encoding: Encoding, whims: Whims) -> Self {
        let mut client = Client::new(&stage.url, encoding).hurried(RECONNECT_MAX);
        let rooms = (0..stage.rooms)
            .map(|room| client.join_and_watch(Stage::name(Room(room)), Start::All))
            .collect();
        let mut player = Self {
            id,
            client,
            whims,
            stage: Arc::clone(stage),
            pace: stage.pace.subscribe(),
            cuts: stage.cuts.subscribe(),
            rooms,
            due: Instant::now(),
            whim: Whim::Cut { pause: Duration::ZERO },
            recent: VecDeque::new(),
            waiting: VecDeque::new(),
            count: 0,
            figures: Figures::default(),
        };
        player.plan(Pace::Normal);
        player
    }

    /// Runs until it is over. What ends it early is a violation.
    pub(super) async fn run(mut self) -> Figures {
        if let Err(error) = self.play().await {
            let fault = Fault::new(Breach::Conduct, format!("it can't go on: {error:#}"));
            self.stage.judge().note(fault.client(self.id));
            self.stand(Standing::Gone);
        }
        Figures { tally: self.client.tally(), ..self.figures }
    }

    async fn play(&mut self) -> Result<()> {
        loop {
            let pace = *self.pace.borrow_and_update();
            let is_acting = matches!(pace, Pace::Normal | Pace::Burst);
            tokio::select! {
                // What the client does comes before what it receives, which may be without end.
                biased;
                changed = self.pace.changed() => changed?,
                changed = self.cuts.changed() => {
                    changed?;
                    self.cut_with_others();
                }
                () = sleep_until(self.due), if is_acting => {
                    self.act(pace)?;
                    self.plan(pace);
                }
                notice = self.client.next() => self.take(notice?),
            }
            let pace = *self.pace.borrow();
            match pace {
                Pace::Normal | Pace::Burst | Pace::Rest => {}
                Pace::Settle => self.settle(),
                Pace::Over => return Ok(()),
            }
        }
    }

    fn plan(&mut self, pace: Pace) {
        let longest = if pace == Pace::Burst { BURST_PAUSE_MAX } else { PAUSE_MAX };
        let (part, whim) = self.whims.next();
        self.due = Instant::now() + longest.mul_f64(part);
        self.whim = whim;
    }

    fn cut_with_others(&mut self) {
        if *self.cuts.borrow_and_update() % 2 == self.id.0 as u64 % 2 {
            self.client.cut(Duration::ZERO);
        }
    }

    fn act(&mut self, pace: Pace) -> Result<()> {
        let waiting_max = if pace == Pace::Burst { BURST_WAITING_MAX } else { WAITING_MAX };
        let may_publish = self.client.session().is_some() && self.waiting.len() < waiting_max;
        match self.whim {
            Whim::Publish { room, count, bytes } if may_publish => {
                for _ in 0..count {
                    let post = self.write(room, bytes)?;
                    self.publish(post);
                }
            }
            Whim::Twice { room, bytes } if may_publish => {
                let post = self.write(room, bytes)?;
                self.publish(post.clone());
                self.publish(post);
            }
            Whim::Again { back, is_changed } if may_publish => {
                let Some(post) = self.recent.iter().rev().nth(back).cloned() else { return Ok(()) };
                let data = if is_changed { self.text(10)? } else { post.data };
                self.publish(Post { data, ..post });
            }
            Whim::Signal { room } if self.client.session().is_some() => {
                self.count += 1;
                let mut judge = self.stage.judge();
                let sign = Sign { number: self.count, kills: judge.kills() };
                judge.signalled(self.id, room, sign.number);
                self.client.signal(self.rooms[room.0], Payload::of(&sign)?);
            }
            Whim::Say { room, is_present } => {
                let data = if is_present { Some(self.text(20)?) } else { None };
                self.client.set_presence(self.rooms[room.0], data);
            }
            Whim::Switch { room, start } => {
                let object = self.rooms[room.0];
                if self.client.is_wanted(object) {
                    self.client.leave(object);
                } else {
                    self.client.join_again(object, start);
                }
            }
            Whim::Read { room, back } => {
                let object = self.rooms[room.0];
                if let Start::After(position) = self.client.start(object) {
                    self.client.history(object, position.offset.saturating_sub(back), 100);
                }
            }
            Whim::Cut { pause } => self.client.cut(pause),
            Whim::Publish { .. }
            | Whim::Twice { .. }
            | Whim::Again { .. }
            | Whim::Signal { .. } => {}
        }
        Ok(())
    }

    /// An event that was never there before, under a key that others use too.
    fn write(&mut self, room: Room, bytes: usize) -> Result<Post> {
        let data = self.text(bytes)?;
        let kind = KINDS[self.count as usize % KINDS.len()].parse()?;
        Ok(Post { room, key: format!("k{}", self.count).parse()?, kind, data })
    }

    fn text(&mut self, bytes: usize) -> Result<Payload> {
        self.count += 1;
        let text = "dör".chars().cycle().take(bytes).collect();
        Ok(Payload::of(&Text { number: self.count, text })?)
    }

    fn publish(&mut self, post: Post) {
        self.stage.judge().publish(self.id, &post);
        let Post { room, key, kind, data } = post.clone();
        self.client.publish(self.rooms[room.0], kind, data, key);
        self.waiting.push_back(post);
        self.stage.sent.send_modify(|count| *count += 1);
    }

    fn take(&mut self, notice: Notice) {
        if let Some(session) = self.client.session() {
            self.stage.judge().is_session(self.id, session);
        }
        let object = notice.object();
        let Some(room) = self.rooms.iter().position(|room| *room == object).map(Room) else {
            return;
        };
        self.stage.tell(self.id, room, &notice);
        match notice {
            Notice::Events { events, .. } => self.figures.delivered += events.len() as u64,
            Notice::Signals { signals, .. } => self.figures.signals += signals.len() as u64,
            Notice::Published { key, .. } => {
                let is_it = |post: &Post| post.room == room && post.key == key;
                let post = self.waiting.iter().position(is_it);
                self.recent.extend(post.and_then(|index| self.waiting.remove(index)));
                if self.recent.len() > RECENT_MAX {
                    self.recent.pop_front();
                }
                self.stage.acknowledged.send_modify(|count| *count += 1);
            }
            _ => {}
        }
    }

    /// Joins what it has left, and tells when everything is done.
    fn settle(&mut self) {
        for object in &self.rooms {
            if !self.client.is_wanted(*object) {
                self.client.join_again(*object, None);
            }
        }
        let is_settled = matches!(self.stage.standings.borrow()[self.id.0], Standing::Settled(_));
        if self.client.is_settled() != is_settled {
            let standing =
                if is_settled { Standing::Busy } else { Standing::Settled(self.places()) };
            self.stand(standing);
        }
    }

    fn stand(&self, standing: Standing) {
        self.stage.standings.send_modify(|standings| standings[self.id.0] = standing);
    }

    fn places(&self) -> Vec<Place> {
        let Some(session) = self.client.session() else { return Vec::new() };
        let place = |(room, object): (usize, &Object)| {
            let (member, data) = self.client.place(*object)?;
            Some(Place { room: Room(room), member, session: session.into(), data: data.clone() })
        };
        self.rooms.iter().enumerate().filter_map(place).collect()
    }
}
