//! How a server begins and ends: a start that fails leaves nothing behind, and a stop waits for nothing that hangs.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use dormouse::Server;
use dormouse::config::Config;
use dormouse_protocol::{CloseCode, Encoding};
use tempfile::TempDir;

use crate::client::Client;
use crate::process::Program;
use crate::raw::{CLOSE, Raw, closed_with};
use crate::support::dormouse;

fn config(data: &TempDir, listen: &str) -> Config {
    let mut config = Config { data: data.path().into(), ..Config::default() };
    config.listen = listen.parse().unwrap();
    config.internal.set_port(0);
    config
}

#[cfg(target_os = "linux")]
fn reactor_threads() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let names = threads
        .filter_map(|thread| std::fs::read_to_string(thread.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with("reactor-")).count()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_fails_late_leaves_no_thread_and_no_lock() {
    let data = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = Server::start(config(&data, &address)).await.err().unwrap();
    assert!(error.to_string().contains(&address), "{error}");
    assert_eq!(reactor_threads(), 0);

    let server = Server::start(config(&data, "127.0.0.1:0")).await.unwrap();
    Client::connect(server.address(), Encoding::Json).await.join_now("room/a").await;
    server.shutdown().await;
    assert_eq!(reactor_threads(), 0);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_fails_after_the_log_is_open_leaves_no_lock() {
    let data = TempDir::new().unwrap();
    let key = data.path().join("session.key");
    std::fs::write(&key, "not a key").unwrap();
    let error = Server::start(config(&data, "127.0.0.1:0")).await.err().unwrap();
    assert!(error.to_string().contains("session.key"), "{error}");
    assert_eq!(reactor_threads(), 0);

    std::fs::remove_file(key).unwrap();
    Server::start(config(&data, "127.0.0.1:0")).await.unwrap().shutdown().await;
}

/// As reads of a disk that hangs do, something takes all threads that may block.
#[test]
fn a_stop_closes_connections_at_once_while_the_disk_hangs() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .max_blocking_threads(2)
        .build()
        .unwrap();
    let data = TempDir::new().unwrap();
    let (go_on, hang) = mpsc::channel::<()>();
    runtime.block_on(async {
        let server = Server::start(config(&data, "127.0.0.1:0")).await.unwrap();
        let mut client = Client::connect(server.address(), Encoding::Json).await;
        client.join_now("room/a").await;
        let (tell, hangs) = mpsc::channel();
        let hang = std::sync::Arc::new(std::sync::Mutex::new(hang));
        for _ in 0..2 {
            let (hang, tell) = (hang.clone(), tell.clone());
            tokio::task::spawn_blocking(move || {
                tell.send(()).unwrap();
                let _ = hang.lock().map(|hang| hang.recv());
            });
        }
        hangs.recv().unwrap();
        hangs.recv().unwrap();
        let closed = async {
            assert_eq!(client.closed().await, Some(CloseCode::GoingAway.number()));
        };
        tokio::join!(server.shutdown(), closed);
    });
    drop(go_on);
    runtime.shutdown_timeout(Duration::from_secs(10));
}

/// A client that does not answer the close frame has it, and comes again: the stop does not wait for `close_timeout`.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_no_answer_to_its_close_frames() {
    let data = TempDir::new().unwrap();
    let mut config = config(&data, "127.0.0.1:0");
    // Longer than the test may last.
    config.liveness.close_timeout = Duration::from_mins(10);
    config.shutdown_timeout = Duration::from_mins(10);
    let server = Server::start(config).await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(Raw::connect(server.address(), Encoding::Json).await);
    }
    server.shutdown().await;
    for raw in &mut silent {
        let (first, payload) = raw.frame().await.unwrap();
        assert_eq!((first, closed_with(&payload)), (CLOSE, CloseCode::GoingAway.number()));
    }
}

/// A log collector that restarts, or `dormouse 2>&1 | head`.
#[test]
fn a_program_whose_stderr_is_closed_serves_and_stops_in_order() {
    let data = TempDir::new().unwrap();
    let mut command = dormouse(&["--listen", "127.0.0.1:0"]);
    command.arg("--data").arg(data.path()).env("RUST_LOG", "debug").stderr(Stdio::piped());
    let mut program = Program::run(command);
    drop(program.child.stderr.take());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut client = Client::connect(program.address, Encoding::Json).await;
        let object = client.join_now("room/a").await;
        client.publish(object, 1).await;
        program.signal("TERM");
        assert_eq!(client.closed().await, Some(CloseCode::GoingAway.number()));
    });
    assert_eq!(program.ended().code(), Some(0));
}

/// More is logged than a pipe holds that is never read.
#[test]
fn a_program_whose_stderr_is_not_read_drops_lines_and_holds_nothing_up() {
    let data = TempDir::new().unwrap();
    let mut command = dormouse(&["--listen", "127.0.0.1:0"]);
    command.arg("--data").arg(data.path()).env("RUST_LOG", "trace").stderr(Stdio::piped());
    let mut program = Program::run(command);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut client = Client::connect(program.address, Encoding::Json).await;
        let object = client.join_now("room/a").await;
        let name = "dormouse_log_lines_dropped";
        while crate::server::metric(program.internal, name).await == 0 {
            client.publish(object, 1).await;
            // A refused connection is logged, with its reason.
            drop(tokio::net::TcpStream::connect(program.address).await.unwrap());
        }
    });
    program.signal("TERM");
    assert_eq!((program.ended().code(), program.rest_of_stdout()), (Some(0), String::new()));
}

#[test]
fn variables_of_a_kubernetes_service_of_this_name_do_not_matter() {
    let data = TempDir::new().unwrap();
    let variables = [
        ("DORMOUSE_PORT", "tcp://10.96.1.2:7700"),
        ("DORMOUSE_SERVICE_HOST", "10.96.1.2"),
        ("DORMOUSE_SERVICE_PORT", "7700"),
        ("DORMOUSE_PORT_7700_TCP_ADDR", "10.96.1.2"),
    ];
    Program::start(data.path(), 0, &variables);
    let mut command: Command = dormouse(&["config"]);
    let refused = command.env("DORMOUSE_PORT", "7700").output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("DORMOUSE_PORT"));
}
