//! The program as a child process, that can be killed and started again.

use std::io::{BufRead, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Instant;

use crate::support::{PATIENCE, dormouse};

/// The running program; killed when the test is over.
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    /// The one for operators.
    pub(crate) internal: SocketAddr,
    stdout: BufReader<ChildStdout>,
}

impl Program {
    /// Starts the program on a directory; port 0 takes a free port.
    pub(crate) fn start(data: &Path, port: u16, variables: &[(&str, &str)]) -> Self {
        let mut command = dormouse(&["--listen", &format!("127.0.0.1:{port}")]);
        command.envs(variables.iter().copied()).arg("--data").arg(data);
        Self::run(command)
    }

    /// Runs a command that becomes the program, and waits until it listens.
    pub(crate) fn run(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (address, internal) = announced(&mut stdout);
        Self { child, address, internal, stdout }
    }

    /// Waits until the program has started itself anew.
    pub(crate) fn restarted(&mut self) {
        (self.address, self.internal) = announced(&mut self.stdout);
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// SIGKILL: the program learns nothing of it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What an ended program has written after its addresses.
    pub(crate) fn rest_of_stdout(&mut self) -> String {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        rest
    }

    /// Waits until the program has ended.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(since.elapsed() < PATIENCE, "the program does not end");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It fails where the program has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the program says that it listens, for clients and for operators.
fn announced(stdout: &mut impl BufRead) -> (SocketAddr, SocketAddr) {
    let mut address_of = |what: &str| {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let start = format!("dormouse {} {what} on http://", env!("CARGO_PKG_VERSION"));
        let address = line.trim().strip_prefix(&start);
        address.unwrap_or_else(|| panic!("{line:?}")).parse().unwrap()
    };
    (address_of("listening"), address_of("internal"))
}

/// The program's command under a shell that sets limits first.
pub(crate) fn limited(limits: &str, program: &Command) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("{limits}; exec \"$@\""), "sh"]);
    limited.arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited
}
