//! `dormouse key` and `dormouse token`: makes keys and tokens, and says what the server would make of a token.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use dormouse::auth::{self, Access, Auth, Grant, MAX_TOKEN_BYTES, NewToken, Refusal, Verb};
use dormouse::clock::Clock;
use dormouse::config::Config;
use dormouse_protocol::ObjectName;
use humantime_serde::re::humantime::format_rfc3339_seconds;

/// How long the keys of issuers are waited for.
const FETCH_TIMEOUT: Duration = Duration::from_secs(15);

/// Why the server would not take a token.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(
        "there is no key to check tokens with: make one with `dormouse key create`, or set auth.keys, auth.jwks or auth.oidc"
    )]
    NoKey,
    #[error("the server would refuse this token")]
    Refused(#[from] Refusal),
    #[error(
        "no grant allows `{verb}` on {object}; {count} of them stand in the token and its roles"
    )]
    NotAllowed { verb: Verb, object: ObjectName, count: usize },
}

/// Makes the server's own key.
pub(crate) fn create_key(config: &Config) -> anyhow::Result<()> {
    let file = auth::own_key_file(&config.data);
    match auth::create_own_key(&config.data) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => bail!(
            "there is a key already, {}: remove it first; all tokens that it has signed end with it",
            file.display()
        ),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot create {}", file.display()));
        }
    }
    say(&format!(
        "created {}; a server on this directory uses it from its next start on",
        file.display()
    ))
}

/// What a token is to say, from the command line.
pub(crate) struct Wanted {
    pub(crate) user: String,
    pub(crate) grants: Vec<Grant>,
    pub(crate) lifetime: Duration,
    pub(crate) key: Option<String>,
}

/// Prints a new token.
pub(crate) fn create(config: &Config, wanted: Wanted) -> anyhow::Result<()> {
    let mut settings = config.auth.settings(&config.data);
    // Nothing of an issuer is needed here.
    (settings.jwks, settings.oidc) = (None, None);
    let auth = Auth::start(settings)?;
    let now = now();
    let Wanted { user, grants, lifetime, key } = wanted;
    let expires = now.saturating_add(lifetime.as_secs());
    let token = auth.create(&NewToken { user, grants, expires, key }, now)?;
    auth.authenticate(&token, now).map_err(CheckError::Refused)?;
    say(&token)
}

/// Prints what the server would take a token for.
pub(crate) fn check(config: &Config, token: &str) -> anyhow::Result<()> {
    let access = authenticate(config, token)?;
    let who = match access.api_key_name() {
        Some(name) => format!("API key: {name}"),
        None => format!("user: {}", access.subject.user().unwrap_or_default()),
    };
    let mut lines = vec!["valid".to_owned(), who];
    let end = access.expires.map(Duration::from_secs).and_then(|end| UNIX_EPOCH.checked_add(end));
    lines.extend(end.map(|end| format!("expires: {}", format_rfc3339_seconds(end))));
    lines.push(if access.grants.is_empty() { "grants: none" } else { "grants:" }.to_owned());
    lines.extend(access.grants.iter().map(|grant| format!("  {grant}")));
    say(&lines.join("\n"))
}

/// Names the grant that lets a token, or a client without one, do something.
pub(crate) fn explain(
    config: &Config,
    token: Option<&str>,
    object: ObjectName,
    verb: Verb,
) -> anyhow::Result<()> {
    let access = match token {
        Some(token) => authenticate(config, token)?,
        None => Arc::new(Access::anonymous(&config.auth.anonymous)),
    };
    let Access { subject, grants, .. } = &*access;
    match auth::deciding_grant(grants, subject, verb, &object) {
        Some(grant) => say(&format!("allowed by `{grant}`")),
        None => Err(CheckError::NotAllowed { verb, object, count: grants.len() }.into()),
    }
}

fn authenticate(config: &Config, token: &str) -> anyhow::Result<Arc<Access>> {
    let token = if token == "-" { read_token()? } else { token.to_owned() };
    let auth = Auth::start(config.auth.settings(&config.data))?;
    if !auth.has_keys() {
        return Err(CheckError::NoKey.into());
    }
    auth.wait_for_issuers(FETCH_TIMEOUT);
    Ok(auth.authenticate(token.trim(), now()).map_err(CheckError::Refused)?)
}

/// A token from stdin, where it is in no list of processes. One that is too long is cut, and refused as too long.
fn read_token() -> anyhow::Result<String> {
    let mut token = String::new();
    let most = 2 * MAX_TOKEN_BYTES as u64;
    io::stdin().take(most).read_to_string(&mut token).context("cannot read a token from stdin")?;
    Ok(token)
}

fn now() -> u64 {
    Clock::default().now_ms() / 1000
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{text}").context("cannot write to stdout")
}
