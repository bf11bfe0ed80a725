//! How the commands of the program ask a running server: over HTTP, at its address for operators.

use std::time::Duration;

use ureq::Agent;

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
