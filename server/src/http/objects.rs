//! Objects as operators see them: one, or all in use.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::routing::get;
use axum::{Json, Router};
use dormouse_protocol::ObjectName;
use serde::{Deserialize, Serialize};

use super::Inside;
use super::problem::Problem;
use super::shared::Shared;
use crate::log::{Identity, Stored};
use crate::object::{self, Handle, Status};
use crate::socket::Census;

/// Objects in one answer, unless the request says how many.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/v1/objects", get(list)).route("/v1/objects/{class}/{name}", get(one))
}

/// One object. What is not known of an object that is not in use is null; what only the
/// disk tells is left out of lists.
#[derive(Serialize)]
struct View {
    object: ObjectName,
    id: u64,
    epoch: u32,
    state: &'static str,
    since: Option<u64>,
    cause: Option<&'static str>,
    sleeps_at: Option<u64>,
    last_wake: Option<LastWake>,
    wakes: u32,
    pinned: bool,
    log: LogView,
    /// See [`Status::memory_bytes`]; the memberships are counted too.
    memory_bytes: usize,
    /// Null where a reactor did not answer in time, as is the next.
    members: Option<u64>,
    connections_at_rest: Option<u64>,
}

#[derive(Serialize)]
struct LastWake {
    cause: &'static str,
    at: u64,
    took_us: u32,
}

/// What only a read of the disk tells is left out of lists.
#[derive(Serialize)]
struct LogView {
    head: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trimmed: Option<u64>,
}

#[derive(Serialize)]
struct List {
    /// What the times in it are to be compared with.
    now: u64,
    counts: BTreeMap<&'static str, u64>,
    objects: Vec<View>,
    more: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    state: Option<String>,
    after: Option<ObjectName>,
    limit: Option<usize>,
}

impl View {
    /// An object that is not in use.
    fn at_rest(identity: &Identity) -> Self {
        Self {
            object: identity.name.clone(),
            id: identity.id.0,
            epoch: identity.epoch,
            state: object::State::Asleep.as_str(),
            since: None,
            cause: None,
            sleeps_at: None,
            last_wake: None,
            wakes: 0,
            pinned: false,
            log: LogView { head: 0, bytes: None, trimmed: None },
            memory_bytes: 0,
            members: Some(0),
            connections_at_rest: Some(0),
        }
    }

    fn in_use(handle: &Handle) -> Self {
        let status = handle.status();
        let Status { state, since, cause, sleeps_at, last_wake, wakes, is_pinned, memory_bytes } =
            status;
        Self {
            state: state.as_str(),
            since: Some(since),
            cause: cause.map(object::WakeCause::as_str),
            sleeps_at,
            last_wake: last_wake.map(|wake| LastWake {
                cause: wake.cause.as_str(),
                at: wake.at,
                took_us: wake.took_us,
            }),
            wakes,
            pinned: is_pinned,
            log: LogView { head: handle.head(), bytes: None, trimmed: None },
            memory_bytes,
            ..Self::at_rest(handle.identity())
        }
    }

    fn add_log(&mut self, stored: Option<&Stored>) {
        // An object in use has a head that is told before its readers see it on disk.
        let on_disk = stored.map_or(0, |stored| stored.tail.offset);
        self.log.head = self.log.head.max(on_disk);
        self.log.bytes = Some(stored.map_or(0, |stored| stored.bytes));
        self.log.trimmed = Some(stored.map_or(0, |stored| stored.trimmed));
    }

    fn add_members(&mut self, census: Option<Census>) {
        self.memory_bytes += census.map_or(0, |census| census.bytes);
        self.members = census.map(|census| census.members);
        self.connections_at_rest = census.map(|census| census.at_rest);
    }
}

async fn one(State(shared): State<Arc<Shared>>, path: NamePath) -> Result<Json<View>, Problem> {
    let name = name(path)?;
    let (handle, stored) = find(&shared.inside, &name).await?;
    let mut view = match (&handle, &stored) {
        (Some(handle), _) => View::in_use(handle),
        (None, Some(stored)) => View::at_rest(&stored.identity),
        (None, None) => return Err(Problem::unknown(&name)),
    };
    view.add_log(stored.as_ref());
    if let Some(handle) = handle {
        let census = shared.inside.reactors.census(vec![handle.id()]).await;
        view.add_members(census.map(|census| census[0]));
    }
    Ok(Json(view))
}

async fn list(
    State(shared): State<Arc<Shared>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<List>, Problem> {
    let Query(asked) = asked.map_err(|rejection| Problem::bad(rejection.body_text()))?;
    let limit = asked.limit.unwrap_or(LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::bad(format!("limit must be between 1 and {MAX_LIMIT}")));
    }
    let state = asked.state.as_deref().map(state).transpose()?;
    let registry = &shared.inside.registry;
    let in_use = registry.in_use(asked.after.as_ref(), state, limit);
    let mut objects: Vec<_> = in_use.objects.iter().map(|handle| View::in_use(handle)).collect();
    let ids = in_use.objects.iter().map(|handle| handle.id()).collect();
    let census = shared.inside.reactors.census(ids).await;
    for (index, view) in objects.iter_mut().enumerate() {
        view.add_members(census.as_ref().map(|census| census[index]));
    }
    let counts = object::State::ALL.map(|state| (state.as_str(), registry.count(state)));
    Ok(Json(List { now: registry.now_ms(), counts: counts.into(), objects, more: in_use.more }))
}

/// What stands in a path as a class and a name.
pub(super) type NamePath = Result<Path<(String, String)>, PathRejection>;

/// The name that stands in a path.
pub(super) fn name(path: NamePath) -> Result<ObjectName, Problem> {
    let Path((class, name)) = path?;
    format!("{class}/{name}").parse().map_err(|error| Problem::bad(format!("{error}")))
}

/// The object where it is in use, and what is stored of it.
pub(super) async fn find(
    inside: &Inside,
    name: &ObjectName,
) -> Result<(Option<Arc<Handle>>, Option<Stored>), Problem> {
    let handle = inside.registry.get(name);
    let stored = inside.registry.stored(name).await?;
    Ok((handle, stored))
}

fn state(text: &str) -> Result<object::State, Problem> {
    let known = object::State::ALL.into_iter().find(|state| state.as_str() == text);
    let states = object::State::ALL.map(object::State::as_str).join(", ");
    known.ok_or_else(|| Problem::bad(format!("state must be one of {states}")))
}
