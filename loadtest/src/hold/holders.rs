//! The scenario's side of the processes that hold connections.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::bench::server::Server;

/// Connections of one process: a system's usual limits allow it 20,000 files or more.
const CONNECTIONS_EACH: u32 = 9_500;

/// Processes that hold connections, killed when they are dropped.
pub(crate) struct Holders(Vec<Holder>);

struct Holder {
    child: Child,
    output: BufReader<ChildStdout>,
}

/// What the connections do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowd {
    /// How many there are.
    pub(crate) connections: u32,
    /// Over how many rooms they spread: the nth joins `room/{n % rooms}`.
    pub(crate) rooms: u32,
    /// How large the data of each one's presence is; 0 is no presence.
    pub(crate) presence_bytes: u32,
    /// Over how many addresses they are spread.
    pub(crate) source_addresses: u8,
}

impl Holders {
    /// Opens all connections; they have joined when this returns.
    pub(crate) fn open(server: &Server, crowd: &Crowd) -> Result<Self> {
        let program = env::current_exe()?;
        let firsts = (0..crowd.connections).step_by(CONNECTIONS_EACH as usize);
        let mut holders = Self(Vec::new());
        for first in firsts {
            let count = CONNECTIONS_EACH.min(crowd.connections - first);
            let mut child = Command::new(&program)
                .arg("hold")
                .arg(format!("--address={}", server.address()))
                .args(server.certificate().map(|file| format!("--tls={}", file.display())))
                .arg(format!("--first={first}"))
                .arg(format!("--count={count}"))
                .arg(format!("--rooms={}", crowd.rooms))
                .arg(format!("--presence-bytes={}", crowd.presence_bytes))
                .arg(format!("--source-addresses={}", crowd.source_addresses))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .with_context(|| format!("cannot start {}", program.display()))?;
            let output = BufReader::new(child.stdout.take().expect("its stdout is piped"));
            holders.0.push(Holder { child, output });
        }
        for holder in &mut holders.0 {
            holder.told("ready")?;
        }
        Ok(holders)
    }

    /// Ends them and tells how many connections were lost before.
    pub(crate) fn end(mut self) -> Result<u64> {
        self.0.iter_mut().map(Holder::end).sum()
    }
}

impl Holder {
    fn end(&mut self) -> Result<u64> {
        drop(self.child.stdin.take());
        self.told("closed")
    }

    /// Waits for a line with this word and tells its number.
    fn told(&mut self, word: &str) -> Result<u64> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        match line.trim().split_once(' ') {
            Some((first, number)) if first == word => Ok(number.parse()?),
            _ => bail!("a process that holds connections failed"),
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
