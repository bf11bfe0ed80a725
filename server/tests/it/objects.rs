//! Objects over HTTP: what is shown of them, and the controls for tests.

use dormouse_protocol::Encoding;
use serde_json::{Value, json};

use crate::client::Client;
use crate::server::{TestServer, exchange};

async fn error(server: &TestServer, request: &str) -> (u16, String) {
    let (status, body) = server.ask(request).await;
    (status, body["error"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_is_shown_whole() {
    let mut server = TestServer::start(|_| {}).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(server.address, Encoding::Json).await;
        let object = client.join_now("room/lobby").await;
        clients.push((client, object));
    }
    let (client, object) = &mut clients[0];
    let before = server.object("room/lobby").await;
    assert_eq!(before["log"], json!({ "head": 0, "bytes": 0, "trimmed": 0 }));
    assert_eq!(before["last_wake"], Value::Null);
    client.publish_all(*object, 0..10).await;
    let shown = server.object("room/lobby").await;
    assert_eq!(shown["object"], "room/lobby");
    assert_eq!(shown["id"], *object);
    assert_eq!(shown["state"], "awake");
    assert_eq!(shown["cause"], "publish");
    assert_eq!(shown["last_wake"]["cause"], "publish");
    assert_eq!(shown["last_wake"]["at"], shown["since"]);
    assert!(shown["sleeps_at"].as_u64() > shown["since"].as_u64(), "{shown}");
    assert_eq!((&shown["wakes"], &shown["pinned"]), (&json!(1), &json!(false)));
    assert_eq!(shown["members"], 3);
    assert_eq!((&shown["log"]["head"], &shown["log"]["trimmed"]), (&json!(10), &json!(0)));
    assert!(shown["log"]["bytes"].as_u64() > Some(100), "{shown}");
    assert!(shown["memory_bytes"].as_u64() > before["memory_bytes"].as_u64());

    drop(clients);
    server.restart().await;
    let stored = server.object("room/lobby").await;
    for key in ["object", "id", "epoch", "log"] {
        assert_eq!(stored[key], shown[key], "{key}");
    }
    assert_eq!(stored["state"], "asleep");
    for key in ["since", "cause", "sleeps_at", "last_wake"] {
        assert_eq!(stored[key], Value::Null, "{key}");
    }
    for key in ["wakes", "members", "connections_at_rest", "memory_bytes"] {
        assert_eq!(stored[key], 0, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_in_use_are_listed_by_name_and_state() {
    let server = TestServer::start(|_| {}).await;
    let (_, empty) = server.ask("GET /v1/objects").await;
    assert_eq!((&empty["objects"], &empty["more"]), (&json!([]), &json!(false)));
    let mut client = Client::connect(server.address, Encoding::Msgpack).await;
    for name in ["c", "a", "e", "b", "d"] {
        let object = client.join_now(&format!("room/{name}")).await;
        if name > "c" {
            client.publish(object, 1).await;
        }
    }
    let mut other = Client::connect(server.address, Encoding::Json).await;
    other.join_now("room/d").await;
    let names = |list: &Value| -> Vec<String> {
        let objects = list["objects"].as_array().unwrap();
        objects.iter().map(|object| object["object"].as_str().unwrap().to_owned()).collect()
    };
    let (_, all) = server.ask("GET /v1/objects").await;
    assert_eq!(names(&all), ["room/a", "room/b", "room/c", "room/d", "room/e"]);
    let counts = json!({ "asleep": 3, "waking": 0, "awake": 2, "falling_asleep": 0 });
    assert_eq!(all["counts"], counts);
    assert_eq!(all["objects"][3]["log"], json!({ "head": 1 }));
    let listed = all["objects"].as_array().unwrap().iter();
    let members: Vec<_> = listed.map(|object| object["members"].as_u64().unwrap()).collect();
    assert_eq!(members, [1, 1, 1, 2, 1]);
    assert!(all["now"].as_u64() >= all["objects"][3]["since"].as_u64(), "{all}");
    let (_, page) = server.ask("GET /v1/objects?limit=2&after=room/b").await;
    assert_eq!(
        (names(&page), &page["more"]),
        (vec!["room/c".into(), "room/d".into()], &json!(true))
    );
    let (_, awake) = server.ask("GET /v1/objects?state=awake&limit=2").await;
    assert_eq!(
        (names(&awake), &awake["more"]),
        (vec!["room/d".into(), "room/e".into()], &json!(false))
    );
    for bad in ["limit=0", "limit=1001", "limit=x", "state=tired", "colour=red"] {
        let (status, why) = error(&server, &format!("GET /v1/objects?{bad}")).await;
        assert_eq!(status, 400, "{bad}: {why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_not_found_and_what_is_no_name_is_refused() {
    let server = TestServer::start(|config| config.test_controls = true).await;
    for (method, control) in [("GET", ""), ("POST", "/sleep"), ("POST", "/crash")] {
        let (status, why) =
            error(&server, &format!("{method} /v1/objects/room/never{control}")).await;
        assert_eq!((status, &*why), (404, "there is no object room/never"));
        for bad in ["Room/a", "room/a%20b", "room/a%2Fb"] {
            let (status, why) =
                error(&server, &format!("{method} /v1/objects/{bad}{control}")).await;
            assert!(status == 400 && why.contains("class/name"), "{bad}: {why}");
        }
        let broken = format!("{method} /v1/objects/room/%ff{control}");
        assert_eq!(error(&server, &broken).await.0, 400, "no UTF-8");
    }
    for bad in ["", "?ms=10001", "?ms=-1", "?ms=1&us=1"] {
        assert_eq!(error(&server, &format!("POST /v1/log/delay{bad}")).await.0, 400, "{bad}");
    }
    assert_eq!(server.ask("POST /v1/log/delay?ms=0").await, (200, json!({ "delay_ms": 0 })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_controls_are_off_until_they_are_turned_on_and_closed_to_foreign_pages() {
    let controls = ["/v1/objects/room/a/sleep", "/v1/objects/room/a/crash", "/v1/log/delay?ms=1"];
    let server = TestServer::start(|_| {}).await;
    for control in controls {
        let (status, why) = error(&server, &format!("POST {control}")).await;
        assert!(status == 404 && why.contains("test_controls"), "{control}: {why}");
    }
    let server = TestServer::start(|config| config.test_controls = true).await;
    for control in controls {
        for (origin, is_refused) in [("http://evil.example", true), ("http://localhost", false)] {
            let request =
                format!("POST {control} HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\r\n");
            let answer = exchange(server.internal, &request).await;
            assert_eq!(answer.starts_with("HTTP/1.1 403 "), is_refused, "{control}: {answer}");
        }
    }
}
