//! `dormouse api-key`: makes, lists and revokes the API keys of a running server.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::bail;
use dormouse::auth::{ApiKeyInfo, Grant};
use humantime_serde::re::humantime::format_rfc3339_seconds;
use serde::{Deserialize, Serialize};

use crate::logging;
use crate::operators::{Operators, say};

/// What is to be done.
pub(crate) enum Order {
    Create { name: String, grants: Vec<Grant> },
    List,
    Revoke { name: String },
}

#[derive(Serialize)]
struct Wanted<'a> {
    name: &'a str,
    grants: &'a [Grant],
}

#[derive(Deserialize)]
struct Created {
    key: String,
    counts: bool,
}

#[derive(Deserialize)]
struct All {
    api_keys: Vec<ApiKeyInfo>,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
}

#[derive(Deserialize)]
struct Revoked {
    revoked: bool,
    closed: Option<u64>,
}

/// Does it at the server whose operators' address is `url`.
pub(crate) fn run(url: &str, order: &Order) -> anyhow::Result<()> {
    let server = Operators::at(url);
    match order {
        Order::Create { name, grants } => {
            let Created { key, counts } = server.post("/v1/api-keys", &Wanted { name, grants })?;
            if !counts {
                // Not to stdout, where scripts read the key.
                logging::write_line(format_args!(
                    "note: this server was started without keys and lets every client do everything: restart it, so that it asks for keys"
                ));
            }
            say(&format!("{key}\n"))
        }
        Order::List => {
            let All { api_keys } = server.get("/v1/api-keys")?;
            if api_keys.is_empty() {
                return say("there are no API keys\n");
            }
            say(&api_keys.iter().map(lines).collect::<String>())
        }
        Order::Revoke { name } => match server.post("/v1/api-keys/revoke", &Named { name })? {
            Revoked { revoked: false, .. } => {
                bail!("there is no API key of this name: `dormouse api-key list` shows them")
            }
            Revoked { closed: Some(closed), .. } => {
                say(&format!("revoked; connections closed: {closed}\n"))
            }
            Revoked { closed: None, .. } => {
                say("revoked; the server is busy and closes the connections soon\n")
            }
        },
    }
}

fn lines(key: &ApiKeyInfo) -> String {
    let time = |seconds| format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds));
    let used = key
        .last_used
        .map_or_else(|| "never used".into(), |last| format!("used last at {}", time(last)));
    let grants = key.grants.iter().map(|grant| format!("  {grant}\n"));
    format!("{}, made at {}, {used}\n{}", key.name, time(key.created), grants.collect::<String>())
}
