//! The number of members of an object, and of connections at rest: for operators, and counted only when they ask, so that
//! nothing is counted while there is work to do.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Reactors;
use super::connections::connection::{Connection, Membership};
use super::connections::wheel::Wheel;
use super::inbox::Command;
use super::memberships::Census;
use super::memberships::subscribers::Member;
use super::metrics::Surveyed;
use super::reactor::Reactor;
use crate::log::ObjectId;
use crate::object::Address;

/// A reactor answers within an iteration, unless it is overloaded or has ended.
const PATIENCE: Duration = Duration::from_secs(2);

/// All connections.
#[derive(Default)]
struct Survey {
    at_rest: usize,
    busy: usize,
    rest_bytes: usize,
    queued_bytes: usize,
    subscribers: usize,
    recent_bytes: usize,
}

/// Runs on a reactor's thread: must be short.
pub(super) type Query = Box<dyn FnOnce(&Reactor) + Send>;

impl Reactors {
    /// Asks every reactor once about all these objects; the answer is in their order. `None` if one of the reactors does
    /// not answer within two seconds. Each of the objects' members is looked at.
    pub async fn census(&self, objects: Vec<ObjectId>) -> Option<Vec<Census>> {
        let mut sums = vec![Census::default(); objects.len()];
        let objects: Arc<[ObjectId]> = objects.into();
        let count = move |reactor: &Reactor| -> Vec<Census> {
            objects
                .iter()
                .map(|object| reactor.memberships.census(&reactor.connections, *object))
                .collect()
        };
        for counts in self.ask(count).await? {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum = *sum + count;
            }
        }
        Some(sums)
    }

    /// Brings the metrics of what reactors hold up to date. They stay as they are if a reactor does not answer within two
    /// seconds.
    pub async fn survey(&self) {
        let Some(surveys) = self.ask(Reactor::survey).await else { return };
        let sum = |count: fn(&Survey) -> usize| {
            surveys.iter().map(count).sum::<usize>().cast_signed() as i64
        };
        let Surveyed { at_rest, busy, rest_bytes, queued_bytes, subscribers, recent_bytes } =
            &self.metrics.surveyed;
        at_rest.set(sum(|survey| survey.at_rest));
        busy.set(sum(|survey| survey.busy));
        rest_bytes.set(sum(|survey| survey.rest_bytes));
        queued_bytes.set(sum(|survey| survey.queued_bytes));
        subscribers.set(sum(|survey| survey.subscribers));
        recent_bytes.set(sum(|survey| survey.recent_bytes));
    }

    async fn ask<T: Send + 'static>(
        &self,
        query: impl Fn(&Reactor) -> T + Clone + Send + 'static,
    ) -> Option<Vec<T>> {
        let ask = |inbox: &super::Inbox| {
            let (reply, answer) = oneshot::channel();
            let query = query.clone();
            // The caller may have timed out.
            let query: Query = Box::new(move |reactor| _ = reply.send(query(reactor)));
            inbox.push(Command::Query(query));
            answer
        };
        let answers: Vec<_> = self.inboxes.iter().map(|inbox| ask(inbox)).collect();
        let all = async {
            let mut all = Vec::new();
            for answer in answers {
                all.push(answer.await.ok()?);
            }
            Some(all)
        };
        timeout(PATIENCE, all).await.ok().flatten()
    }
}

impl Reactor {
    /// Counts the connections of this reactor, the memory of those at rest with their memberships and deadlines, and what is
    /// kept for the others and for who catches up. What objects take is not in it, nor what the kernel does.
    fn survey(&self) -> Survey {
        let (subscribers, recent_bytes) = self.memberships.survey();
        let mut survey = Survey { subscribers, recent_bytes, ..Survey::default() };
        for (_, connection) in self.connections.iter() {
            if connection.activity.is_at_rest() {
                let memberships = connection.joins.len() * size_of::<Member>();
                let spilled = if connection.joins.spilled() {
                    connection.joins.capacity() * size_of::<Membership>()
                } else {
                    0
                };
                survey.at_rest += 1;
                survey.rest_bytes += size_of::<Connection>() + memberships + spilled;
                survey.rest_bytes += Wheel::<Address>::ENTRY_BYTES;
            } else {
                survey.busy += 1;
                survey.queued_bytes += connection.activity.outbox.bytes();
            }
        }
        survey
    }
}
