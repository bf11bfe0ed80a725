//! A recorded editing session: who changed what, when, and knowing what.
//!
//! The file format is that of the public collection `josephg/editing-traces`, kind "concurrent": gzipped JSON.
//! A [`Trace`] that was read is consistent: every parent is earlier, every agent exists.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use flate2::read::GzDecoder;
use serde::{Deserialize, Deserializer, Serialize};

/// A recorded session.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// How many agents took part.
    pub num_agents: usize,
    /// The text that must result from all transactions.
    pub end_content: String,
    /// What was done, each after everything that it builds upon.
    pub txns: Vec<Txn>,
}

/// One agent's change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Txn {
    /// The transactions that the agent knew, as indexes; what those knew is implied.
    pub parents: Vec<usize>,
    /// Who.
    pub agent: usize,
    /// When it was made.
    #[serde(deserialize_with = "rfc3339")]
    pub time: SystemTime,
    /// What was changed in the text as of the parents, one patch after the other.
    pub patches: Vec<Patch>,
}

/// At a position, so many characters are removed and then a text is put in; counted in Unicode code points.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch(pub usize, pub usize, pub String);

/// A transaction as it is published: the data of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its index in the trace.
    pub i: usize,
    /// As in [`Txn`].
    pub parents: Vec<usize>,
    /// As in [`Txn`].
    pub agent: usize,
    /// As in [`Txn`].
    pub patches: Vec<Patch>,
}

impl Trace {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("can't open {}", path.display()))?;
        let trace: Self = serde_json::from_reader(BufReader::new(GzDecoder::new(file)))
            .with_context(|| format!("{} is not a concurrent editing trace", path.display()))?;
        trace.validate().with_context(|| format!("{} is damaged", path.display()))?;
        Ok(trace)
    }

    /// A transaction in the form in which it is published.
    pub fn change(&self, index: usize) -> Change {
        let Txn { parents, agent, patches, .. } = self.txns[index].clone();
        Change { i: index, parents, agent, patches }
    }

    /// The indexes of an agent's transactions, in its order.
    pub fn of_agent(&self, agent: usize) -> impl Iterator<Item = usize> {
        self.txns.iter().enumerate().filter(move |(_, txn)| txn.agent == agent).map(|(i, _)| i)
    }

    /// How long after the first transaction this one was made.
    pub fn elapsed(&self, index: usize) -> Duration {
        self.txns[index].time.duration_since(self.txns[0].time).unwrap_or_default()
    }

    fn validate(&self) -> Result<()> {
        ensure!(!self.txns.is_empty(), "it holds no transaction");
        for (i, txn) in self.txns.iter().enumerate() {
            ensure!(txn.agent < self.num_agents, "transaction {i} is by an unknown agent");
            ensure!(txn.parents.iter().all(|p| *p < i), "transaction {i} has a later parent");
        }
        Ok(())
    }
}

fn rfc3339<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_rfc3339(&text).map_err(serde::de::Error::custom)
}
