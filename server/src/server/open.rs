//! Opens the parts that read the disk, each on a thread that may wait for it.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::auth::{self, Auth};
use crate::config::Config;
use crate::limits::{Budget, budget_bytes};
use crate::log::{self, Log, OpenError, ReadError};
use crate::object::presence::StoredRosters;
use crate::room;
use crate::session::{self, KeyError, Sessions};
use crate::tls::{self, Tls};

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = spawn_blocking(work).await;
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// What the log keeps in memory. It does not give this up when memory is short.
pub(super) struct LogMemory {
    cache_bytes: u64,
    memtable_bytes: Option<u64>,
}

/// Shares `limits.memory` out: to the log, and to the budget of what clients make the server hold.
pub(super) fn share_memory(
    config: &Config,
    metrics: &prometheus::Registry,
) -> prometheus::Result<(LogMemory, Budget)> {
    let (limit, default) = (config.limits.memory, log::Options::default().cache_bytes);
    let log = if limit == 0 {
        LogMemory { cache_bytes: default, memtable_bytes: None }
    } else {
        LogMemory { cache_bytes: default.min(limit / 8), memtable_bytes: Some(limit / 16) }
    };
    // One memtable fills while another one is written out.
    let log_bytes = log.cache_bytes + 2 * log.memtable_bytes.unwrap_or_default();
    let budget = Budget::new(budget_bytes(limit, log_bytes), metrics)?;
    Ok((log, budget))
}

/// Reads the key in the data directory, which the log has locked.
pub(super) async fn sessions(config: &Config) -> Result<Sessions, KeyError> {
    let dir = config.data.clone();
    let key = blocking(move || session::read_or_create(&dir)).await?;
    Ok(Sessions::new(&key))
}

/// Reads the rosters that were stored before.
pub(super) async fn rosters(log: Log) -> Result<StoredRosters, ReadError> {
    blocking(move || StoredRosters::read(&log)).await
}

/// Reads the keys of tokens.
pub(super) async fn auth(config: &Config) -> Result<Auth, auth::StartError> {
    let settings = config.auth.settings(&config.data);
    blocking(move || Auth::start(settings)).await
}

/// Reads the certificates, if there are any.
pub(super) async fn tls(config: &Config) -> Result<Option<Arc<Tls>>, tls::StartError> {
    let Some(settings) = config.tls.settings() else { return Ok(None) };
    let tls = blocking(move || Tls::start(settings)).await?;
    Ok(Some(Arc::new(tls)))
}

/// Opens the log. After a crash this replays the journal.
pub(super) async fn log(
    config: &Config,
    open_tables: usize,
    memory: LogMemory,
    metrics: log::Metrics,
) -> Result<Log, OpenError> {
    let kept = &config.classes.room.retention;
    let retention = log::Retention {
        max_events: (kept.max_events > 0).then_some(kept.max_events),
        max_age: (!kept.max_age.is_zero()).then_some(kept.max_age),
        max_bytes: (kept.max_bytes > 0).then_some(kept.max_bytes),
    };
    let retention = HashMap::from([(room::CLASS.to_owned(), retention)]);
    let min_free = config.log.min_free;
    let LogMemory { cache_bytes, memtable_bytes } = memory;
    let options = log::Options {
        retention,
        cache_bytes,
        memtable_bytes,
        open_tables,
        min_free,
        ..log::Options::default()
    };
    let dir = config.data.clone();
    blocking(move || Log::open(&dir, options, metrics)).await
}
