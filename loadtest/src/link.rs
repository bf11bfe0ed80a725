//! One WebSocket connection that speaks the protocol, from the handshake to its end.
//!
//! Knows nothing of sessions, objects and retries. Sending only queues; [`Link::receive`] moves the bytes in both
//! directions, so that neither side can block the other.

use std::collections::VecDeque;
use std::fmt::{self, Display};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use dormouse_protocol::{
    ClientMessage, Encoding, SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK, ServerMessage,
};
use futures_util::{Sink as _, Stream as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, client_async_with_config, connect_async_with_config,
};

/// How long a handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Thousands of clients share one process, so their buffers are small.
const BUFFER_BYTES: usize = 4 << 10;
/// Larger than any message that the server sends.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// A connection that is up.
pub(crate) struct Link {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    encoding: Encoding,
    queue: VecDeque<Message>,
}

/// Why a connection ended or did not come about, and what to do.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Connect again.
    Again(String),
    /// Another attempt would end in the same way.
    Final(String),
}

impl Link {
    /// Connects.
    pub(crate) async fn connect(url: String, encoding: Encoding) -> Result<Self, Ended> {
        let connecting = connect_async_with_config(request(url, encoding)?, Some(config()), true);
        Self::open(connecting, encoding).await
    }

    /// Connects, and lets the system take in so many bytes for it.
    pub(crate) async fn connect_narrow(
        url: String,
        address: SocketAddr,
        encoding: Encoding,
        receive_buffer: u32,
    ) -> Result<Self, Ended> {
        let request = request(url, encoding)?;
        let connecting = async {
            let socket = TcpSocket::new_v4()?;
            socket.set_recv_buffer_size(receive_buffer)?;
            let stream = MaybeTlsStream::Plain(socket.connect(address).await?);
            client_async_with_config(request, stream, Some(config())).await
        };
        Self::open(connecting, encoding).await
    }

    async fn open<T>(
        connecting: impl Future<Output = Result<(WebSocketStream<MaybeTlsStream<TcpStream>>, T), Error>>,
        encoding: Encoding,
    ) -> Result<Self, Ended> {
        match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok((socket, _))) => Ok(Self { socket, encoding, queue: VecDeque::new() }),
            Ok(Err(error)) => Err(Ended::from(error)),
            Err(_) => Err(Ended::Again("the handshake took too long".to_owned())),
        }
    }

    /// Closes the connection with code 1000 and waits for the server's answer.
    pub(crate) async fn close(mut self) -> Result<(), Ended> {
        let frame = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
        self.queue.push_back(Message::Close(Some(frame)));
        let closed = async {
            loop {
                match poll_fn(|cx| self.poll(cx)).await? {
                    Message::Close(Some(frame)) if frame.code == CloseCode::Normal => return Ok(()),
                    Message::Close(frame) => {
                        return Err(Ended::Final(format!("a close was answered {frame:?}")));
                    }
                    _ => {}
                }
            }
        };
        let late = |_| Ended::Again("a close was not answered".to_owned());
        timeout(CONNECT_TIMEOUT, closed).await.map_err(late)?
    }

    /// Queues a message.
    pub(crate) fn send(&mut self, message: &ClientMessage) {
        let bytes = self.encoding.encode_client(message);
        self.queue.push_back(match self.encoding {
            Encoding::Msgpack => Message::binary(bytes),
            Encoding::Json => Message::text(String::from_utf8(bytes).expect("JSON is UTF-8")),
        });
    }

    /// Writes what is queued and waits for the next message. Nothing is lost where the future is dropped.
    pub(crate) async fn receive(&mut self) -> Result<ServerMessage, Ended> {
        loop {
            let bytes = match poll_fn(|cx| self.poll(cx)).await? {
                Message::Binary(bytes) => bytes,
                Message::Text(text) => text.into(),
                Message::Close(frame) => {
                    let (code, reason) = frame
                        .map_or((1005, String::new()), |f| (f.code.into(), f.reason.to_string()));
                    return Err(Ended::by_close(code, &reason));
                }
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            };
            return self.encoding.decode_server(&bytes).map_err(|e| {
                let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
                Ended::Final(format!("a message that is none: {e}: {shown:?}"))
            });
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Ended>> {
        while !self.queue.is_empty() {
            let mut socket = Pin::new(&mut self.socket);
            if socket.as_mut().poll_ready(cx).map_err(Ended::from)?.is_pending() {
                break;
            }
            let message = self.queue.pop_front().expect("the queue is not empty");
            socket.start_send(message).map_err(Ended::from)?;
        }
        let mut socket = Pin::new(&mut self.socket);
        // A full send buffer must not keep us from reading.
        let _ = socket.as_mut().poll_flush(cx).map_err(Ended::from)?;
        match ready!(socket.poll_next(cx)) {
            Some(Ok(message)) => Poll::Ready(Ok(message)),
            Some(Err(error)) => Poll::Ready(Err(error.into())),
            None => Poll::Ready(Err(Ended::Again("the connection ended".to_owned()))),
        }
    }
}

fn request(url: String, encoding: Encoding) -> Result<Request, Ended> {
    let mut request = url.into_client_request().map_err(|e| Ended::Final(e.to_string()))?;
    let subprotocol = match encoding {
        Encoding::Msgpack => SUBPROTOCOL_MSGPACK,
        Encoding::Json => SUBPROTOCOL_JSON,
    };
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    Ok(request)
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
}

impl Ended {
    /// What ended it.
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Again(why) | Self::Final(why) => why,
        }
    }

    fn by_close(code: u16, reason: &str) -> Self {
        let text = format!("closed with {code} {reason}");
        match code {
            1002 | 1003 | 1007 | 1009 | 3500..=3999 | 4500..=4999 => Self::Final(text),
            _ => Self::Again(text),
        }
    }
}

impl Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why())
    }
}

impl std::error::Error for Ended {}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Http(response) if response.status().is_client_error() => Self::Final(text),
            Error::Url(_) | Error::HttpFormat(_) | Error::Capacity(_) => Self::Final(text),
            _ => Self::Again(text),
        }
    }
}

/// Exponential back-off with full jitter: a random pause below a bound that doubles.
#[derive(Debug)]
pub(crate) struct Backoff {
    attempts: u32,
    longest: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const DOUBLINGS_MAX: u32 = 6;

    /// One whose pauses never get longer than this.
    pub(crate) fn up_to(longest: Duration) -> Self {
        Self { attempts: 0, longest }
    }

    /// The next pause.
    pub(crate) fn pause(&mut self) -> Duration {
        let bound = Self::FIRST * (1 << self.attempts.min(Self::DOUBLINGS_MAX));
        self.attempts += 1;
        rand::random_range(Duration::ZERO..=bound.min(self.longest))
    }

    /// The next pause is a short one again.
    pub(crate) fn rest(&mut self) {
        self.attempts = 0;
    }
}

impl Default for Backoff {
    /// Up to 3.2 s.
    fn default() -> Self {
        Self::up_to(Self::FIRST * (1 << Self::DOUBLINGS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_a_close_code_says_what_to_do() {
        for again in [1000, 1001, 1005, 1006, 1011, 3000, 3499, 4000, 4499] {
            assert!(matches!(Ended::by_close(again, ""), Ended::Again(_)), "{again}");
        }
        for last in [1002, 1003, 1007, 1009, 3500, 3999, 4500, 4999] {
            assert!(matches!(Ended::by_close(last, ""), Ended::Final(_)), "{last}");
        }
    }

    #[test]
    fn pauses_stay_below_their_bound() {
        let mut backoff = Backoff::default();
        for bound in [50, 100, 200, 400, 800, 1600, 3200, 3200] {
            assert!(backoff.pause() <= Duration::from_millis(bound));
        }
    }
}
