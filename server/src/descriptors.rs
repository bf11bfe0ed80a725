//! File descriptors: how many the system allows, and how they are divided.
//!
//! The log opens files as it works, and one that it can't open is its end. So sockets get only what is left beside it, and
//! who comes when all of that is taken is refused like anybody beyond `limits.connections`, which is what is lowered.

use crate::config::Config;

/// Pollers, listeners, journals, tables that are being written, and connections of operators.
const OWN: u64 = 160;
/// Tables of the log that stay open between two reads, where there are descriptors enough.
const TABLES: u64 = 256;

/// The share of each part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shares {
    connections: u64,
    http_connections: u64,
    tables: u64,
}

/// Raises the process's limit as far as it goes, and lowers `limits.connections` and `limits.http_connections` where it is too
/// low for them. Returns how many tables the log may keep open.
pub(crate) fn share_out(config: &mut Config) -> usize {
    // The soft limit is often 1024.
    let allowed = rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
        tracing::warn!(%error, "the limit of open files is not known");
        u64::MAX
    });
    let limits = &mut config.limits;
    let wanted = (limits.connections as u64, limits.http_connections as u64);
    let shares = Shares::of(allowed, wanted.0, wanted.1);
    if (shares.connections, shares.http_connections) != wanted {
        tracing::warn!(
            "the system allows {allowed} open files, too few for limits.connections = {} and limits.http_connections = {}: \
             they are lowered to {} and {}; raise `ulimit -Hn`, or lower them",
            wanted.0,
            wanted.1,
            shares.connections,
            shares.http_connections,
        );
        limits.connections = shares.connections as usize;
        limits.http_connections = shares.http_connections as usize;
    }
    shares.tables as usize
}

impl Shares {
    fn of(allowed: u64, connections: u64, http_connections: u64) -> Self {
        let tables = TABLES.min(allowed / 16);
        let sockets = allowed.saturating_sub(OWN + tables);
        if connections + http_connections <= sockets {
            return Self { connections, http_connections, tables };
        }
        // A handshake is over soon, a connection stays.
        let http_connections = http_connections.min(sockets / 8).max(1);
        let connections = connections.min(sockets.saturating_sub(http_connections)).max(1);
        Self { connections, http_connections, tables }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_get_what_the_log_leaves() {
        let shares = |allowed| {
            let Shares { connections, http_connections, tables } =
                Shares::of(allowed, 16_384, 1_024);
            assert!(connections + http_connections + tables + OWN <= allowed.max(OWN + 2));
            (connections, http_connections, tables)
        };
        assert_eq!(shares(u64::MAX), (16_384, 1_024, 256));
        assert_eq!(shares(20_000), (16_384, 1_024, 256));
        assert_eq!(shares(1_024), (700, 100, 64));
        assert_eq!(shares(256), (70, 10, 16));
        assert_eq!(shares(10), (1, 1, 0));
    }
}
