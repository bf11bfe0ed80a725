//! The last word to a connection that gets no further in HTTP, and why it does not.
//!
//! It is written without hyper, as far as the socket accepts it at once: a rejected connection must not delay others.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

/// What a client has sent that nobody will look at is taken out of the socket up to so many bytes: the system would tell the
/// client of a broken connection otherwise, and not of the answer.
const IGNORED_BYTES: usize = 16 << 10;

/// Why a connection is ended before its request has an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejection {
    /// Its request did not come in time.
    HandshakeTimeout,
    /// The head of its request is too large; hyper has said so.
    HeadTooLarge,
    /// The answer was not ready, or not taken, in time.
    AnswerTimeout,
    /// It is the oldest, and there are too many.
    Crowded,
    /// The process may have no more files open.
    Descriptors,
    /// It broke, or broke the rules of HTTP.
    Broken,
    /// It broke the rules of TLS, or none of its versions, suites or names is one of the server's.
    Tls,
    /// It sent plain HTTP to an address that uses TLS.
    PlainHttp,
    /// A trusted proxy did not begin with a header of the PROXY protocol.
    ProxyHeader,
    /// The rate limit of its address is reached, before TLS.
    Rate,
    /// The memory budget has no room for TLS.
    Memory,
}

impl Rejection {
    pub(super) const ALL: [Self; 11] = [
        Self::HandshakeTimeout,
        Self::HeadTooLarge,
        Self::AnswerTimeout,
        Self::Crowded,
        Self::Descriptors,
        Self::Broken,
        Self::Tls,
        Self::PlainHttp,
        Self::ProxyHeader,
        Self::Rate,
        Self::Memory,
    ];

    /// The label of the metric.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::HandshakeTimeout => "handshake_timeout",
            Self::HeadTooLarge => "head_too_large",
            Self::AnswerTimeout => "answer_timeout",
            Self::Crowded => "http_connections",
            Self::Descriptors => "descriptors",
            Self::Broken => "broken",
            Self::Tls => "tls",
            Self::PlainHttp => "plain_http",
            Self::ProxyHeader => "proxy_header",
            Self::Rate => "rate",
            Self::Memory => "memory",
        }
    }

    fn answer(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::HandshakeTimeout => {
                Some(("408 Request Timeout", "the request did not come in time\n"))
            }
            Self::Crowded => Some((
                "503 Service Unavailable",
                "limits.http_connections is reached: try again later\n",
            )),
            Self::Descriptors => Some((
                "503 Service Unavailable",
                "the server has no file descriptors left: try again later\n",
            )),
            Self::PlainHttp => Some((
                "400 Bad Request",
                "this address uses TLS: connect with https:// or wss://\n",
            )),
            Self::ProxyHeader => Some((
                "400 Bad Request",
                "rates.proxy_protocol is on, and the connection did not begin with a header of the PROXY protocol, version 2\n",
            )),
            Self::HeadTooLarge
            | Self::AnswerTimeout
            | Self::Broken
            | Self::Tls
            | Self::Rate
            | Self::Memory => None,
        }
    }
}

/// Tells a client that has no answer yet why it gets none, and closes the connection. The socket does not block.
pub(super) fn tell(stream: &TcpStream, cut: Rejection) {
    if let Some((status, text)) = cut.answer() {
        answer(stream, status, text);
    }
}

/// Answers with a status and a text, and closes the connection.
pub(super) fn answer(mut stream: &TcpStream, status: &str, text: &str) {
    let answer = format!(
        "HTTP/1.1 {status}\r\nretry-after: 5\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\n\r\n{text}",
        text.len()
    );
    // A client that is gone, or whose socket is full, is not told.
    let _ = stream.write_all(answer.as_bytes());
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read(&mut [0; IGNORED_BYTES]);
}
