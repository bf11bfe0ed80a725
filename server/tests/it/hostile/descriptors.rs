//! A process that may not have more files open: promise 9. Sockets never take those that the log needs (promise 3).

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use dormouse_protocol::{ClientMessage, Encoding, Join, ServerMessage, Start};
use rlimit::{Resource, prlimit};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::client::{Client, Payload, bystander, noise};
use crate::process::{Program, limited};
use crate::server::{exchange, metric, metric_is};
use crate::support::{PATIENCE, dormouse};

/// The program with so many descriptors, and the lines of its log.
fn start(files: usize) -> (Program, Receiver<String>, TempDir) {
    let data = TempDir::new().unwrap();
    let mut program = dormouse(&["--listen", "127.0.0.1:0", "--data"]);
    program.arg(data.path()).env("DORMOUSE_LIMITS_HANDSHAKE_TIMEOUT", "1h");
    program.env("DORMOUSE_LIMITS_PRESENCE_BYTES", "16KiB");
    let mut command = limited(&format!("ulimit -n {files}"), &program);
    command.stderr(Stdio::piped());
    let mut program = Program::run(command);
    let (sender, lines) = channel();
    let log = BufReader::new(program.child.stderr.take().unwrap());
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    (program, lines, data)
}

/// How many there are, in directories below too.
fn files(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

/// With every place taken, by connections and by silent sockets, the log still opens what files it needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn are_shared_out_so_that_the_log_has_its_own() {
    let (program, lines, data) = start(320);
    let (address, internal) = (program.address, program.internal);
    let line = lines.recv_timeout(PATIENCE).unwrap();
    assert!(line.contains("WARN") && line.contains("the system allows 320 open files"), "{line}");
    let allowed = metric(internal, "dormouse_connections_limit").await;
    assert!((100..200).contains(&allowed), "{allowed} connections");

    let mut inside = Client::connect(address, Encoding::Msgpack).await;
    let object = inside.join_now("room/a").await;
    let mut others = Vec::new();
    while let Ok(client) = Client::try_connect(address, Encoding::Json, None).await {
        others.push(client);
    }
    assert_eq!(others.len() as u64 + 1, allowed);
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    metric_is(internal, "dormouse_http_cut_total{reason=\"http_connections\"}", |cut| cut > 50)
        .await;
    let refused = exchange(address, &crate::support::handshake("", "")).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("\r\nretry-after: "), "{refused}");

    // More than a memtable of rosters holds.
    let before = files(data.path());
    for number in 0..100 {
        let id = inside.id();
        let name = format!("room/{number}").parse().unwrap();
        let presence = Some(Payload::of(&noise(15_000)).unwrap());
        let join = Join { presence, ..Join::new(id, name, Start::Now) };
        inside.send(&ClientMessage::Join(join)).await;
        assert!(matches!(inside.reply(id).await, ServerMessage::Joined(_)));
    }
    inside.publish(object, 1).await;
    let since = Instant::now();
    while files(data.path()) <= before {
        assert!(since.elapsed() < PATIENCE, "the log has written no table");
    }
    assert_eq!(metric(internal, "dormouse_http_accept_errors_total").await, 0);
    let told = lines.try_iter().filter(|line| line.contains("limits.connections is reached"));
    assert_eq!(told.count(), 1);
    others.clear();
    silent.clear();
    metric_is(internal, "dormouse_connections", |open| open == 1).await;
    bystander(address).await;
}

/// Whatever takes them: without any, who comes is sent away, who is here is served, and all is well when there are some again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_run_out_all_the_same_are_waited_for() {
    let (program, lines, _data) = start(512);
    let (address, internal) = (program.address, program.internal);
    let pid = program.child.id();
    let mut inside = Client::connect(address, Encoding::Msgpack).await;
    let object = inside.join_now("room/a").await;
    inside.publish(object, 1).await;
    let limit = |soft| {
        prlimit(pid.cast_signed(), Resource::NOFILE, Some((soft, 512)), None).unwrap();
    };
    // New descriptors take the lowest numbers that are free, and these are taken.
    let is_free = |number: &u64| !Path::new(&format!("/proc/{pid}/fd/{number}")).exists();
    let free = (0..512).find(is_free).unwrap();
    limit(free);
    for round in 0..50 {
        let answer = exchange(address, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("no file descriptors left"), "{answer}");
        inside.publish(object, round).await;
    }
    limit(512);
    bystander(address).await;
    assert!(metric(internal, "dormouse_http_cut_total{reason=\"descriptors\"}").await >= 50);
    let errors = metric(internal, "dormouse_http_accept_errors_total").await;
    assert!((50..200).contains(&errors), "it goes round {errors} times for 50 connections");
    inside.publish(object, 1).await;
    let told = lines.try_iter().filter(|line| line.contains("connections can't be accepted"));
    assert!((1..=3).contains(&told.count()));
}
