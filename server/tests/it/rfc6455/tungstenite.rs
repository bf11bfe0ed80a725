//! tokio-tungstenite, a client that others wrote, against the echo. Those of other languages: `scripts/test-python`, and
//! `clients.test.ts` and `echo.test.ts` in `client-js/test`.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::runner::echo_server;
use crate::support::PATIENCE;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokio_tungstenite_exchanges_messages_fragments_and_pings_and_closes() {
    let server = echo_server(true).await;
    let mut request = format!("ws://{}/v1/connect", server.address).into_client_request().unwrap();
    let name = "dormouse.test.echo".parse().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", name);
    let (mut socket, _) = timeout(PATIENCE, connect_async(request)).await.unwrap().unwrap();
    for size in [0, 1, 125, 126, 127, 65_535, 65_536, 300_000] {
        for message in [Message::text("*".repeat(size)), Message::binary(vec![0xFE; size])] {
            socket.send(message.clone()).await.unwrap();
            assert_eq!(timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap(), message);
        }
    }
    for (index, is_last) in [false, false, true].into_iter().enumerate() {
        let kind = if index == 0 { Data::Text } else { Data::Continue };
        let part = Frame::message("one of three, ", OpCode::Data(kind), is_last);
        socket.send(Message::Frame(part)).await.unwrap();
        socket.send(Message::Ping("between".into())).await.unwrap();
    }
    let mut came = Vec::new();
    while came.len() < 4 {
        came.push(timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap());
    }
    let pong = Message::Pong("between".into());
    assert_eq!(
        came,
        [&pong, &pong, &Message::text("one of three, ".repeat(3)), &pong].map(Clone::clone)
    );
    let goodbye = CloseFrame { code: 4001.into(), reason: "goodbye".into() };
    socket.close(Some(goodbye)).await.unwrap();
    let Some(Ok(Message::Close(Some(close)))) = timeout(PATIENCE, socket.next()).await.unwrap()
    else {
        panic!("the close is answered")
    };
    assert_eq!(u16::from(close.code), 1000);
    // The server has closed the socket, and so the client is told that all is over.
    match timeout(PATIENCE, socket.next()).await.unwrap() {
        None | Some(Err(Error::ConnectionClosed)) => {}
        other => panic!("{other:?} after the close"),
    }
}
