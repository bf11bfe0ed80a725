//! A client that believes nothing: it checks every message against the promises as it arrives.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use dormouse_protocol::{
    ClientMessage, Encoding, ErrorReply, Event, History, HistoryPage, Join, Joined, Leave, Ping,
    Position, Publish, Published, SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK, ServerMessage, Signal,
    Start, Welcome,
};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderMap;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::PATIENCE;

pub(crate) use dormouse_protocol::Payload;

/// Both encodings, for tests that do the same in each.
pub(crate) const ENCODINGS: [Encoding; 2] = [Encoding::Msgpack, Encoding::Json];

/// The connection is over, with the code of the server's close frame if there was one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed(pub(crate) Option<u16>);

/// What a connection is over: a socket, or TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// One connection. Offsets are checked as events arrive, so whatever a test waits for, a hole, a repeat or disorder
/// of an object's events fails it.
pub(crate) struct Client {
    socket: WebSocketStream<Box<dyn Stream>>,
    encoding: Encoding,
    pub(crate) welcome: Welcome,
    /// What arrived while something else was waited for.
    queue: VecDeque<ServerMessage>,
    /// The last offset that arrived, of every object that is joined.
    positions: HashMap<u64, u64>,
    /// Leaves that wait for their reply, with their object.
    leaving: HashMap<u32, u64>,
    next_id: u32,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr, encoding: Encoding) -> Self {
        Self::try_connect(address, encoding, None).await.expect("the server takes connections")
    }

    /// Connects in the session of another client.
    pub(crate) async fn resume(address: SocketAddr, encoding: Encoding, token: &str) -> Self {
        Self::try_connect(address, encoding, Some(token)).await.expect("the token is good")
    }

    pub(crate) async fn try_connect(
        address: SocketAddr,
        encoding: Encoding,
        token: Option<&str>,
    ) -> Result<Self, Closed> {
        Self::try_connect_with(address, encoding, token, |_| ()).await
    }

    /// Connects with a changed handshake. An error before the `welcome` is passed over: the close says as much.
    pub(crate) async fn try_connect_with(
        address: SocketAddr,
        encoding: Encoding,
        token: Option<&str>,
        change: impl FnOnce(&mut HeaderMap),
    ) -> Result<Self, Closed> {
        let connected = timeout(PATIENCE, TcpStream::connect(address)).await;
        let stream = connected.expect("the server accepts in time").map_err(|_| Closed(None))?;
        let query = token.map(|token| format!("?session={token}")).unwrap_or_default();
        Self::try_connect_over(Box::new(stream), encoding, &query, change).await
    }

    /// Connects over a stream that is there already.
    pub(crate) async fn try_connect_over(
        stream: Box<dyn Stream>,
        encoding: Encoding,
        query: &str,
        change: impl FnOnce(&mut HeaderMap),
    ) -> Result<Self, Closed> {
        let mut request =
            format!("ws://localhost/v1/connect{query}").into_client_request().unwrap();
        let subprotocol = match encoding {
            Encoding::Msgpack => SUBPROTOCOL_MSGPACK,
            Encoding::Json => SUBPROTOCOL_JSON,
        };
        request.headers_mut().insert("Sec-WebSocket-Protocol", subprotocol.parse().unwrap());
        change(request.headers_mut());
        let connected = timeout(PATIENCE, client_async(request, stream)).await;
        let connected = connected.expect("the server answers in time");
        let (mut socket, _) = connected.map_err(|_| Closed(None))?;
        let welcome = match next(&mut socket, encoding).await? {
            ServerMessage::Welcome(welcome) => welcome,
            ServerMessage::Error(_) => {
                let closed = next(&mut socket, encoding).await;
                return Err(closed.expect_err("only a close follows"));
            }
            other => panic!("welcome is the first message, and not {other:?}"),
        };
        let (queue, positions, leaving) = Default::default();
        Ok(Self { socket, encoding, welcome, queue, positions, leaving, next_id: 1 })
    }

    pub(crate) fn session(&self) -> &str {
        &self.welcome.session
    }

    pub(crate) fn token(&self) -> &str {
        &self.welcome.token
    }

    /// The position of an object that is joined: what has arrived, taken from the queue or not.
    pub(crate) fn position(&self, object: u64) -> u64 {
        self.positions[&object]
    }

    pub(crate) fn id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id - 1
    }

    pub(crate) async fn send(&mut self, message: &ClientMessage) {
        self.try_send(message).await.expect("the connection is open");
    }

    pub(crate) async fn try_send(&mut self, message: &ClientMessage) -> Result<(), Closed> {
        let bytes = self.encoding.encode_client(message);
        let frame = match self.encoding {
            Encoding::Msgpack => Message::binary(bytes),
            Encoding::Json => Message::text(String::from_utf8(bytes).unwrap()),
        };
        let sent = timeout(PATIENCE, self.socket.send(frame)).await;
        sent.expect("the server takes the message in time").map_err(|_| Closed(None))
    }

    /// The next message from the socket, checked.
    pub(crate) async fn arrive(&mut self) -> Result<ServerMessage, Closed> {
        let message = next(&mut self.socket, self.encoding).await?;
        self.check(&message);
        Ok(message)
    }

    fn check(&mut self, message: &ServerMessage) {
        match message {
            ServerMessage::Joined(joined) => {
                assert!(joined.from <= joined.head, "{joined:?}");
                assert!(!(joined.resumed && joined.reset.is_some()), "{joined:?}");
                let before = self.positions.insert(joined.object, joined.from);
                assert_eq!(before, None, "joined twice");
            }
            ServerMessage::Events(events) => {
                let position =
                    self.positions.get_mut(&events.object).expect("the object is joined");
                assert!(!events.events.is_empty());
                for event in &events.events {
                    assert_eq!(event.offset, *position + 1, "a hole or a repeat");
                    *position = event.offset;
                }
            }
            ServerMessage::CaughtUp(caught_up) => {
                assert_eq!(Some(&caught_up.offset), self.positions.get(&caught_up.object));
            }
            ServerMessage::Reset(reset) => {
                let position = self.positions.get_mut(&reset.object).expect("the object is joined");
                assert!(reset.from > *position, "{reset:?} at {position}");
                *position = reset.from;
            }
            ServerMessage::Signals(signals) => {
                assert!(self.positions.contains_key(&signals.object), "{signals:?} after leave");
            }
            ServerMessage::Done(done) => {
                if let Some(object) = self.leaving.remove(&done.id) {
                    self.positions.remove(&object);
                }
            }
            ServerMessage::Welcome(_) => panic!("a second welcome"),
            _ => {}
        }
    }

    /// The first message that is wanted; others stay in their order.
    pub(crate) async fn find(&mut self, wanted: impl Fn(&ServerMessage) -> bool) -> ServerMessage {
        self.try_find(wanted).await.expect("the connection is open")
    }

    pub(crate) async fn try_find(
        &mut self,
        wanted: impl Fn(&ServerMessage) -> bool,
    ) -> Result<ServerMessage, Closed> {
        if let Some(index) = self.queue.iter().position(&wanted) {
            return Ok(self.queue.remove(index).unwrap());
        }
        loop {
            let message = self.arrive().await?;
            if wanted(&message) {
                return Ok(message);
            }
            self.queue.push_back(message);
        }
    }

    /// The reply to a request.
    pub(crate) async fn reply(&mut self, id: u32) -> ServerMessage {
        self.find(|message| reply_id(message) == Some(id)).await
    }

    pub(crate) async fn refusal(&mut self, id: u32) -> ErrorReply {
        match self.reply(id).await {
            ServerMessage::Error(error) => error,
            other => panic!("{other:?} instead of an error"),
        }
    }

    pub(crate) async fn send_join(&mut self, object: &str, from: Start) -> u32 {
        let id = self.id();
        let object = object.parse().unwrap();
        self.send(&ClientMessage::Join(Join::new(id, object, from))).await;
        id
    }

    pub(crate) async fn join(&mut self, object: &str, from: Start) -> Joined {
        let id = self.send_join(object, from).await;
        match self.reply(id).await {
            ServerMessage::Joined(joined) => joined,
            other => panic!("{other:?} instead of joined"),
        }
    }

    /// Joins and takes `caught_up` too; for objects of which nothing has been missed.
    pub(crate) async fn join_now(&mut self, object: &str) -> u64 {
        let object = self.join(object, Start::Now).await.object;
        self.caught_up(object).await;
        object
    }

    /// Takes the next `caught_up` of an object and what stands before it of the same object.
    pub(crate) async fn caught_up(&mut self, object: u64) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            match self.next_of(object).await {
                ServerMessage::Events(more) => events.extend(more.events),
                ServerMessage::CaughtUp(_) => return events,
                other => panic!("{other:?} before caught_up"),
            }
        }
    }

    /// The next message of the stream of an object.
    pub(crate) async fn next_of(&mut self, object: u64) -> ServerMessage {
        self.find(|message| stream_of(message) == Some(object)).await
    }

    pub(crate) async fn send_publish(
        &mut self,
        object: u64,
        data: impl Serialize,
        key: Option<&str>,
    ) -> u32 {
        let id = self.id();
        self.send(&publish(id, object, data, key)).await;
        id
    }

    pub(crate) async fn published(&mut self, id: u32) -> Published {
        match self.reply(id).await {
            ServerMessage::Published(published) => published,
            other => panic!("{other:?} instead of published"),
        }
    }

    pub(crate) async fn publish(&mut self, object: u64, data: impl Serialize) -> Published {
        let id = self.send_publish(object, data, None).await;
        self.published(id).await
    }

    pub(crate) async fn publish_once(
        &mut self,
        object: u64,
        data: impl Serialize,
        key: &str,
    ) -> Published {
        let id = self.send_publish(object, data, Some(key)).await;
        self.published(id).await
    }

    /// Publishes many without waiting for each, at most as many at once as the server allows.
    pub(crate) async fn publish_all(&mut self, object: u64, data: impl Iterator<Item: Serialize>) {
        let window = self.welcome.limits.in_flight as usize / 2;
        let mut waiting = VecDeque::new();
        for data in data {
            if waiting.len() == window {
                self.published(waiting.pop_front().unwrap()).await;
            }
            waiting.push_back(self.send_publish(object, data, None).await);
        }
        for id in waiting {
            self.published(id).await;
        }
    }

    pub(crate) async fn signal(&mut self, object: u64, data: impl Serialize, key: Option<&str>) {
        let data = Payload::of(&data).unwrap();
        let key = key.map(|key| key.parse().unwrap());
        self.send(&ClientMessage::Signal(Signal { id: None, object, data, key })).await;
    }

    pub(crate) async fn history(&mut self, history: History) -> HistoryPage {
        let id = self.id();
        self.send(&ClientMessage::History(History { id, ..history })).await;
        match self.reply(id).await {
            ServerMessage::History(page) => page,
            other => panic!("{other:?} instead of history"),
        }
    }

    /// The whole log that is kept, by pages of history.
    pub(crate) async fn whole_log(&mut self, object: u64) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        loop {
            let after = events.last().map(|event| event.offset);
            let page = self.history(history(object, after, None)).await;
            events.extend(page.events);
            if !page.more {
                return events;
            }
        }
    }

    pub(crate) async fn leave(&mut self, object: u64) {
        let id = self.id();
        self.leaving.insert(id, object);
        self.send(&ClientMessage::Leave(Leave { id, object })).await;
        assert!(matches!(self.reply(id).await, ServerMessage::Done(_)));
    }

    pub(crate) async fn ping(&mut self) {
        let id = self.id();
        self.send(&ClientMessage::Ping(Ping { id })).await;
        assert!(matches!(self.reply(id).await, ServerMessage::Done(_)));
    }

    /// Shows that nothing has arrived that was not taken, and that nothing is on its way.
    pub(crate) async fn nothing_more(&mut self) {
        self.ping().await;
        assert!(self.queue.is_empty(), "{:?}", self.queue);
    }

    /// Takes events of an object until this offset has arrived, and with it what its message holds beyond. Leaves every
    /// other message where it is.
    pub(crate) async fn events_until(&mut self, object: u64, offset: u64) -> Vec<Event> {
        let mut taken: Vec<Event> = Vec::new();
        while taken.last().is_none_or(|event| event.offset < offset) {
            let is_wanted =
                |m: &ServerMessage| matches!(m, ServerMessage::Events(e) if e.object == object);
            let ServerMessage::Events(events) = self.find(is_wanted).await else { unreachable!() };
            taken.extend(events.events);
        }
        taken
    }

    /// Waits for the end of the connection, keeping what arrives before it.
    pub(crate) async fn closed(&mut self) -> Option<u16> {
        loop {
            match self.arrive().await {
                Ok(message) => self.queue.push_back(message),
                Err(Closed(code)) => return code,
            }
        }
    }

    /// What was kept of a connection that is over.
    pub(crate) fn rest(&mut self) -> Vec<ServerMessage> {
        self.queue.drain(..).collect()
    }
}

async fn next(
    socket: &mut WebSocketStream<Box<dyn Stream>>,
    encoding: Encoding,
) -> Result<ServerMessage, Closed> {
    loop {
        let frame = timeout(PATIENCE, socket.next()).await.expect("a message arrives in time");
        let bytes = match (frame, encoding) {
            (Some(Ok(Message::Text(text))), Encoding::Json) => text.into(),
            (Some(Ok(Message::Binary(bytes))), Encoding::Msgpack) => bytes,
            (Some(Ok(Message::Ping(_) | Message::Pong(_))), _) => continue,
            (Some(Ok(Message::Close(frame))), _) => {
                // The closing handshake is ended here; the server goes first.
                let _ = timeout(PATIENCE, socket.next()).await;
                return Err(Closed(frame.map(|frame| frame.code.into())));
            }
            (Some(Err(_)) | None, _) => return Err(Closed(None)),
            (Some(Ok(frame)), _) => panic!("{frame:?} in {encoding:?}"),
        };
        return Ok(encoding.decode_server(&bytes).expect("the server speaks the protocol"));
    }
}

/// The request that a message replies to.
pub(crate) fn reply_id(message: &ServerMessage) -> Option<u32> {
    match message {
        ServerMessage::Joined(joined) => Some(joined.id),
        ServerMessage::Published(published) => Some(published.id),
        ServerMessage::History(page) => Some(page.id),
        ServerMessage::Roster(roster) => roster.id,
        ServerMessage::Done(done) => Some(done.id),
        ServerMessage::Error(error) => error.id,
        _ => None,
    }
}

/// The object of whose stream a message is a part.
fn stream_of(message: &ServerMessage) -> Option<u64> {
    match message {
        ServerMessage::Events(events) => Some(events.object),
        ServerMessage::CaughtUp(caught_up) => Some(caught_up.object),
        ServerMessage::Reset(reset) => Some(reset.object),
        _ => None,
    }
}

pub(crate) fn publish(
    id: u32,
    object: u64,
    data: impl Serialize,
    key: Option<&str>,
) -> ClientMessage {
    let data = Payload::of(&data).unwrap();
    let key = key.map(|key| key.parse().unwrap());
    ClientMessage::Publish(Publish {
        id,
        object,
        kind: "message".parse().unwrap(),
        data,
        key,
        after: None,
    })
}

/// A request of a page; the client gives it its id.
pub(crate) fn history(object: u64, after: Option<u64>, before: Option<u64>) -> History {
    History { id: 0, object, after, before, limit: None, reverse: false }
}

pub(crate) fn after(epoch: u32, offset: u64) -> Start {
    Start::After(Position { epoch, offset })
}

/// Somebody well-behaved, for whom everything works.
pub(crate) async fn bystander(address: SocketAddr) {
    for encoding in ENCODINGS {
        let mut client = Client::connect(address, encoding).await;
        let object = client.join_now(&format!("room/bystander-{encoding:?}")).await;
        let offset = client.publish(object, 1).await.offset;
        client.events_until(object, offset).await;
        client.nothing_more().await;
    }
}

/// What an event carries, where that is a number.
pub(crate) fn number(event: &Event) -> u64 {
    event.data.read().unwrap()
}

/// Text that does not compress, of so many characters.
pub(crate) fn noise(chars: usize) -> String {
    rand::random_iter::<u8>().take(chars).map(|byte| char::from(b'!' + byte % 90)).collect()
}
