//! The accept loop: it lasts through errors of `accept` and bounds how many connections are in HTTP at once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use super::Closing;
use super::connection::Server;
use super::metrics::Counts;

/// The usual 128 turns a storm of connecting clients into retransmissions a second apart.
const BACKLOG: u32 = 4096;
/// File descriptors and memory do not come back faster than this when they are used up.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

pub(super) fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

pub(super) struct Acceptor {
    pub(super) listener: TcpListener,
    pub(super) server: Server,
    pub(super) in_http: Arc<Semaphore>,
    pub(super) closing: Closing,
    pub(super) counts: Counts,
}

impl Acceptor {
    /// Accepts until the front closes; the listener is closed with it.
    pub(super) async fn run(self) {
        let mut closing = self.closing.clone();
        tokio::select! {
            biased;
            _ = closing.deadline() => {}
            () = self.accept_all() => {}
        }
    }

    async fn accept_all(&self) {
        let mut failing = false;
        loop {
            let Some(permit) = self.permit().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    failing = false;
                    self.serve(stream, permit);
                }
                // The client was gone before its turn came.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    self.counts.accept_errors.inc();
                    if !failing {
                        tracing::warn!(%error, "connections can't be accepted; trying on");
                    }
                    failing = true;
                    sleep(PAUSE_AFTER_ERROR).await;
                }
            }
        }
    }

    /// Leave for one more connection; `None` if there will never be any.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.in_http).try_acquire_owned() {
            return Some(permit);
        }
        self.counts.accept_waits.inc();
        Arc::clone(&self.in_http).acquire_owned().await.ok()
    }

    fn serve(&self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        // It fails only on a socket that is dead already, which serving it finds out.
        let _ = stream.set_nodelay(true);
        let connection = self.server.serve(stream, self.closing.clone());
        tokio::spawn(async move {
            connection.await;
            drop(permit);
        });
    }
}
