//! `dormouse revoke`: revokes tokens at a running server, lifts revocations, and lists them.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::{Context as _, bail};
use dormouse::auth::Revocation;
use serde::Deserialize;
use ureq::http::StatusCode;

use crate::operators::agent;

/// The longest time for an answer. The server syncs a file before it answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is to be done.
pub(crate) enum Order {
    Revoke(Revocation),
    Lift(Revocation),
    List,
}

#[derive(Deserialize)]
struct Revoked {
    closed: Option<u64>,
}

#[derive(Deserialize)]
struct Lifted {
    lifted: bool,
}

#[derive(Deserialize)]
struct All {
    revocations: Vec<Revocation>,
}

#[derive(Deserialize)]
struct Problem {
    error: String,
}

/// Does it at the server whose operators' address is `url`.
pub(crate) fn run(url: &str, order: &Order) -> anyhow::Result<()> {
    let url = url.trim_end_matches('/');
    let agent = agent(PATIENCE);
    let revocations = format!("{url}/v1/revocations");
    let answer = match order {
        Order::List => agent.get(&revocations).call(),
        Order::Revoke(revocation) => agent.post(&revocations).send_json(revocation),
        Order::Lift(revocation) => agent.post(format!("{revocations}/lift")).send_json(revocation),
    };
    let mut answer = answer.with_context(|| {
        format!("no server answers at {url}: say with --url where its address for operators is")
    })?;
    let stranger =
        || format!("what answers at {url} is no operators' address of a Dormouse server");
    if answer.status() != StatusCode::OK {
        let Problem { error } = answer.body_mut().read_json().with_context(stranger)?;
        bail!(error);
    }
    let body = answer.body_mut();
    match order {
        Order::List => {
            let All { revocations } = body.read_json().with_context(stranger)?;
            if revocations.is_empty() {
                return say("nothing is revoked\n");
            }
            let lines = revocations.iter().map(|one| line(one) + "\n");
            say(&lines.collect::<String>())
        }
        Order::Revoke(_) => match body.read_json::<Revoked>().with_context(stranger)?.closed {
            Some(closed) => say(&format!("revoked; connections closed: {closed}\n")),
            None => say("revoked; the server is busy and closes the connections soon\n"),
        },
        Order::Lift(_) => {
            let Lifted { lifted } = body.read_json().with_context(stranger)?;
            if !lifted {
                bail!("nothing of this kind is revoked: `dormouse revoke list` shows what is");
            }
            say("lifted\n")
        }
    }
}

fn line(revocation: &Revocation) -> String {
    match revocation {
        Revocation::Token { id } => format!("token {id}"),
        Revocation::User { user, issued_until: None } => format!("user {user}"),
        Revocation::User { user, issued_until: Some(until) } => {
            format!("user {user}, tokens issued until {until}")
        }
    }
}

fn say(text: &str) -> anyhow::Result<()> {
    write!(io::stdout(), "{text}").context("cannot write to stdout")
}
