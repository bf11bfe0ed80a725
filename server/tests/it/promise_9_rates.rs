//! Promise 9, everything has a bound: how often a client does something is limited by address, user, connection and object, and who
//! keeps to what it is told loses nothing.

use std::time::Duration;

use dormouse::auth::{Auth, NewToken, create_own_key};
use dormouse::config::Config;
use dormouse_protocol::{ClientMessage, Encoding, ErrorCode, Join, Ping, Signal, Start};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::client::{Client, Closed, ENCODINGS, Payload, history};
use crate::server::{TestServer, exchange};
use crate::support::now_seconds;

/// A server that limits the clients of these tests, which are on the loopback interface, where a test sets a limit.
async fn limited(change: impl FnOnce(&mut Config)) -> TestServer {
    TestServer::start(|config| {
        config.rates.on_loopback = true;
        change(config);
    })
    .await
}

/// The time after which a refused publish may be sent again, if it is refused.
async fn publish(client: &mut Client, object: u64) -> Result<(), (ErrorCode, Option<u64>)> {
    let id = client.send_publish(object, "x", None).await;
    match client.reply(id).await {
        dormouse_protocol::ServerMessage::Published(_) => Ok(()),
        dormouse_protocol::ServerMessage::Error(error) => Err((error.code, error.retry_after_ms)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_beyond_the_limit_is_refused_with_the_time_to_wait() {
    let server = limited(|config| {
        config.rates.connection.publishes = "2/s burst 3".parse().unwrap();
    })
    .await;
    for encoding in ENCODINGS {
        let mut client = Client::connect(server.address, encoding).await;
        let object = client.join_now("room/a").await;
        let mut published = 0;
        let wait = loop {
            match publish(&mut client, object).await {
                Ok(()) => published += 1,
                Err((code, wait)) => {
                    assert_eq!(code, ErrorCode::RateLimited);
                    break wait.unwrap();
                }
            }
            assert!(published < 100);
        };
        // That a client which waits as long goes on is tested in simulated time, beside the code.
        assert!(published >= 3 && (1..=501).contains(&wait), "{published} {wait}");
        // Another connection has its own count.
        let mut other = Client::connect(server.address, encoding).await;
        let object = other.join_now("room/a").await;
        assert_eq!(publish(&mut other, object).await, Ok(()));
    }
    let counted = "dormouse_rate_limited_total{limit=\"publishes\",scope=\"connection\"}";
    assert_eq!(server.metric(counted).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_has_one_limit_for_all_clients() {
    let server = limited(|config| {
        config.rates.object.publishes = "1/h burst 4".parse().unwrap();
    })
    .await;
    let mut published = 0;
    for _ in 0..3 {
        let mut client = Client::connect(server.address, Encoding::Json).await;
        let (one, other) = (client.join_now("room/a").await, client.join_now("room/b").await);
        for _ in 0..2 {
            published += usize::from(publish(&mut client, one).await.is_ok());
        }
        assert_eq!(publish(&mut client, other).await, Ok(()));
    }
    assert_eq!(published, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_counts_once_for_each_member_it_goes_to() {
    let server = limited(|config| {
        config.rates.connection.deliveries = "1/h burst 12".parse().unwrap();
    })
    .await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = Client::connect(server.address, Encoding::Json).await;
        client.join_now("room/a").await;
        clients.push(client);
    }
    let sender = &mut clients[0];
    let object = sender.join_now("room/b").await;
    let mut signal = async |object| {
        let id = sender.id();
        let data = Payload::of(&1).unwrap();
        sender.send(&ClientMessage::Signal(Signal { id: Some(id), object, data, key: None })).await;
        matches!(sender.reply(id).await, dormouse_protocol::ServerMessage::Done(_))
    };
    let mut alone = 0;
    while signal(object).await {
        alone += 1;
    }
    assert!((6..=12).contains(&alone), "one member, on one or two reactors: {alone}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_and_joins_have_a_limit() {
    let server = limited(|config| {
        config.rates.connection.reads = "1/h burst 3".parse().unwrap();
    })
    .await;
    let mut client = Client::connect(server.address, Encoding::Json).await;
    let object = client.join_now("room/a").await;
    client.history(history(object, None, None)).await;
    client.history(history(object, None, None)).await;
    let id = client.id();
    client.send(&ClientMessage::Join(Join::new(id, "room/b".parse().unwrap(), Start::All))).await;
    assert_eq!(client.refusal(id).await.code, ErrorCode::RateLimited);
    assert_eq!(publish(&mut client, object).await, Ok(()), "other requests go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_stop_is_closed_and_others_go_on() {
    let server = limited(|config| {
        config.rates.connection.requests = "1000/s burst 10".parse().unwrap();
    })
    .await;
    let mut polite = Client::connect(server.address, Encoding::Json).await;
    let mut flooder = Client::connect(server.address, Encoding::Json).await;
    let mut sent = 0_u32;
    // The refusals are never read: the socket takes requests until the server closes it.
    let closed = loop {
        let id = sent;
        if flooder.try_send(&ClientMessage::Ping(Ping { id })).await.is_err() {
            break true;
        }
        sent += 1;
        if sent > 1_000_000 {
            break false;
        }
        if sent.is_multiple_of(10_000) && server.metric(CLOSES).await > 0 {
            break true;
        }
    };
    assert!(closed, "it has sent {sent} pings");
    assert_eq!(flooder.closed().await, Some(3008));
    polite.ping().await;
    assert_eq!(server.metric(CLOSES).await, 1);
}

const CLOSES: &str = "dormouse_closes_total{code=\"rate_limited\"}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_connects_too_often_is_answered_429() {
    let server = limited(|config| {
        config.rates.address.connects = "1/h burst 2".parse().unwrap();
    })
    .await;
    let address = server.address;
    let _first = Client::connect(address, Encoding::Json).await;
    let _second = Client::connect(address, Encoding::Json).await;
    for _ in 0..2 {
        assert_eq!(handshake_status(address, "").await, 429);
    }
    let refused = "dormouse_connections_refused_total{reason=\"rate\"}";
    assert_eq!(server.metric(refused).await, 2);
    // A client that has no proxy cannot choose another address.
    assert_eq!(handshake_status(address, "X-Forwarded-For: 9.9.9.9\r\n").await, 429);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_trusted_proxy_each_client_has_its_own_address() {
    let server = TestServer::start(|config| {
        config.rates.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        config.rates.address.connects = "1/h burst 1".parse().unwrap();
    })
    .await;
    let from = |client: &str| format!("X-Forwarded-For: {client}\r\n");
    let address = server.address;
    assert_eq!(handshake_status(address, &from("9.9.9.1")).await, 101);
    assert_eq!(handshake_status(address, &from("9.9.9.2")).await, 101);
    assert_eq!(handshake_status(address, &from("9.9.9.1")).await, 429);
    assert_eq!(handshake_status(address, &from("9.9.9.3, 9.9.9.1")).await, 429, "made up");
    assert_eq!(handshake_status(address, "").await, 101, "the proxy itself is exempt");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_an_address_and_of_a_user_are_bounded() {
    let server = limited(|config| {
        create_own_key(&config.data).unwrap();
        config.limits.connections_by_address = 3;
        config.limits.connections_by_user = 2;
    })
    .await;
    let issuer = Auth::start(server.config.auth.settings(&server.config.data)).unwrap();
    let header = |user: &str| {
        let now = now_seconds();
        let wanted =
            NewToken { user: user.into(), grants: Vec::new(), expires: now + 60, key: None };
        format!("Authorization: Bearer {}\r\n", issuer.create(&wanted, now).unwrap())
    };
    let connect = async |user: &str| {
        let bearer = header(user).trim().split_once(": ").unwrap().1.parse().unwrap();
        Client::try_connect_with(server.address, Encoding::Json, None, |headers| {
            headers.insert("Authorization", bearer);
        })
        .await
    };
    let first = connect("ada").await.unwrap();
    let _second = connect("ada").await.unwrap();
    assert_eq!(handshake_status(server.address, &header("ada")).await, 429);
    let _bob = connect("bob").await.unwrap();
    assert_eq!(handshake_status(server.address, &header("bob")).await, 429, "the address is full");
    drop(first);
    // The server sees the end of the connection a little later.
    let free = async {
        while handshake_status(server.address, &header("ada")).await != 101 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, free).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_presents_bad_tokens_again_and_again_is_kept_out_for_a_while() {
    let server = limited(|config| {
        create_own_key(&config.data).unwrap();
        config.rates.address.failed_auths = "1/h burst 3".parse().unwrap();
    })
    .await;
    for _ in 0..4 {
        let closed = Client::try_connect(server.address, Encoding::Json, None).await.err();
        assert_eq!(closed, Some(Closed(Some(3501))));
    }
    assert_eq!(handshake_status(server.address, "").await, 429);
}

/// The status of the answer to a request to connect with one more header. The connection ends with it.
async fn handshake_status(address: std::net::SocketAddr, header: &str) -> u16 {
    let request = format!(
        "GET /v1/connect HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{header}\r\n"
    );
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut answer).await.unwrap();
    std::str::from_utf8(&answer[9..]).unwrap().parse().unwrap()
}

/// The header of a proxy (PROXY protocol, version 2) that passes on a connection of this address.
fn proxy_header(client: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C".to_vec();
    header.extend(client);
    header.extend([127, 0, 0, 1, 0x12, 0x34, 0x1E, 0x14]);
    header
}

/// Connects as a proxy does for its client.
async fn behind_proxy(server: &TestServer, client: [u8; 4]) -> Result<Client, Closed> {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&proxy_header(client)).await.unwrap();
    Client::try_connect_over(Box::new(stream), Encoding::Json, "", |_| ()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trusted_proxy_says_whose_connection_it_is() {
    let server = limited(|config| {
        config.rates.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        config.rates.proxy_protocol = true;
        config.limits.connections_by_address = 1;
    })
    .await;
    let _one = behind_proxy(&server, [192, 0, 2, 1]).await.unwrap();
    assert!(behind_proxy(&server, [192, 0, 2, 1]).await.is_err(), "its second connection");
    let _other = behind_proxy(&server, [192, 0, 2, 2]).await.unwrap();
    // A header of HTTP does not speak for the client of such a proxy.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&proxy_header([192, 0, 2, 1])).await.unwrap();
    let spoofed = Client::try_connect_over(Box::new(stream), Encoding::Json, "", |headers| {
        headers.insert("X-Forwarded-For", "192.0.2.3".parse().unwrap());
    });
    assert!(spoofed.await.is_err());
    // Without a header, a trusted proxy gets the reason.
    let answer = exchange(server.address, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("PROXY"), "{answer}");
    // The address for operators expects no header.
    server.metric_is("dormouse_http_cut_total{reason=\"proxy_header\"}", |cut| cut == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_header_of_anyone_else_is_no_http() {
    let server = limited(|config| {
        config.rates.trusted_proxies = vec!["192.0.2.9".parse().unwrap()];
        config.rates.proxy_protocol = true;
    })
    .await;
    assert!(behind_proxy(&server, [192, 0, 2, 1]).await.is_err());
    // A client that is no proxy needs no header.
    Client::connect(server.address, Encoding::Json).await.ping().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_requests_count_as_connects_and_health_checks_do_not() {
    let server = limited(|config| {
        config.rates.address.connects = "1/h burst 3".parse().unwrap();
    })
    .await;
    let status = async |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = exchange(server.address, &request).await;
        answer[9..12].parse::<u16>().unwrap()
    };
    assert_eq!(status("/").await, 200);
    assert_eq!(status("/nothing").await, 404);
    Client::connect(server.address, Encoding::Json).await.ping().await;
    for _ in 0..2 {
        assert_eq!(status("/").await, 429);
        assert_eq!(status("/nothing").await, 429);
        assert_eq!(status("/health/live").await, 200);
    }
    assert!(Client::try_connect(server.address, Encoding::Json, None).await.is_err());
}
