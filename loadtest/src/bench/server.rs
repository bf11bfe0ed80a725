//! A server of the scenario's own: a process on a free port of the loopback address, killed when it is dropped.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::metrics::Metrics;
use super::proc;
use crate::cli::ServerOptions;
use crate::drive::tls::NAME;

/// How long objects may take to fall asleep, beyond the time that is configured.
const REST_TIMEOUT: Duration = Duration::from_mins(2);
/// How long the allocator gets to give freed memory back to the system.
const SETTLE: Duration = Duration::from_secs(2);
/// States of an object in which it costs memory for itself.
const NOT_ASLEEP: [&str; 3] = ["waking", "awake", "falling_asleep"];
/// What all environment variables of the server's configuration begin with.
const PREFIX: &str = "DORMOUSE_";

/// Which program to run, and where its log lies. The log is removed at the end.
pub(crate) struct Site {
    program: PathBuf,
    data: TempDir,
    /// The certificate that was made; its key is beside it.
    certificate: Option<PathBuf>,
}

/// A server that starts.
pub(crate) struct Launch {
    process: Process,
    output: BufReader<ChildStdout>,
    certificate: Option<PathBuf>,
}

/// A running server.
pub(crate) struct Server {
    process: Process,
    /// Kept open, so that the server can go on writing.
    _output: BufReader<ChildStdout>,
    address: SocketAddr,
    internal: SocketAddr,
    certificate: Option<PathBuf>,
    version: String,
}

/// A process that is killed when it is dropped.
struct Process(Child);

impl Site {
    /// An empty directory for the log, and the program, which must be there.
    pub(crate) fn new(options: &ServerOptions) -> Result<Self> {
        let program = match &options.server {
            Some(program) => program.clone(),
            None => env::current_exe()?.with_file_name("dormouse"),
        };
        ensure!(
            program.is_file(),
            "no server at {}: run `cargo build --release`, or name the program with --server",
            program.display()
        );
        let parent = options.data.clone().unwrap_or_else(env::temp_dir);
        let data = TempDir::with_prefix_in("dormouse-", &parent)
            .with_context(|| format!("cannot make a directory in {}", parent.display()))?;
        Ok(Self { program, data, certificate: None })
    }

    /// Gives its servers a certificate, if `tls` is true.
    pub(crate) fn over_tls(mut self, tls: bool) -> Result<Self> {
        self.certificate = tls.then(|| make_certificate(self.data.path())).transpose()?;
        Ok(self)
    }

    /// Starts a server on what the last one left. What is not set has its default, whatever the environment says.
    pub(crate) fn start(&self, settings: &[(&str, String)]) -> Result<Server> {
        self.launch(0, settings)?.ready()
    }

    /// The same on a port, without waiting until it is ready.
    pub(crate) fn launch(&self, port: u16, settings: &[(&str, String)]) -> Result<Launch> {
        let tls = self.certificate.as_ref().map(|file| {
            let key = file.with_extension("key");
            ("TLS_CERTIFICATES", format!("{}, {}", file.display(), key.display()))
        });
        let settings = [settings, tls.as_slice()].concat();
        let certificate = self.certificate.clone();
        Launch::new(&self.program, self.data.path(), port, &settings, certificate)
    }

    /// Removes the log of a server that has ended.
    pub(crate) fn lose_log(&self) -> Result<()> {
        let log = self.data.path().join("log");
        fs::remove_dir_all(&log).with_context(|| format!("cannot remove {}", log.display()))
    }

    /// Leaves the directory where it is.
    pub(crate) fn keep(self) -> PathBuf {
        self.data.keep()
    }
}

impl Launch {
    fn new(
        program: &Path,
        data: &Path,
        port: u16,
        settings: &[(&str, String)],
        certificate: Option<PathBuf>,
    ) -> Result<Self> {
        let mut command = Command::new(program);
        for (name, _) in env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with(PREFIX)) {
            command.env_remove(name);
        }
        let mut child = command
            .args(["--listen", &format!("127.0.0.1:{port}"), "--internal", "127.0.0.1:0", "--data"])
            .arg(data)
            .envs(settings.iter().map(|(key, value)| (format!("{PREFIX}{key}"), value)))
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let output = BufReader::new(child.stdout.take().expect("its stdout is piped"));
        Ok(Self { process: Process(child), output, certificate })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.process.0.id().cast_signed())
    }

    /// Waits until it has said where it listens.
    pub(crate) fn ready(self) -> Result<Server> {
        let Self { mut process, mut output, certificate } = self;
        let mut announced = |what| {
            let mut line = String::new();
            output.read_line(&mut line).ok().and_then(|_| parse_announcement(&line, what))
        };
        let public = announced("listening");
        let (Some(public), Some(internal)) = (public, announced("internal")) else {
            let _ = process.0.kill();
            let status = process.0.wait()?;
            bail!("the server did not start ({status})");
        };
        let ((version, address), (_, internal)) = (public, internal);
        Ok(Server { process, _output: output, address, internal, certificate, version })
    }
}

impl Server {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for operators.
    pub(crate) fn internal(&self) -> SocketAddr {
        self.internal
    }

    /// The URL for clients without TLS. If `address` uses TLS, this is the address for operators.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}", if self.certificate.is_some() { self.internal } else { self.address })
    }

    /// Its certificate, if the address for clients uses TLS.
    pub(crate) fn certificate(&self) -> Option<&Path> {
        self.certificate.as_deref()
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// How it ended, where it did so by itself.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.process.0.try_wait()?)
    }

    /// Asks it to stop in order.
    pub(crate) fn terminate(&self) -> Result<()> {
        let pid = Pid::from_raw(self.pid().cast_signed());
        Ok(kill(pid, Signal::SIGTERM)?)
    }

    /// The version of the program.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Its memory, in bytes.
    pub(crate) fn pss_bytes(&self) -> Result<u64> {
        proc::pss_bytes(self.pid())
    }

    /// How long its threads have run so far.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        proc::cpu_time(self.pid())
    }

    /// What it counts at this moment.
    pub(crate) fn metrics(&self) -> Result<Metrics> {
        Metrics::fetch(self.internal)
    }

    /// Waits until every object sleeps and so many connections are open, and then for freed memory to go back to the
    /// system.
    pub(crate) fn rest(&self, connections: u64) -> Result<()> {
        let until = Instant::now() + REST_TIMEOUT;
        loop {
            let metrics = self.metrics()?;
            let awake = metrics.sum_of("dormouse_objects", "state", &NOT_ASLEEP)?;
            let open = metrics.sum("dormouse_connections")?;
            if awake == 0 && open == connections {
                break;
            }
            ensure!(
                Instant::now() < until,
                "{awake} objects are not asleep and {open} connections open, instead of 0 and {connections}"
            );
            sleep(Duration::from_millis(100));
        }
        sleep(SETTLE);
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // `kill` sends SIGKILL. The process may be dead already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `dormouse 1.2.3 listening on http://127.0.0.1:7700`, and likewise `internal on`; `https` with TLS.
fn parse_announcement(line: &str, what: &str) -> Option<(String, SocketAddr)> {
    let (program, url) = line.trim().split_once(" on ")?;
    let version = program.strip_prefix("dormouse ")?.strip_suffix(what)?.trim_end();
    let (_, address) = url.split_once("://")?;
    Some((version.to_owned(), address.parse().ok()?))
}

/// Makes a certificate and its key, and returns the file of the certificate.
fn make_certificate(dir: &Path) -> Result<PathBuf> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let file = dir.join("tls.pem");
    fs::write(&file, made.cert.pem())?;
    fs::write(file.with_extension("key"), made.signing_key.serialize_pem())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announcement_tells_version_and_address() {
        let line = "dormouse 1.2.3 listening on http://127.0.0.1:4711\n";
        let address = "127.0.0.1:4711".parse().unwrap();
        let announced = Some(("1.2.3".to_owned(), address));
        assert_eq!(parse_announcement(line, "listening"), announced);
        let line = line.replace("http", "https");
        assert_eq!(parse_announcement(&line, "listening"), announced);
        assert_eq!(parse_announcement(&line, "internal"), None);
        assert_eq!(parse_announcement("", "listening"), None);
    }

    #[test]
    fn a_program_that_is_missing_is_named_with_the_remedy() {
        let options = ServerOptions { server: Some("/nowhere/dormouse".into()), data: None };
        let error = Site::new(&options).err().unwrap().to_string();
        assert!(error.contains("/nowhere/dormouse") && error.contains("cargo build"), "{error}");
    }
}
