//! Whether the server is ready for clients, for load balancers and operators.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::log::Log;

/// Why a server that runs is not ready. It serves nevertheless what it can, unless it is draining.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotReady {
    /// It is being stopped: it takes no clients.
    Draining,
    /// The log has failed: nothing can be stored until the disk works again and the server has restarted.
    LogFailed,
    /// The disk is full: nothing can be stored until there is room.
    DiskFull,
}

impl NotReady {
    /// The text that `GET /health/ready` answers.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::LogFailed => "log_failed",
            Self::DiskFull => "disk_full",
        }
    }
}

/// The state of a server with a log. Clones share it.
#[derive(Clone)]
pub struct Health {
    log: Log,
    draining: Arc<AtomicBool>,
}

impl Health {
    /// Of a server that is not draining.
    pub fn new(log: Log) -> Self {
        Self { log, draining: Arc::default() }
    }

    /// The server is being stopped, for good.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the server is being stopped.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Why the server is not ready, unless it is.
    pub fn not_ready(&self) -> Option<NotReady> {
        if self.is_draining() {
            Some(NotReady::Draining)
        } else if self.log.has_failed() {
            Some(NotReady::LogFailed)
        } else {
            self.log.is_full().then_some(NotReady::DiskFull)
        }
    }
}
