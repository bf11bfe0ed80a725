//! `dormouse objects`: the table of the objects of a running server.

use std::net::TcpListener;
use std::process::Output;

use dormouse_protocol::Encoding;

use crate::client::Client;
use crate::server::TestServer;
use crate::support::dormouse;

fn objects(args: &[&str]) -> Output {
    dormouse(&["objects"]).args(args).output().unwrap()
}

/// What it prints, without the columns that depend on time and memory.
fn printed(args: &[&str]) -> Vec<String> {
    let output = objects(args);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split("  ").next().unwrap().to_owned()).collect()
}

fn refused(args: &[&str]) -> (Option<i32>, String) {
    let output = objects(args);
    assert!(output.stdout.is_empty(), "{output:?}");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_in_use_are_printed_those_awake_first() {
    let server = TestServer::start(|_| {}).await;
    let url = format!("http://{}/", server.internal);
    let empty = printed(&["--url", &url]);
    assert_eq!(empty[0], "0 awake · 0 waking · 0 falling asleep · 0 asleep");
    assert!(empty[1].contains(&format!("open http://{} in a browser", server.internal)));

    let mut client = Client::connect(server.address, Encoding::Msgpack).await;
    for name in ["a", "b", "c", "d"] {
        let object = client.join_now(&format!("room/{name}")).await;
        if name == "c" {
            client.publish(object, 1).await;
        }
    }
    let counts = "1 awake · 0 waking · 0 falling asleep · 3 asleep";
    let all = ["room/c", "room/a", "room/b", "room/d"];
    assert_eq!(printed(&["--once", "--url", &url]), [&[counts, "", "object"], &all[..]].concat());
    let awake = printed(&["--state", "awake", "--url", &url]);
    assert_eq!(awake, [counts, "", "object", "room/c"]);

    let text = String::from_utf8(objects(&["--url", &url]).stdout).unwrap();
    let row = text.lines().nth(3).unwrap().split("  ").filter(|cell| !cell.is_empty());
    let row: Vec<_> = row.map(str::trim).collect();
    assert_eq!((row[1], row[3], row[5], row[7], row[9]), ("awake", "publish", "1", "1", "1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_objects_than_the_server_lists_at_once_are_counted_and_none_awake_is_left_out() {
    let server = TestServer::start(|config| config.limits.joins = 1_100).await;
    let mut client = Client::connect(server.address, Encoding::Msgpack).await;
    for n in 0..1_001 {
        client.join_now(&format!("room/{n}")).await;
    }
    let last = client.join_now("room/last").await;
    client.publish(last, 1).await;
    let lines = printed(&["--url", &format!("http://{}", server.internal)]);
    assert_eq!(lines.len(), 3 + 1_000 + 1);
    assert_eq!((&*lines[3], &*lines[1_003]), ("room/last", "… and 2 more"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_server_is_an_error_that_says_what_to_do() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, text) = refused(&["--once", "--url", &format!("http://{port}")]);
    assert_eq!(code, Some(1));
    let start = format!("error: no server answers at http://{port}: start one with `dormouse`");
    assert!(text.starts_with(&start), "{text}");

    let server = TestServer::start(|_| {}).await;
    let (code, text) = refused(&["--url", &format!("http://{}/elsewhere", server.internal)]);
    assert!(code == Some(1) && text.contains("is no Dormouse server"), "{text}");

    for url in ["nowhere", "127.0.0.1:7700", "https://127.0.0.1:7700", "http://a b", ""] {
        let (code, text) = refused(&["--url", url]);
        assert!(code == Some(1) && text.contains("http://HOST:PORT"), "{url}: {text}");
    }
    let (code, text) = refused(&["--state", "tired"]);
    assert!(code == Some(2) && text.contains("falling_asleep"), "{text}");
    let (code, _) = refused(&["--data", "x"]);
    assert_eq!(code, Some(2));
}
