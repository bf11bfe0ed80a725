//! How the commands of the program ask a running server: over HTTP, at its address for operators.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

/// The longest time for an answer. The server may sync a file before it answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server, by its address for operators.
pub(crate) struct Operators {
    url: String,
    agent: Agent,
}

/// How the server says that it refuses something.
#[derive(Deserialize)]
struct Problem {
    error: String,
}

impl Operators {
    pub(crate) fn at(url: &str) -> Self {
        Self { url: url.trim_end_matches('/').into(), agent: agent(PATIENCE) }
    }

    /// Asks for what is at a path.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.answer(self.agent.get(format!("{}{path}", self.url)).call())
    }

    /// Sends a body to a path, for an answer.
    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.answer(self.agent.post(format!("{}{path}", self.url)).send_json(body))
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

/// An agent whose requests take at most so long. It asks the server directly, whatever proxy the environment names.
pub(crate) fn agent(timeout: Duration) -> Agent {
    Agent::config_builder()
        .timeout_global(Some(timeout))
        .max_redirects(0)
        .proxy(None)
        .http_status_as_error(false)
        .build()
        .into()
}

/// Prints the result of a command.
pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    write!(io::stdout(), "{text}").context("cannot write to stdout")
}
