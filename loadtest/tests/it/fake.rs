//! A small server in this process, with one room in memory. It drops all connections now and then, and breaks promises on
//! demand.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use dormouse_protocol::{
    ClientMessage, Encoding, Event, Events, Join, Joined, Key, Limits, Published, ServerMessage,
    Start, Welcome,
};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

const EPOCH: u32 = 7;
const OBJECT: u64 = 3;
const PAGE: usize = 50;
/// All connections are dropped when so many more events are stored, before the last one is acknowledged.
pub(crate) const BREAK_EVERY: u64 = 150;

/// Which promise is broken, at the event with this offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// It is not delivered.
    Lose(u64),
    /// It is delivered twice.
    Repeat(u64),
    /// It changes places with the next one.
    Swap(u64),
    /// Retries are stored again.
    ForgetKeys,
    /// Who joins is told an older head.
    StaleHead,
}

pub(crate) struct Fake {
    pub(crate) url: String,
}

struct Shared {
    fault: Fault,
    room: Mutex<Room>,
    head: watch::Sender<u64>,
    breaks: watch::Sender<u32>,
}

#[derive(Default)]
struct Room {
    log: Vec<Event>,
    keys: HashMap<(String, Key), u64>,
    sessions: u32,
}

impl Fake {
    pub(crate) async fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            fault,
            room: Mutex::default(),
            head: watch::Sender::new(0),
            breaks: watch::Sender::new(0),
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Connection::serve(stream, Arc::clone(&shared)));
            }
        });
        Self { url }
    }
}

struct Connection {
    socket: WebSocketStream<TcpStream>,
    encoding: Encoding,
    session: String,
    shared: Arc<Shared>,
    /// The offset after which this member goes on.
    position: Option<u64>,
    replies: VecDeque<ServerMessage>,
}

impl Connection {
    async fn serve(stream: TcpStream, shared: Arc<Shared>) {
        let mut encoding = Encoding::Json;
        let mut session = None;
        #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
        let look = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            let query = request.uri().query().unwrap_or_default();
            session = query.strip_prefix("session=").map(str::to_owned);
            let name = request.headers()["sec-websocket-protocol"].clone();
            encoding = Encoding::from_subprotocol(name.to_str().unwrap()).unwrap();
            response.headers_mut().insert("sec-websocket-protocol", name);
            Ok(response)
        };
        let mut breaks = shared.breaks.subscribe();
        stream.set_nodelay(true).unwrap();
        let Ok(socket) = accept_hdr_async(stream, look).await else { return };
        let session = session.unwrap_or_else(|| {
            let mut room = shared.room.lock().unwrap();
            room.sessions += 1;
            format!("s{}", room.sessions)
        });
        let connection =
            Self { socket, encoding, session, shared, position: None, replies: VecDeque::new() };
        tokio::select! {
            _ = breaks.changed() => {}
            _ = connection.run() => {}
        }
    }

    async fn run(mut self) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        self.replies.push_back(self.welcome());
        let mut head = self.shared.head.subscribe();
        let breaks = self.shared.breaks.subscribe();
        loop {
            while let Some(reply) = self.replies.pop_front() {
                self.send(&reply).await?;
            }
            while let Some(events) = self.page() {
                self.send(&ServerMessage::Events(Events { object: OBJECT, events })).await?;
            }
            tokio::select! {
                message = self.socket.next() => match message {
                    Some(Ok(message)) => self.take(&message.into_data()),
                    Some(Err(error)) => return Err(error),
                    None => return Ok(()),
                },
                _ = head.changed() => {}
            }
            if breaks.has_changed().unwrap_or(true) {
                return Ok(());
            }
        }
    }

    fn welcome(&self) -> ServerMessage {
        ServerMessage::Welcome(Welcome {
            session: self.session.clone().into(),
            token: self.session.clone().into(),
            server: "fake".into(),
            ping_interval_ms: 25_000,
            limits: Limits {
                message_bytes: 65_536,
                joins: 8,
                in_flight: 32,
                history_events: 100,
                presence_bytes: 1_024,
                roster_members: 100,
            },
        })
    }

    async fn send(
        &mut self,
        message: &ServerMessage,
    ) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        let bytes = self.encoding.encode_server(message);
        let frame = match self.encoding {
            Encoding::Msgpack => Message::binary(bytes),
            Encoding::Json => Message::text(String::from_utf8(bytes).unwrap()),
        };
        self.socket.send(frame).await
    }

    fn take(&mut self, bytes: &[u8]) {
        let mut room = self.shared.room.lock().unwrap();
        let head = room.log.len() as u64;
        match self.encoding.decode_client(bytes).unwrap() {
            ClientMessage::Join(Join { id, from, .. }) => {
                let (from, resumed) = match from {
                    Start::Now => (head, false),
                    Start::After(position) => (position.offset, true),
                    Start::All | Start::Last(_) => (0, false),
                };
                self.position = Some(from);
                let epoch = EPOCH;
                let stale = self.shared.fault == Fault::StaleHead;
                let head = head.saturating_sub(stale.into());
                let joined = Joined {
                    id,
                    object: OBJECT,
                    epoch,
                    head,
                    from,
                    resumed,
                    member: 1,
                    reset: None,
                };
                self.replies.push_back(ServerMessage::Joined(joined));
            }
            ClientMessage::Publish(publish) => {
                let key = publish.key.map(|key| (self.session.clone(), key));
                let known = key.as_ref().and_then(|key| room.keys.get(key)).copied();
                let known = known.filter(|_| self.shared.fault != Fault::ForgetKeys);
                let offset = known.unwrap_or(head + 1);
                if known.is_none() {
                    room.keys.extend(key.clone().map(|key| (key, offset)));
                    let key = key.map(|(_, key)| key);
                    let sender = self.session.clone().into();
                    let (kind, data) = (publish.kind, publish.data);
                    room.log.push(Event { offset, time: 1, sender, kind, data, key, user: None });
                    self.shared.head.send_replace(offset);
                    if offset.is_multiple_of(BREAK_EVERY) {
                        self.shared.breaks.send_modify(|count| *count += 1);
                    }
                }
                let duplicate = known.is_some();
                let published = Published { id: publish.id, offset, time: 1, duplicate };
                self.replies.push_back(ServerMessage::Published(published));
            }
            other => panic!("the fake does not know {other:?}"),
        }
    }

    /// The next events of this member, with the fault put in.
    fn page(&mut self) -> Option<Vec<Event>> {
        let position = self.position?;
        let room = self.shared.room.lock().unwrap();
        let rest = room.log.get(position as usize..).filter(|rest| !rest.is_empty())?;
        let mut page = rest[..rest.len().min(PAGE)].to_vec();
        self.position = Some(position + page.len() as u64);
        let at = |offset: u64| offset.checked_sub(position + 1).map(|index| index as usize);
        match self.shared.fault {
            Fault::None | Fault::ForgetKeys | Fault::StaleHead => {}
            Fault::Lose(offset) => page.retain(|event| event.offset != offset),
            Fault::Repeat(offset) => {
                if let Some(index) = at(offset).filter(|index| *index < page.len()) {
                    page.insert(index, page[index].clone());
                }
            }
            Fault::Swap(offset) => {
                if let Some(index) = at(offset).filter(|index| index + 1 < page.len()) {
                    page.swap(index, index + 1);
                }
            }
        }
        Some(page).filter(|page| !page.is_empty())
    }
}
