//! What is told of idle connections.

use std::fmt::{self, Display};

use serde::Serialize;

/// The figures.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Always `idle`.
    pub scenario: &'static str,
    /// Connections that were open.
    pub connections: u64,
    /// Rooms over which they were spread.
    pub rooms: u32,
    /// Bytes of text in the data of each one's presence.
    pub presence_bytes: u32,
    /// By how much the server's memory (PSS) grew from its start, after one connection to warm it up, to all connections open and all
    /// rooms asleep again, at the end of the time that is watched.
    pub server_pss_bytes_per_connection: f64,
    /// The server's processor time while nothing happened but pings, in percent of one core.
    pub server_cpu_percent: f64,
    /// The server's processor time for accepting, upgrading and joining.
    pub connect_cpu_us_per_connection: f64,
    /// How many of them were done a second, by the scenario's processes.
    pub connects_per_s: f64,
    /// By how much the kernel's slab grew, halved, since both ends of each connection are in this system. None where
    /// that can't be told.
    pub kernel_bytes_per_connection: Option<f64>,
    /// Pings that the server sent in the time that was watched.
    pub pings_sent: u64,
    /// Connections that ended before their time.
    pub unexpected_closes: u64,
    /// The server's version.
    pub server_version: String,
}

impl Outcome {
    /// Every connection stayed.
    pub fn is_valid(&self) -> bool {
        self.unexpected_closes == 0
    }
}

impl Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, rooms, presence_bytes, server_version, .. } = self;
        writeln!(
            f,
            "{connections} connections in {rooms} sleeping rooms, with {presence_bytes} bytes of presence each, dormouse {server_version}"
        )?;
        writeln!(
            f,
            "server memory    {} bytes a connection",
            self.server_pss_bytes_per_connection
        )?;
        match self.kernel_bytes_per_connection {
            Some(bytes) => writeln!(
                f,
                "kernel memory    {bytes} bytes a connection (our end; what else the system does is in it)"
            )?,
            None => writeln!(f, "kernel memory    not known")?,
        }
        writeln!(
            f,
            "connect + join   {} µs of CPU each, {} a second",
            self.connect_cpu_us_per_connection, self.connects_per_s
        )?;
        writeln!(
            f,
            "at rest          {} % of a core, {} pings",
            self.server_cpu_percent, self.pings_sent
        )?;
        write!(f, "lost connections {}", self.unexpected_closes)
    }
}
