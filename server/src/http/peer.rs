//! The peer of a connection, as far as the connection itself identifies it.

use std::net::IpAddr;
use std::sync::Arc;

use crate::auth::ClientCertificate;

/// The peer of a connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// Its address; behind a proxy with the PROXY protocol, that of the proxy's peer.
    pub(super) address: IpAddr,
    /// The certificate that it has proved to be its own.
    pub(super) certificate: Option<Arc<ClientCertificate>>,
    /// The address whose rate limit has counted the connection already.
    pub(super) counted: Option<IpAddr>,
}

impl Peer {
    /// A peer of which only the address is known.
    pub(super) fn new(address: IpAddr) -> Self {
        Self { address, certificate: None, counted: None }
    }
}
