//! How the commands of the program ask a running server: over HTTP, at its address for operators.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use ureq::http::{Response, StatusCode};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::{Agent, Body};

use crate::unix_connector::UnixConnector;

/// The longest time for an answer. The server may sync a file before it answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server, by its address for operators.
pub(crate) struct Operators {
    url: String,
    agent: Agent,
}

/// The body of an error reply.
#[derive(Deserialize)]
struct Problem {
    error: String,
}

impl Operators {
    /// The server at `http://HOST:PORT` or `unix:PATH`.
    pub(crate) fn at(url: &str) -> Self {
        Self { url: url.trim_end_matches('/').into(), agent: agent(url, PATIENCE) }
    }

    fn uri(&self, path: &str) -> String {
        format!("{}{path}", base(&self.url))
    }

    /// Asks for what is at a path.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.answer(self.agent.get(self.uri(path)).call())
    }

    /// Sends a body to a path, for an answer.
    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.answer(self.agent.post(self.uri(path)).send_json(body))
    }

    fn answer<T: DeserializeOwned>(
        &self,
        answer: Result<Response<Body>, ureq::Error>,
    ) -> anyhow::Result<T> {
        let url = &self.url;
        let mut answer = answer.with_context(|| {
            format!("no server answers at {url}: say with --url where its address for operators is")
        })?;
        let stranger =
            || format!("what answers at {url} is no operators' address of a Dormouse server");
        if answer.status() != StatusCode::OK {
            let Problem { error } = answer.body_mut().read_json().with_context(stranger)?;
            bail!(error);
        }
        answer.body_mut().read_json().with_context(stranger)
    }
}

/// An agent for the server at a URL, whose requests take at most so long. It asks the server directly, whatever proxy the environment
/// names.
pub(crate) fn agent(url: &str, timeout: Duration) -> Agent {
    let config = Agent::config_builder()
        .timeout_global(Some(timeout))
        .max_redirects(0)
        .proxy(None)
        .http_status_as_error(false)
        .build();
    match socket_path(url) {
        Some(path) => {
            Agent::with_parts(config, UnixConnector::new(path), DefaultResolver::default())
        }
        None => config.into(),
    }
}

/// What the paths of requests follow.
pub(crate) fn base(url: &str) -> &str {
    if socket_path(url).is_some() { "http://localhost" } else { url }
}

/// The path in `unix:PATH`.
fn socket_path(url: &str) -> Option<&str> {
    url.strip_prefix("unix:")
}

/// Prints the result of a command.
pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    write!(io::stdout(), "{text}").context("cannot write to stdout")
}
