//! The whole server: starts its parts in order, and stops them in the reverse order.
//!
//! Knows every part and none of their work.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Config;
use crate::http::{self, Front, Health, NotReady};
use crate::metrics::Metrics;

/// A running server.
#[derive(Debug)]
pub struct Server {
    health: Health,
    front: Front,
    shutdown_timeout: Duration,
}

/// The server can't be started; what had been started is stopped again.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The HTTP server can't be started.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// The registry of metrics can't be made.
    #[error("cannot register the metrics of the process")]
    Metrics(#[from] prometheus::Error),
}

impl Server {
    /// Starts a server, which then accepts clients. Has to be called within a tokio runtime.
    #[expect(clippy::unused_async, reason = "opening the log will wait")]
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let metrics = Metrics::new()?;
        let health = Health::new();
        let front = Front::start(&config, &metrics, health.clone(), Arc::new(drop))?;
        Ok(Self { health, front, shutdown_timeout: config.shutdown_timeout })
    }

    /// Where it listens, with the real port where port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.front.address()
    }

    /// Waits until the server can't go on and has to be shut down.
    pub async fn failed(&self) -> NotReady {
        self.health.ended().await
    }

    /// Stops within `shutdown_timeout`: accepts nobody any more and ends what is under way.
    pub async fn shutdown(self) {
        let deadline = Instant::now() + self.shutdown_timeout;
        self.health.end(NotReady::Draining);
        self.front.stop(deadline).await;
    }
}
