//! One connection while it is in HTTP: one request, its answer, and the hand-over if that was an upgrade.
//!
//! There is no keep-alive: whoever talks to this server for long does so over a WebSocket, and a connection with
//! one request has one deadline, whatever it does or leaves undone.

use std::convert::Infallible;
use std::net;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::handshake::Handshake;
use super::prompt::{self, Granted};
use super::routes::{Shared, routes};
use super::{Closing, HandOver};
use crate::session::{BadToken, Session};
use crate::socket::{Accepted, Form, Slot};

/// A request's head, and what is buffered of it; more is refused with HTTP 431.
const HEAD_BYTES: usize = 16 << 10;
/// For producing an answer and sending it.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// What is left to do when the answer to a handshake is sent.
pub(super) struct Upgrade {
    form: Form,
    echoes: bool,
    session: Result<Session, BadToken>,
    slot: Slot,
}

/// Where the handshake's route leaves the upgrade for its connection.
#[derive(Clone, Default)]
pub(super) struct Pending(Arc<Mutex<Option<Upgrade>>>);

impl Pending {
    pub(super) fn put(&self, upgrade: Upgrade) {
        *self.0.lock() = Some(upgrade);
    }

    fn take(&self) -> Option<Upgrade> {
        self.0.lock().take()
    }
}

/// Serves connections.
#[derive(Clone)]
pub(super) struct Server {
    http: http1::Builder,
    routes: Router,
    shared: Arc<Shared>,
    hand_over: HandOver,
    head_time: Duration,
}

impl Server {
    pub(super) fn new(shared: Arc<Shared>, hand_over: HandOver, head_time: Duration) -> Self {
        let mut http = http1();
        http.timer(TokioTimer::new());
        let routes = routes(Arc::clone(&shared));
        Self { http, routes, shared, hand_over, head_time }
    }

    /// Hands a connection over whose handshake lies in its socket. Any other comes back untouched.
    pub(super) fn upgrade(&self, stream: net::TcpStream) -> Option<net::TcpStream> {
        let Some(Granted { upgrade, answer }) = prompt::take(&stream, &self.shared) else {
            return Some(stream);
        };
        upgrade.finish(stream, answer, Bytes::new(), &self.hand_over);
        None
    }

    /// Ends with the connection, its hand-over, its deadline or that of the front.
    pub(super) fn serve(
        &self,
        stream: net::TcpStream,
        mut closing: Closing,
    ) -> impl Future<Output = ()> + use<> {
        let server = self.clone();
        async move {
            let stream = match TcpStream::from_std(stream) {
                Ok(stream) => stream,
                Err(error) => return tracing::warn!(%error, "an accepted socket was lost"),
            };
            let deadline = Instant::now() + server.head_time;
            tokio::select! {
                biased;
                said = timeout_at(deadline, stream.readable()) => {
                    if said.is_err() {
                        return tracing::debug!("an HTTP connection said nothing");
                    }
                    server.serve_http(stream, deadline, closing).await;
                }
                // A front that closes has nobody to wait for who has not said a word yet.
                _ = closing.deadline() => {}
            }
        }
    }

    /// The long way: by hyper, which must have the head of the request before the deadline.
    async fn serve_http(mut self, stream: TcpStream, head: Instant, mut closing: Closing) {
        let left = head.saturating_duration_since(Instant::now());
        self.http.header_read_timeout(left);
        let pending = Pending::default();
        let service = service(self.routes, pending.clone());
        let mut connection = self.http.serve_connection(TokioIo::new(stream), service);
        let served = tokio::select! {
            biased;
            served = timeout(left + ANSWER_TIME, &mut connection) => served,
            deadline = closing.deadline() => {
                std::pin::Pin::new(&mut connection).graceful_shutdown();
                timeout_at(deadline, &mut connection).await
            }
        };
        match (served, pending.take()) {
            (Ok(Ok(())), Some(upgrade)) => {
                let parts = connection.into_parts();
                match parts.io.into_inner().into_std() {
                    Ok(stream) => {
                        upgrade.finish(stream, Bytes::new(), parts.read_buf, &self.hand_over);
                    }
                    Err(error) => tracing::warn!(%error, "an upgraded socket was lost"),
                }
            }
            (Ok(Ok(())), None) => {}
            (Ok(Err(error)), _) => tracing::debug!(%error, "an HTTP connection failed"),
            (Err(_), _) => tracing::debug!("an HTTP connection took too long"),
        }
    }
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
) -> impl HttpService<Incoming, ResBody = Body, Error = Infallible, Future: Send> + Send {
    let routes = TowerToHyperService::new(routes);
    service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(pending.clone());
        routes.call(request)
    })
}

impl Upgrade {
    pub(super) fn new(handshake: Handshake, slot: Slot) -> Self {
        let Handshake { form, echoes, session, .. } = handshake;
        Self { form, echoes, session, slot }
    }

    /// Hands the socket over, with what is yet to be answered to the handshake and what came after it.
    fn finish(self, stream: net::TcpStream, answer: Bytes, read: Bytes, hand_over: &HandOver) {
        let Self { form, echoes, session, slot } = self;
        hand_over(Accepted { stream, answer, read, form, echoes, session, slot });
    }
}
