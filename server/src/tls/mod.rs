//! TLS of connections (RFC 8446, and TLS 1.2 by RFC 5246): certificates, and the sessions of connections.
//!
//! Does not know HTTP, WebSocket, or the grants of certificates.

mod certificates;
mod session;
mod stream;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;

pub use self::certificates::{CertificateFiles, NotCertificateFiles, ReadError, Settings};
pub(crate) use self::session::SESSION_BYTES;
pub use self::session::{Arrived, MIN_WRITE_BUFFER, Session};
pub use self::stream::Stream;
use crate::limits::Budget;
use crate::periodic::Periodic;

/// How often the files are read again.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// Why the server cannot offer TLS.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file cannot be used.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The system refuses a thread.
    #[error("cannot start a thread that reloads certificates")]
    Thread(#[from] io::Error),
}

/// What connections need to begin TLS: the certificates of now.
pub struct Tls {
    config: Arc<RwLock<Arc<ServerConfig>>>,
    _reload: Periodic,
}

impl Tls {
    /// Reads the certificates, and reads them again when their files change: connections that are open stay. Blocks.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let mut files = settings.read()?;
        let config = Arc::new(RwLock::new(settings.config(&files)?));
        let (reloaded, mut has_failed) = (config.clone(), false);
        let reload = Periodic::start("tls-files", RELOAD_INTERVAL, move || {
            match settings.reload(&mut files) {
                Ok(None) => has_failed = false,
                Ok(Some(config)) => {
                    *reloaded.write() = config;
                    has_failed = false;
                    tracing::info!("the TLS certificates have changed");
                }
                // They may be being written.
                Err(error) => {
                    if !std::mem::replace(&mut has_failed, true) {
                        let cause = std::error::Error::source(&error).map(ToString::to_string);
                        tracing::warn!(
                            %error,
                            cause,
                            "the TLS certificates cannot be read again: those from before stay"
                        );
                    }
                }
            }
        })?;
        Ok(Self { config, _reload: reload })
    }

    /// The session of a new connection; `None` if the budget has no room for it.
    pub fn session(&self, budget: &Budget) -> Option<Box<Session>> {
        let config = self.config.read().clone();
        let connection = UnbufferedServerConnection::new(config)
            .inspect_err(|error| tracing::error!(%error, "a TLS session cannot be made"));
        Session::new(connection.ok()?, budget).map(Box::new)
    }
}

#[cfg(test)]
mod tests;
