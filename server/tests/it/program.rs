//! The program: how it starts, what it says, and how it stops.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::process::Command;

use tempfile::TempDir;

use crate::process::Program;
use crate::support::{PATIENCE, dormouse, wait_until_refused};

fn start(args: &[&str]) -> (Program, TempDir) {
    start_command(dormouse(args))
}

fn start_command(mut command: Command) -> (Program, TempDir) {
    let data = TempDir::new().unwrap();
    command.arg("--data").arg(data.path());
    (Program::run(command), data)
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// `localhost` may have two addresses: all of them are listened on, at one port.
#[test]
fn a_host_by_name_is_listened_on_at_all_its_addresses() {
    let (program, _data) = start(&["--listen", "localhost:0"]);
    let port = program.address.port();
    for address in ("localhost", port).to_socket_addrs().unwrap() {
        // An address that this machine does not have is left out.
        if TcpListener::bind((address.ip(), 0)).is_ok() {
            assert!(TcpStream::connect(address).is_ok(), "{address}");
        }
    }
}

#[test]
fn port_zero_takes_a_free_port_and_tells_it() {
    for args in [&["--listen", "127.0.0.1:0"][..], &["serve", "--listen", "127.0.0.1:0"]] {
        let (program, _data) = start(args);
        assert_ne!(program.address.port(), 0);
        let ready = get(program.internal, "/health/ready");
        assert!(ready.starts_with("HTTP/1.1 200 OK\r\n"), "{ready}");
    }
}

#[test]
fn a_signal_to_stop_ends_the_program_well() {
    for name in ["TERM", "INT"] {
        let (mut program, _data) = start(&["--listen", "127.0.0.1:0"]);
        program.signal(name);
        assert_eq!(program.child.wait().unwrap().code(), Some(0), "{name}");
        assert!(TcpStream::connect(program.address).is_err());
    }
}

#[test]
fn a_second_signal_ends_the_program_at_once() {
    let (mut program, _data) = start(&["--listen", "127.0.0.1:0"]);
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
fn an_address_in_use_is_a_clear_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = TempDir::new().unwrap();
    for (key, other) in [("listen", "internal"), ("internal", "listen")] {
        let (key, other) = (format!("--{key}"), format!("--{other}"));
        let mut command = dormouse(&[&key, &address, &other, "127.0.0.1:0"]);
        let output = command.arg("--data").arg(data.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        let error = format!(
            "error: cannot listen on {address}: free it, or choose another one with {key}\n  caused by: "
        );
        assert!(text.contains(&error), "{text}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_wrong_flag_or_filter_is_a_usage_error() {
    let output = dormouse(&["--listen", "nowhere"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let output = dormouse(&[]).env("RUST_LOG", "dormouse=loudly").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("RUST_LOG"));
    let output = dormouse(&["--config", "some.toml", "config"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("behind the command"), "{told}");
}
