//! Whether the server is ready for clients, for load balancers and for whoever has to stop the program.

use tokio::sync::watch;

/// Why a server that runs takes no clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotReady {
    /// It is being stopped.
    Draining,
    /// The log has failed: nothing can be stored until a restart.
    LogFailed,
}

impl NotReady {
    /// The text that `GET /health/ready` answers.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::LogFailed => "log_failed",
        }
    }
}

/// Ready until a part says otherwise; never ready again after that. Clones share one state.
#[derive(Debug, Clone)]
pub struct Health(watch::Sender<Option<NotReady>>);

impl Health {
    /// Ready.
    pub fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Ends readiness. The first reason stays.
    pub fn end(&self, reason: NotReady) {
        self.0.send_if_modified(|state| {
            let first = state.is_none();
            state.get_or_insert(reason);
            first
        });
    }

    /// Why the server is not ready, unless it is.
    pub fn not_ready(&self) -> Option<NotReady> {
        *self.0.borrow()
    }

    /// Waits for the end of readiness.
    pub async fn ended(&self) -> NotReady {
        let mut state = self.0.subscribe();
        let reason = state.wait_for(Option::is_some).await.map(|reason| *reason);
        reason.ok().flatten().expect("the sender lives in self, and it waited for a reason")
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_stays() {
        let health = Health::new();
        assert_eq!(health.not_ready(), None);
        health.end(NotReady::LogFailed);
        health.clone().end(NotReady::Draining);
        assert_eq!(health.not_ready(), Some(NotReady::LogFailed));
        assert_eq!(health.ended().await, NotReady::LogFailed);
    }
}
