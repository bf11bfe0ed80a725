//! `dormouse revoke`: revokes tokens at a running server, lifts revocations, and lists them.

use anyhow::bail;
use dormouse::auth::Revocation;
use serde::Deserialize;

use crate::operators::{Operators, say};

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

/// Does it at the server whose operators' address is `url`.
pub(crate) fn run(url: &str, order: &Order) -> anyhow::Result<()> {
    let server = Operators::at(url);
    match order {
        Order::List => {
            let All { revocations } = server.get("/v1/revocations")?;
            if revocations.is_empty() {
                return say("nothing is revoked\n");
            }
            let lines = revocations.iter().map(|one| line(one) + "\n");
            say(&lines.collect::<String>())
        }
        Order::Revoke(revocation) => {
            match server.post::<Revoked>("/v1/revocations", revocation)?.closed {
                Some(closed) => say(&format!("revoked; connections closed: {closed}\n")),
                None => say("revoked; the server is busy and closes the connections soon\n"),
            }
        }
        Order::Lift(revocation) => {
            let Lifted { lifted } = server.post("/v1/revocations/lift", revocation)?;
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
