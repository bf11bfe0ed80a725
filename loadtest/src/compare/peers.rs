//! The systems with which Dormouse is compared: whether they are installed, how they are started, and that they end.
//!
//! Each is one process, so that its figures are those of its process. What it is told stands in its file in `loadtest/peers`.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

/// How long a peer may take until it accepts connections.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Where Debian puts nchan.
const NCHAN_MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";
/// Where Debian puts servers; it is not in everybody's `PATH`.
const SERVERS: &str = "/usr/sbin";

/// A system that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// Topics of Bun's server, which is uWebSockets.
    Bun,
    /// nats-server, spoken to through WebSockets.
    Nats,
    /// The module nchan of nginx.
    Nchan,
    /// socket.io on Node.js.
    SocketIo,
}

/// A peer that can be started.
#[derive(Debug)]
pub(super) struct Installed {
    peer: Peer,
    program: PathBuf,
    /// The directory of the peers' files.
    files: PathBuf,
    version: String,
}

/// A peer that runs; it is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    address: SocketAddr,
    /// What it writes.
    _scratch: TempDir,
}

impl Peer {
    /// Looks for the peer; an error says how to get it.
    pub(super) fn find(self, files: &Path) -> Result<Installed> {
        let name = match self {
            Self::Bun => "node_modules/.bin/bun",
            Self::Nats => "nats-server",
            Self::Nchan => "nginx",
            Self::SocketIo => "node",
        };
        let needed = match self {
            Self::Bun | Self::Nats => None,
            Self::Nchan => Some(PathBuf::from(NCHAN_MODULE)),
            Self::SocketIo => Some(files.join("node_modules/socket.io")),
        };
        let program = match self {
            Self::Bun => Some(files.join(name)).filter(|path| path.is_file()),
            Self::Nats | Self::Nchan | Self::SocketIo => find_program(name),
        };
        let program = program.filter(|_| needed.is_none_or(|path| path.exists()));
        let program = program.with_context(|| format!("not installed: {}", self.remedy(files)))?;
        let files = files.canonicalize().with_context(|| {
            format!("its settings are not in {}: name the directory with --peers", files.display())
        })?;
        let version = self.version(&program, &files)?;
        Ok(Installed { peer: self, program, files, version })
    }

    fn remedy(self, files: &Path) -> String {
        match self {
            Self::Bun => format!("npm --prefix {} ci", files.display()),
            Self::Nats => "apt-get install nats-server".to_owned(),
            Self::Nchan => "apt-get install nginx libnginx-mod-nchan".to_owned(),
            Self::SocketIo => format!("install Node.js, then npm --prefix {} ci", files.display()),
        }
    }

    fn version(self, program: &Path, files: &Path) -> Result<String> {
        let told = |flag| told_version(program, &[flag]);
        Ok(match self {
            Self::Bun => format!("Bun {}", told("--version")?),
            Self::Nats => format!("nats-server {}", told("--version")?),
            Self::Nchan => {
                // The module does not tell; its package does.
                let package = ["--show", "--showformat=${Version}", "libnginx-mod-nchan"];
                let nchan = told_version(Path::new("dpkg-query"), &package).unwrap_or_default();
                format!("nginx {} with nchan {nchan}", told("-v")?).trim_end().to_owned()
            }
            Self::SocketIo => {
                let package = fs::read(files.join("node_modules/socket.io/package.json"))?;
                let package: serde_json::Value = serde_json::from_slice(&package)?;
                let version = package["version"].as_str().context("socket.io has no version")?;
                format!("socket.io {version} on Node.js {}", told("--version")?)
            }
        })
    }
}

impl Installed {
    /// Which it is.
    pub(super) fn peer(&self) -> Peer {
        self.peer
    }

    /// Its name and version, for people.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Starts it on a free port of the loopback address and waits until it accepts connections.
    pub(super) fn start(&self) -> Result<Running> {
        let scratch = TempDir::with_prefix("dormouse-peer-")?;
        let port = free_port()?;
        let mut command = Command::new(&self.program);
        match self.peer {
            Peer::Bun => command.arg(self.files.join("bun.mjs")),
            Peer::Nats => command.arg("-c").arg(self.files.join("nats.conf")),
            Peer::Nchan => {
                let settings = fs::read_to_string(self.files.join("nginx.conf"))?;
                let settings = settings.replace("$PORT", &port.to_string());
                fs::write(scratch.path().join("nginx.conf"), settings)?;
                command.arg("-p").arg(scratch.path()).args(["-c", "nginx.conf"])
            }
            Peer::SocketIo => command.arg(self.files.join("socket-io.mjs")),
        };
        let child = command
            .env("PORT", port.to_string())
            .env("NODE_ENV", "production")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut running = Running { child, address, _scratch: scratch };
        running.wait().with_context(|| format!("{} did not start", self.version))?;
        Ok(running)
    }
}

impl Running {
    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait(&mut self) -> Result<()> {
        let until = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended: {status}");
            }
            ensure!(Instant::now() < until, "it accepts no connections");
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // `kill` sends SIGKILL. The process may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain([PathBuf::from(SERVERS)]);
    places.map(|place| place.join(name)).find(|program| program.is_file())
}

/// The version that a program tells, on either of its outputs.
fn told_version(program: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    parse_version(&text)
        .map(str::to_owned)
        .with_context(|| format!("{} tells no version: {text}", program.display()))
}

/// The first word of numbers and dots, without what stands before the numbers: `nginx version: nginx/1.22.1`.
fn parse_version(text: &str) -> Option<&str> {
    text.split_whitespace().find_map(|word| {
        let version = &word[word.find(|c: char| c.is_ascii_digit())?..];
        version.contains('.').then_some(version)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_in_many_ways() {
        assert_eq!(parse_version("1.4.5\n"), Some("1.4.5"));
        assert_eq!(parse_version("v20.20.2\n"), Some("20.20.2"));
        assert_eq!(parse_version("nats-server: v2.9.10\n"), Some("2.9.10"));
        assert_eq!(parse_version("nginx version: nginx/1.22.1\n"), Some("1.22.1"));
        assert_eq!(parse_version("no such option\n"), None);
    }

    #[test]
    fn a_peer_that_is_missing_is_told_with_the_remedy() {
        let nowhere = Path::new("/nowhere/peers");
        for peer in [Peer::Bun, Peer::SocketIo] {
            let error = peer.find(nowhere).unwrap_err().to_string();
            assert!(error.contains("npm --prefix /nowhere/peers ci"), "{error}");
        }
    }
}
