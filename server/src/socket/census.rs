//! How operators ask the reactors: the members of objects, and the connections at rest.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Reactors;
use super::inbox::Command;
use super::metrics::Surveyed;
use super::survey::{Census, Survey};
use crate::log::ObjectId;

/// A reactor answers within an iteration, unless it is overloaded or has ended.
const PATIENCE: Duration = Duration::from_secs(2);

impl Reactors {
    /// Asks every reactor once about all these objects; the answer is in their order. `None` if one of the reactors does
    /// not answer within two seconds. Each of the objects' members is looked at.
    pub async fn census(&self, objects: Vec<ObjectId>) -> Option<Vec<Census>> {
        let mut sums = vec![Census::default(); objects.len()];
        let objects: Arc<[ObjectId]> = objects.into();
        let count = |reply| Command::Census(objects.clone(), reply);
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
        let Some(surveys) = self.ask(Command::Survey).await else { return };
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

    /// Closes the connections whose tokens are revoked. Returns how many, or `None` if a reactor does not answer within two seconds; it
    /// closes them later. When this returns a number, nothing that arrives on them is stored any more.
    pub async fn close_revoked(&self) -> Option<usize> {
        Some(self.ask(Command::CloseRevoked).await?.into_iter().sum())
    }

    /// The answer of each reactor to a command.
    async fn ask<T>(&self, command: impl Fn(oneshot::Sender<T>) -> Command) -> Option<Vec<T>> {
        let ask = |inbox: &super::Inbox| {
            let (reply, answer) = oneshot::channel();
            inbox.push(command(reply));
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
