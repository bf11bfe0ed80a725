//! One connection while it is in HTTP: one request, its answer, and the hand-over if that was an upgrade.
//!
//! There is no keep-alive: whoever talks to this server for long does so over a WebSocket, and a connection with
//! one request has one deadline, whatever it does or leaves undone.

use std::convert::Infallible;
use std::net::{self, IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout, timeout_at};

use super::connection_limiter::HttpPermit;
use super::fast_path::{self, Granted};
use super::metrics::Counts;
use super::opening::{self, Opening};
use super::peer::Peer;
use super::reject::{self, Rejection};
use super::shared::{CONNECT, Shared};
use super::transport::{Parts, Transport, cut_off};
use super::upgrade::{Asked, Pending};
use super::{Closing, HandOver};

/// A request's head, and what is buffered of it; more is refused with HTTP 431.
const HEAD_BYTES: usize = 16 << 10;
/// For producing an answer and sending it.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// Serves connections.
#[derive(Clone)]
pub(super) struct Server {
    http: http1::Builder,
    routes: Router,
    shared: Arc<Shared>,
    opening: Opening,
    hand_over: HandOver,
    head_time: Duration,
}

impl Server {
    pub(super) fn new(
        shared: Arc<Shared>,
        routes: Router,
        opening: Opening,
        hand_over: HandOver,
        head_time: Duration,
    ) -> Self {
        let mut http = http1();
        http.timer(TokioTimer::new());
        Self { http, routes, shared, opening, hand_over, head_time }
    }

    /// The counts of what happens to connections.
    pub(super) fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// Hands a connection over to the sockets if its whole handshake has arrived, or refuses it because of a limit. Returns any other one,
    /// with what is known of its peer.
    pub(super) fn upgrade(
        &self,
        stream: net::TcpStream,
        address: IpAddr,
    ) -> Option<(net::TcpStream, Peer)> {
        let mut peer = Peer::new(address);
        if !self.opening.is_nothing(address, &self.shared) {
            return Some((stream, peer));
        }
        match fast_path::take(&stream, &mut peer, &self.shared) {
            Some(Ok(Granted { upgrade, answer })) => {
                upgrade.finish(stream, None, answer, Bytes::new(), &self.hand_over);
                None
            }
            Some(Err(refusal)) if refusal.is_limit() => {
                self.shared.counts.refused(refusal);
                self.shared.count(CONNECT, StatusCode::TOO_MANY_REQUESTS);
                reject::answer(&stream, "429 Too Many Requests", refusal.text());
                None
            }
            Some(Err(_)) | None => Some((stream, peer)),
        }
    }

    /// Whether this address uses TLS and the connection has sent bytes.
    pub(super) fn begins_tls(&self, stream: &net::TcpStream) -> bool {
        self.opening.tls.is_some() && stream.peek(&mut [0]).is_ok_and(|count| count > 0)
    }

    /// Ends with the connection, its hand-over, its deadline or that of the HTTP server, or when the limiter takes its permit away.
    pub(super) fn serve(
        &self,
        stream: net::TcpStream,
        peer: Peer,
        permit: HttpPermit,
        closing: Closing,
    ) -> impl Future<Output = ()> + use<> {
        let server = self.clone();
        async move {
            let counts = server.shared.counts.clone();
            let outcome = match TcpStream::from_std(stream) {
                Ok(stream) => server.listen(stream, peer, permit, closing).await,
                Err(error) => return tracing::warn!(%error, "an accepted socket was lost"),
            };
            if let Err(cut) = outcome {
                counts.cut(cut);
            }
        }
    }

    /// The same for a connection of an operator.
    pub(super) fn serve_unix(
        &self,
        stream: UnixStream,
        permit: HttpPermit,
        closing: Closing,
    ) -> impl Future<Output = ()> + use<> {
        let server = self.clone();
        async move {
            let counts = server.shared.counts.clone();
            let deadline = Instant::now() + server.head_time;
            let peer = Peer::new(Ipv4Addr::LOCALHOST.into());
            let transport = Transport::Unix(stream);
            if let Err(cut) = server.serve_http(transport, peer, deadline, permit, closing).await {
                counts.cut(cut);
            }
        }
    }

    async fn listen(
        self,
        stream: TcpStream,
        peer: Peer,
        mut permit: HttpPermit,
        mut closing: Closing,
    ) -> Result<(), Rejection> {
        let deadline = Instant::now() + self.head_time;
        let cut = tokio::select! {
            biased;
            said = timeout_at(deadline, stream.readable()) => match said {
                Ok(_) => {
                    let opened =
                        opening::open(stream, peer, deadline, &self.shared, &self.opening);
                    let (transport, peer) = tokio::select! {
                        biased;
                        opened = opened => opened?,
                        Ok(()) = &mut permit.gives_way => return Err(Rejection::Crowded),
                        _ = closing.deadline() => return Ok(()),
                    };
                    return self.serve_http(transport, peer, deadline, permit, closing).await;
                }
                Err(_) => Rejection::HandshakeTimeout,
            },
            Ok(()) = &mut permit.gives_way => Rejection::Crowded,
            // A closing HTTP server does not wait for a connection that has sent nothing.
            _ = closing.deadline() => return Ok(()),
        };
        cut_off(stream, cut);
        Err(cut)
    }

    /// The long way: by hyper, which must have the head of the request before the deadline.
    async fn serve_http(
        mut self,
        transport: Transport,
        peer: Peer,
        head: Instant,
        mut permit: HttpPermit,
        mut closing: Closing,
    ) -> Result<(), Rejection> {
        let left = head.saturating_duration_since(Instant::now());
        self.http.header_read_timeout(left);
        let pending = Pending::default();
        let service = service(self.routes, pending.clone(), peer);
        let mut connection = self.http.serve_connection(TokioIo::new(transport), service);
        let served = tokio::select! {
            biased;
            served = timeout(left + ANSWER_TIME, &mut connection) => match served {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(why(&error)),
                Err(_) => Err(Rejection::AnswerTimeout),
            },
            Ok(()) = &mut permit.gives_way => Err(Rejection::Crowded),
            deadline = closing.deadline() => {
                std::pin::Pin::new(&mut connection).graceful_shutdown();
                match timeout_at(deadline, &mut connection).await {
                    Ok(served) => served.map_err(|error| why(&error)),
                    Err(_) => Err(Rejection::AnswerTimeout),
                }
            }
        };
        let parts = connection.into_parts();
        let transport = parts.io.into_inner();
        match (served, pending.take()) {
            (Ok(()), Asked::Upgrade(upgrade)) => match transport.into_parts() {
                Ok(Parts { socket, tls, unread }) => {
                    let read = join(parts.read_buf, &unread);
                    upgrade.finish(socket, tls, Bytes::new(), read, &self.hand_over);
                }
                Err(error) => tracing::warn!(%error, "an upgraded socket was lost"),
            },
            (Err(cut), Asked::Nothing) => transport.cut_off(cut),
            _ => {}
        }
        served
    }
}

fn why(error: &hyper::Error) -> Rejection {
    tracing::debug!(%error, "an HTTP connection failed");
    if error.is_timeout() {
        Rejection::HandshakeTimeout
    } else if error.is_parse_too_large() {
        Rejection::HeadTooLarge
    } else {
        Rejection::Broken
    }
}

/// The bytes that hyper has read after the request, and then those that it has not read.
fn join(read: Bytes, unread: &[u8]) -> Bytes {
    if unread.is_empty() { read } else { [&read, unread].concat().into() }
}

pub(super) fn http1() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.max_buf_size(HEAD_BYTES);
    http
}

/// The routes, told to which connection a request belongs.
fn service(
    routes: Router,
    pending: Pending,
    peer: Peer,
) -> impl HttpService<Incoming, ResBody = Body, Error = Infallible, Future: Send> + Send {
    let routes = TowerToHyperService::new(routes);
    service_fn(move |mut request: Request<Incoming>| {
        pending.put(Asked::Answer);
        request.extensions_mut().insert(pending.clone());
        request.extensions_mut().insert(peer.clone());
        routes.call(request)
    })
}
