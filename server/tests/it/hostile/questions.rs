//! Floods of questions that make the server look at all that it has: promise 9.

use serde_json::Value;

use crate::client::bystander;
use crate::server::{TestServer, exchange};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_come_all_at_once_wait_in_line_and_the_others_are_refused() {
    let server = TestServer::start(|_| {}).await;
    let (address, internal) = (server.address, server.internal);
    for path in ["/v1/objects?limit=1000", "/v1/objects/room/a", "/metrics"] {
        let asked: Vec<_> = (0..60)
            .map(|_| {
                tokio::spawn(async move {
                    exchange(internal, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
                        .await
                })
            })
            .collect();
        bystander(address).await;
        let (mut answered, mut refused) = (0, 0);
        for answer in asked {
            let answer = answer.await.unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            if head.starts_with("HTTP/1.1 503 ") {
                assert!(head.contains("\r\nretry-after: "), "{head}");
                let body: Value = serde_json::from_str(body).unwrap();
                assert!(body["error"].is_string());
                refused += 1;
            } else {
                answered += 1;
            }
        }
        // Those that wait in line, and those whose turn came meanwhile.
        assert!(answered >= 32 && refused > 0, "{path}: {answered} and {refused}");
        let route = match path {
            "/v1/objects/room/a" => "/v1/objects/{class}/{name}",
            path => path.split('?').next().unwrap(),
        };
        let metric = format!("dormouse_http_requests_total{{code=\"5xx\",route=\"{route}\"}}");
        assert_eq!(server.metric(&metric).await, refused);
    }
}
