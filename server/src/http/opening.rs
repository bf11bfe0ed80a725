//! What comes before HTTP on a connection: the header of the PROXY protocol, and the handshake of TLS.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::handshake::Refusal;
use super::peer::Peer;
use super::proxy_header;
use super::reject::Rejection;
use super::shared::Shared;
use super::transport::{Transport, cut_off};
use crate::auth::ClientCertificate;
use crate::tls::{self, Tls};

/// The type of the first record of TLS (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// What an address of the server expects before HTTP.
#[derive(Clone, Default)]
pub(super) struct Opening {
    /// TLS, if the address uses it.
    pub(super) tls: Option<Arc<Tls>>,
    /// Connections of trusted proxies begin with a header of the PROXY protocol.
    pub(super) proxy_header: bool,
}

impl Opening {
    /// Whether a connection of this peer begins with HTTP.
    pub(super) fn is_nothing(&self, address: IpAddr, shared: &Shared) -> bool {
        self.tls.is_none() && !self.expects_proxy_header(address, shared)
    }

    fn expects_proxy_header(&self, address: IpAddr, shared: &Shared) -> bool {
        self.proxy_header && shared.inside.rates.is_proxy(address)
    }
}

/// Gets a connection as far as HTTP, before the deadline.
pub(super) async fn open(
    mut socket: TcpStream,
    mut peer: Peer,
    deadline: Instant,
    shared: &Shared,
    opening: &Opening,
) -> Result<(Transport, Peer), Rejection> {
    let address = peer.address;
    if opening.expects_proxy_header(address, shared) {
        match timeout_at(deadline, proxy_header::read(&mut socket)).await {
            Ok(Ok(client)) => peer.address = client.unwrap_or(address),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a trusted proxy sent no header of the PROXY protocol");
                cut_off(socket, Rejection::ProxyHeader);
                return Err(Rejection::ProxyHeader);
            }
            Err(_) => {
                cut_off(socket, Rejection::HandshakeTimeout);
                return Err(Rejection::HandshakeTimeout);
            }
        }
    }
    let Some(tls) = &opening.tls else { return Ok((Transport::Plain(socket), peer)) };
    // A handshake is much work, so that it counts before it begins.
    if !shared.inside.rates.is_proxy(peer.address) {
        if shared.inside.rates.connect(peer.address).is_err() {
            shared.counts.refused(Refusal::Rate);
            return Err(Rejection::Rate);
        }
        peer.counted = Some(peer.address);
    }
    let stream = match timeout_at(deadline, handshake(socket, shared, tls)).await {
        Ok(stream) => stream?,
        Err(_) => return Err(Rejection::HandshakeTimeout),
    };
    peer.certificate = stream.peer_certificate().and_then(ClientCertificate::read).map(Arc::new);
    Ok((Transport::Tls(Box::new(stream)), peer))
}

async fn handshake(
    socket: TcpStream,
    shared: &Shared,
    tls: &Tls,
) -> Result<tls::Stream, Rejection> {
    let mut first = [0];
    match socket.peek(&mut first).await {
        Ok(1) if first[0] == TLS_HANDSHAKE => {}
        Ok(1) if first[0].is_ascii_alphabetic() => {
            cut_off(socket, Rejection::PlainHttp);
            return Err(Rejection::PlainHttp);
        }
        _ => return Err(Rejection::Tls),
    }
    let session = tls.session(&shared.inside.budget).ok_or(Rejection::Memory)?;
    tls::Stream::accept(socket, session).await.map_err(|error| {
        tracing::debug!(%error, "a TLS handshake failed");
        Rejection::Tls
    })
}
