//! A reactor that is given its turns one by one, for the simulation. Its thread is asleep unless its poller has something to
//! tell or its time-out is over, just as in [`Reactor::run`]: what nobody wakes it for does not happen.

use std::sync::Arc;
use std::time::Duration;

use mio::Events;
use tokio::time::Instant;

use super::Reactor;
use crate::auth::{self, Auth, Rules};
use crate::limits::Budget;
use crate::object::{Address, Registry};
use crate::rates::{self, Rates};
use crate::socket::inbox::Command;
use crate::socket::{Accepted, Common, Metrics, ReactorBuilders, Settings};

pub(crate) struct Stepped {
    reactor: Reactor,
    events: Events,
    due: Vec<Address>,
    /// When it would wake by itself.
    wakes_at: Option<Instant>,
}

impl Stepped {
    pub(crate) fn all(
        builders: ReactorBuilders,
        registry: &Registry,
        settings: Settings,
        budget: &Budget,
        metrics: &Metrics,
    ) -> Vec<Self> {
        let rates = Rates::new(rates::Settings::default(), &prometheus::Registry::new());
        let auth = Auth::start(auth::Settings {
            keys: Vec::new(),
            own_key: "/nowhere".into(),
            jwks: None,
            oidc: None,
            data: "/nowhere".into(),
            rules: Rules::default(),
        });
        let common = Common {
            auth: Arc::new(auth.expect("nothing is configured")),
            rates: Arc::new(rates.expect("the registry is new")),
            registry: registry.clone(),
            settings,
            metrics: metrics.clone(),
            budget: budget.clone(),
        };
        let stepped = |(index, builder)| Self {
            reactor: Reactor::new(index, builder, common.clone()),
            events: Events::with_capacity(1_024),
            due: Vec::new(),
            wakes_at: None,
        };
        builders.0.into_iter().enumerate().map(stepped).collect()
    }

    pub(crate) fn accept(&self, accepted: Accepted) {
        self.reactor.inbox.push(Command::Accepted(Box::new(accepted)));
    }

    /// Gives it a turn, unless it is asleep. `others` is what other threads do in the middle of it.
    pub(crate) fn turn(&mut self, others: impl FnMut()) -> bool {
        let polled = self.reactor.connections.poll.poll(&mut self.events, Some(Duration::ZERO));
        polled.expect("the poller works");
        let is_due = self.wakes_at.is_some_and(|at| at <= Instant::now());
        if self.events.is_empty() && !is_due {
            let command = self.reactor.commands.try_recv();
            assert!(command.is_err(), "a command lies where nobody looks: the reactor is asleep");
            return false;
        }
        self.reactor.turn(&self.events, &mut self.due, others);
        self.wakes_at = self.reactor.timeout().map(|time| Instant::now() + time);
        true
    }
}
