//! What a running server says of its objects, over HTTP.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use dormouse::metrics::VERSION;
use dormouse::object::State;
use serde::Deserialize;
use ureq::Agent;

use super::summary::Summary;
use crate::operators::{agent, base};

/// The server gives no more at once.
pub(super) const MAX_ROWS: usize = 1_000;

/// A server that takes longer is as good as none.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where to ask, and for which objects.
pub(crate) struct Source {
    agent: Agent,
    url: String,
    state: Option<String>,
}

/// The objects in use, or those of them that there was room for.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Objects {
    /// When the server said so, in milliseconds since the Unix epoch.
    pub(super) now: u64,
    /// How many are in each state.
    pub(super) counts: BTreeMap<String, u64>,
    /// Those that are not asleep first, then by name.
    #[serde(rename = "objects")]
    pub(super) rows: Vec<Object>,
}

/// One of them; the server knows what the fields mean.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Object {
    #[serde(rename = "object")]
    pub(super) name: String,
    pub(super) state: String,
    pub(super) since: Option<u64>,
    pub(super) cause: Option<String>,
    pub(super) sleeps_at: Option<u64>,
    pub(super) last_wake: Option<LastWake>,
    pub(super) wakes: u64,
    pub(super) pinned: bool,
    pub(super) log: Log,
    pub(super) memory_bytes: u64,
    pub(super) members: Option<u64>,
    pub(super) connections_at_rest: Option<u64>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct LastWake {
    pub(super) took_us: u64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Log {
    pub(super) head: u64,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("{0} is not the URL of a server: write it as http://HOST:PORT or unix:PATH")]
    BadUrl(String),
    #[error("no server answers at {url}: start one with `dormouse`, or say with --url where it is")]
    Unreachable { url: String, source: Box<ureq::Error> },
    #[error("what answers at {url} is no Dormouse server of version {VERSION}: is --url right?")]
    Stranger { url: String, source: Box<ureq::Error> },
}

impl Object {
    pub(super) fn is_asleep(&self) -> bool {
        self.state == State::Asleep.as_str()
    }
}

impl Source {
    /// Objects of the server at `url`; only those in one state where one is named.
    pub(crate) fn new(url: &str, state: Option<String>) -> Self {
        Self { agent: agent(url, PATIENCE), url: url.trim_end_matches('/').to_owned(), state }
    }

    /// What the server says now. Blocks, as `ask` does.
    pub(super) fn summary(&self, rows: usize) -> Result<Summary, AskError> {
        let objects = self.ask(rows)?;
        Ok(Summary { objects, url: self.url.clone(), state: self.state.clone() })
    }

    /// At most `rows` objects. Blocks, for some seconds at most.
    pub(super) fn ask(&self, rows: usize) -> Result<Objects, AskError> {
        // Without TLS, which the server does not speak here.
        if !self.url.starts_with("http://") && !self.url.starts_with("unix:") {
            return Err(AskError::BadUrl(self.url.clone()));
        }
        let rows = rows.clamp(1, MAX_ROWS);
        let mut found = match &self.state {
            Some(state) => self.list(Some(state), rows)?,
            None => self.awake_first(rows)?,
        };
        found
            .rows
            .sort_by(|a, b| a.is_asleep().cmp(&b.is_asleep()).then_with(|| a.name.cmp(&b.name)));
        found.rows.truncate(rows);
        Ok(found)
    }

    /// The server lists by name, so that those that are awake may be behind any number of others.
    fn awake_first(&self, rows: usize) -> Result<Objects, AskError> {
        let awake = self.list(Some(State::Awake.as_str()), rows)?.rows;
        let mut all = self.list(None, rows)?;
        let known: HashSet<_> = awake.iter().map(|object| &*object.name).collect();
        all.rows.retain(|object| !known.contains(&*object.name));
        all.rows.extend(awake);
        Ok(all)
    }

    fn list(&self, state: Option<&str>, limit: usize) -> Result<Objects, AskError> {
        let request = self.agent.get(format!("{}/v1/objects", base(&self.url)));
        let request =
            request.query("limit", limit.to_string()).query_pairs(state.map(|it| ("state", it)));
        let answer = request.call().and_then(|answer| answer.into_body().read_json());
        answer.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: ureq::Error) -> AskError {
        use ureq::Error::{BadUri, ConnectionFailed, HostNotFound, Http, Io, Timeout};
        let url = self.url.clone();
        match error {
            BadUri(_) | Http(_) => AskError::BadUrl(url),
            error @ (Io(_) | ConnectionFailed | HostNotFound | Timeout(_)) => {
                AskError::Unreachable { url, source: Box::new(error) }
            }
            error => AskError::Stranger { url, source: Box::new(error) },
        }
    }
}
