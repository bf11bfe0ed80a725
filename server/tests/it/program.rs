//! The program: how it starts, what it says, and how it stops.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::{PATIENCE, dormouse, wait_until_refused};

/// The running program; killed when the test is over.
struct Program {
    child: Child,
    address: SocketAddr,
    _data: TempDir,
}

impl Program {
    fn start(args: &[&str]) -> Self {
        Self::run(dormouse(args))
    }

    fn run(mut command: Command) -> Self {
        let data = TempDir::new().unwrap();
        command.arg("--data").arg(data.path()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        let address = line.trim().strip_prefix(&format!("dormouse {version} listening on http://"));
        let address = address.unwrap_or_else(|| panic!("{line:?}")).parse().unwrap();
        Self { child, address, _data: data }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

impl Drop for Program {
    fn drop(&mut self) {
        // It fails where the program has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn port_zero_takes_a_free_port_and_tells_it() {
    for args in [&["--listen", "127.0.0.1:0"][..], &["serve", "--listen", "127.0.0.1:0"]] {
        let program = Program::start(args);
        assert_ne!(program.address.port(), 0);
        let answer = get(program.address, "/health/ready");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}

#[test]
fn a_signal_to_stop_ends_the_program_well() {
    for name in ["TERM", "INT"] {
        let mut program = Program::start(&["--listen", "127.0.0.1:0"]);
        program.signal(name);
        assert_eq!(program.child.wait().unwrap().code(), Some(0), "{name}");
        assert!(TcpStream::connect(program.address).is_err());
    }
}

#[test]
fn a_second_signal_ends_the_program_at_once() {
    let mut program = Program::start(&["--listen", "127.0.0.1:0"]);
    let mut slow = TcpStream::connect(program.address).unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    // An answer to a later connection shows that the slow one has been accepted: the stop will wait for it.
    get(program.address, "/health/live");
    program.signal("TERM");
    wait_until_refused(program.address);
    program.signal("TERM");
    assert_eq!(program.child.wait().unwrap().code(), Some(1));
}

#[test]
fn running_out_of_file_descriptors_is_outlived() {
    const FILES: usize = 256;
    let program = dormouse(&["--listen", "127.0.0.1:0"]);
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -n {FILES}; exec \"$@\""), "sh"]);
    limited.arg(program.get_program()).args(program.get_args());
    for (name, _) in program.get_envs() {
        limited.env_remove(name);
    }
    limited.stderr(Stdio::piped());
    let mut program = Program::run(limited);
    let crowd: Vec<_> =
        (0..FILES + 50).map(|_| TcpStream::connect(program.address).unwrap()).collect();
    let log = BufReader::new(program.child.stderr.take().unwrap());
    assert!(log.lines().any(|line| line.unwrap().contains("connections can't be accepted")));
    drop(crowd);
    let metrics = get(program.address, "/metrics");
    let errors =
        metrics.lines().find(|line| line.starts_with("dormouse_http_accept_errors_total "));
    assert_ne!(errors, Some("dormouse_http_accept_errors_total 0"), "{metrics}");
}

#[test]
fn an_address_in_use_is_a_clear_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = TempDir::new().unwrap();
    let output = dormouse(&["--listen", &address]).arg("--data").arg(data.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains(&format!("error: cannot listen on {address}\n  caused by: ")), "{text}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_wrong_flag_or_filter_is_a_usage_error() {
    let output = dormouse(&["--listen", "nowhere"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let output = dormouse(&[]).env("RUST_LOG", "dormouse=loudly").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("RUST_LOG"));
}
