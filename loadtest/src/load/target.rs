//! Whom a scenario aims at: a server of its own, or one that runs already.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::pin::Cores;
use crate::bench::proc;
use crate::bench::server::{Server, Site};
use crate::cli::{ServerOptions, TargetOptions};

/// Connections that a server allows beyond those of the scenario.
const SPARE_CONNECTIONS: u32 = 64;

/// A server, which ends with this where it was started by it.
pub(crate) struct Target {
    /// What it is.
    pub(crate) system: &'static str,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its certificate, if it uses TLS there.
    pub(crate) certificate: Option<PathBuf>,
    /// Where it listens for operators; of a server that runs already, the address that was named.
    pub(crate) internal: SocketAddr,
    /// Its processes, as far as they are known: what they use is summed.
    pub(crate) processes: Vec<u32>,
    /// Its version, where it is known.
    pub(crate) version: Option<String>,
    /// Before the place of its log, which is removed.
    _server: Option<Server>,
    _site: Option<Site>,
}

impl Target {
    /// The server that the options name, or else a new one that allows so many connections.
    pub(crate) fn new(options: &TargetOptions, connections: u32) -> Result<Self> {
        Self::new_with(options, connections, &[])
    }

    /// Likewise, with these settings where it is a new one.
    pub(crate) fn new_with(
        options: &TargetOptions,
        connections: u32,
        settings: &[(&str, String)],
    ) -> Result<Self> {
        let cores = options.pin.then(Cores::of_this_process).transpose()?;
        let target = if let Some(url) = &options.url {
            Self::at(url, options.pid)?
        } else {
            cores.as_ref().map_or(Ok(()), Cores::use_first)?;
            Self::start_for(&options.server, options.tls, connections, settings)?
        };
        cores.as_ref().map_or(Ok(()), Cores::use_last)?;
        Ok(target)
    }

    /// A Dormouse that runs already.
    pub(crate) fn at(url: &str, pid: Option<u32>) -> Result<Self> {
        Ok(Self::running("dormouse", address(url)?, pid.into_iter().collect(), None))
    }

    /// A server that runs already.
    pub(crate) fn running(
        system: &'static str,
        address: SocketAddr,
        processes: Vec<u32>,
        version: Option<String>,
    ) -> Self {
        let internal = address;
        Self {
            system,
            address,
            certificate: None,
            internal,
            processes,
            version,
            _server: None,
            _site: None,
        }
    }

    /// A new one that allows so many connections.
    pub(crate) fn start(options: &ServerOptions, connections: u32) -> Result<Self> {
        Self::start_for(options, false, connections, &[])
    }

    fn start_for(
        options: &ServerOptions,
        tls: bool,
        connections: u32,
        settings: &[(&str, String)],
    ) -> Result<Self> {
        let allowed = (connections + SPARE_CONNECTIONS).to_string();
        let limits = [("LIMITS_CONNECTIONS", allowed.clone()), ("LIMITS_ROSTER_MEMBERS", allowed)];
        Self::start_at(Site::new(options)?.over_tls(tls)?, &[&limits, settings].concat())
    }

    /// A new one with these settings.
    pub(crate) fn start_with(options: &ServerOptions, settings: &[(&str, String)]) -> Result<Self> {
        Self::start_at(Site::new(options)?, settings)
    }

    fn start_at(site: Site, settings: &[(&str, String)]) -> Result<Self> {
        let server = site.start(settings)?;
        Ok(Self {
            system: "dormouse",
            address: server.address(),
            certificate: server.certificate().map(Path::to_path_buf),
            internal: server.internal(),
            processes: vec![server.pid()],
            version: Some(server.version().to_owned()),
            _server: Some(server),
            _site: Some(site),
        })
    }

    /// How long its threads have run so far. None where its process is not known.
    pub(crate) fn cpu_time(&self) -> Result<Option<Duration>> {
        let times = self.processes.iter().map(|pid| proc::cpu_time(*pid));
        let sum = times.sum::<Result<Duration>>()?;
        Ok((!self.processes.is_empty()).then_some(sum))
    }

    /// Its memory, in bytes. None where its process is not known.
    pub(crate) fn pss_bytes(&self) -> Result<Option<u64>> {
        let bytes = self.processes.iter().map(|pid| proc::pss_bytes(*pid));
        let sum = bytes.sum::<Result<u64>>()?;
        Ok((!self.processes.is_empty()).then_some(sum))
    }
}

/// `ws://127.0.0.1:7700`, and what may follow.
fn address(url: &str) -> Result<SocketAddr> {
    let rest = url.strip_prefix("ws://").context("--url begins with ws://")?;
    let host = rest.split('/').next().unwrap_or(rest);
    let mut addresses = host.to_socket_addrs().with_context(|| format!("--url {url}"))?;
    addresses.next().with_context(|| format!("--url {url} has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_url_is_taken_for_its_address() {
        for url in ["ws://127.0.0.1:7700", "ws://127.0.0.1:7700/", "ws://127.0.0.1:7700/v1/connect"]
        {
            assert_eq!(address(url).unwrap(), "127.0.0.1:7700".parse().unwrap());
        }
        for bad in ["127.0.0.1:7700", "wss://127.0.0.1:7700", "ws://127.0.0.1"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
