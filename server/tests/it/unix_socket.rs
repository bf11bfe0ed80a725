//! The operators' address as a Unix socket.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};

use crate::support::{PATIENCE, dormouse};

/// A server that is killed when it is dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(data: &Path, socket: &str) -> Program {
    let mut command = dormouse(&["--listen", "127.0.0.1:0", "--internal", socket, "--data"]);
    let mut child = command.arg(data).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (public, internal) = (lines.next().unwrap().unwrap(), lines.next().unwrap().unwrap());
    assert!(public.contains("listening on http://127.0.0.1:"), "{public}");
    assert!(internal.ends_with(&format!("internal on {socket}")), "{internal}");
    Program(child)
}

fn get(path: &Path, target: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn operators_reach_the_server_over_a_unix_socket_and_nobody_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("operators.sock");
    let socket = format!("unix:{}", path.display());
    let data = dir.path().join("data");
    let mut program = start(&data, &socket);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(get(&path, "/metrics").contains("dormouse_connections"));
    assert!(get(&path, "/health/ready").ends_with("ready\n"));
    assert!(get(&path, "/v1/connect").starts_with("HTTP/1.1 404 "), "it is for operators only");

    let run = |args: &[&str]| {
        let output = dormouse(args).args(["--url", &socket]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run(&["api-key", "list"]), "there are no API keys\n");
    assert!(
        run(&["api-key", "create", "shop", "--grant", "room/*: join"]).starts_with("dormouse_")
    );
    assert_eq!(run(&["revoke", "list"]), "nothing is revoked\n");
    assert!(run(&["objects", "--once"]).contains("asleep"));

    // A second server does not take it away from the first.
    let other = dir.path().join("other");
    let flags = ["--listen", "127.0.0.1:0", "--internal", &socket, "--data"];
    let refused = dormouse(&flags).arg(&other).output().unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && error.contains("cannot listen on unix:"), "{error}");
    assert!(get(&path, "/health/live").ends_with("live\n"));

    // What a server leaves behind that was killed is no obstacle.
    program.0.kill().unwrap();
    program.0.wait().unwrap();
    assert!(path.exists());
    let mut program = start(&data, &socket);
    assert!(get(&path, "/health/live").ends_with("live\n"));
    let pid = nix::unistd::Pid::from_raw(program.0.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(program.0.wait().unwrap().success());
    assert!(!path.exists(), "a server that stops takes its socket with it");
}
