//! The real server, as a process that can be killed.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::TempDir;

pub(crate) struct Server {
    data: TempDir,
    address: String,
    process: Process,
}

struct Process {
    child: Child,
    /// Kept open, so that the server can go on writing.
    _output: BufReader<ChildStdout>,
}

impl Server {
    /// Starts one with an empty log on a free port.
    pub(crate) fn start() -> Self {
        let data = TempDir::new().unwrap();
        let (process, address) = Process::start(data.path(), "127.0.0.1:0");
        Self { data, address, process }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Kills it with SIGKILL and starts it again on the same port and log.
    pub(crate) fn killed_and_restarted(self) -> Self {
        let Self { data, address, process } = self;
        // Dropping it kills it.
        drop(process);
        let (process, same) = Process::start(data.path(), &address);
        assert_eq!(same, address);
        Self { data, address, process }
    }
}

impl Process {
    fn start(data: &Path, listen: &str) -> (Self, String) {
        let binary = binary();
        let mut child = Command::new(&binary)
            .arg("--listen")
            .arg(listen)
            .arg("--data")
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| {
                panic!("{}: {e}: build it with `cargo build -p dormouse-server`", binary.display())
            });
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line.trim().rsplit_once("http://").map(|(_, address)| address.to_owned());
        let process = Self { child, _output: output };
        let address = address.unwrap_or_else(|| panic!("the server did not start: {line:?}"));
        (process, address)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // `kill` sends SIGKILL. The process may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `dormouse` lies in the directory above that of the tests.
fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("dormouse")
}
