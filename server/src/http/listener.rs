//! The accept loop: it lasts through errors of `accept` and bounds how many connections are in HTTP at once.
//!
//! Most of those who come want a WebSocket and are told apart here, without a task and without the runtime's poller: see
//! [`super::fast_path`]. The others are served by [`super::connection`].

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use mio::net::TcpListener;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpSocket;
use tokio::task::coop::consume_budget;
use tokio::time::sleep;

use super::Closing;
use super::connection::Server;
use super::connection_limiter::ConnectionLimiter;
use super::log_throttle::LogThrottle;
use super::reject::{self, Rejection};
use super::reserve_descriptor::ReserveDescriptor;
use crate::config::ListenAddress;

/// With the usual 128, many clients that connect at once retransmit a second later.
pub(super) const BACKLOG: u32 = 4096;
/// Free ports of the first address that are tried at the other ones.
const FREE_PORTS: usize = 16;
/// File descriptors and memory do not come back faster than this when they are used up.
pub(super) const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// The system is to tell of a connection when its first bytes are there, or after so many seconds: without that (`TCP_DEFER_ACCEPT`
/// of tcp(7)) nearly every connection would be met before its handshake is there, and cost half as much again.
#[cfg(target_os = "linux")]
const DEFER_SECONDS: libc::c_int = 1;
/// What the system takes for a connection and can't send yet: a peer that takes nothing would be given megabytes of the
/// kernel's memory otherwise, which count for no bound (`TCP_NOTSENT_LOWAT`).
#[cfg(target_os = "linux")]
const UNSENT_BYTES: libc::c_int = 128 << 10;

/// Where connections arrive.
pub(super) type Listener = AsyncFd<TcpListener>;

/// Listens on all addresses of a host, at one port. One that this system does not have is left out if there is another one.
pub(super) fn bind_all(host: &ListenAddress) -> io::Result<Vec<(Listener, SocketAddr)>> {
    let addresses = host.resolve()?;
    // The port that is free at the first address may be taken at another one. While the first is held, another port comes next.
    let mut tried = Vec::new();
    loop {
        let mut bound = Vec::new();
        match bind_at_one_port(&addresses, &mut bound) {
            Err(error) if is_taken_elsewhere(&error, &bound, host) && tried.len() < FREE_PORTS => {
                tried.push(bound);
            }
            done => return done.map(|()| bound),
        }
    }
}

fn is_taken_elsewhere(
    error: &io::Error,
    bound: &[(Listener, SocketAddr)],
    host: &ListenAddress,
) -> bool {
    error.kind() == io::ErrorKind::AddrInUse && host.port() == 0 && !bound.is_empty()
}

fn bind_at_one_port(
    addresses: &[SocketAddr],
    bound: &mut Vec<(Listener, SocketAddr)>,
) -> io::Result<()> {
    let mut missing = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for mut address in addresses.iter().copied() {
        if let (Some((_, first)), 0) = (bound.first(), address.port()) {
            address.set_port(first.port());
        }
        match bind(address) {
            Ok(listener) => bound.push(listener),
            Err(error) if is_missing(&error) => {
                tracing::warn!(%address, %error, "this system does not have an address of the host");
                missing = error;
            }
            Err(error) => return Err(error),
        }
    }
    if bound.is_empty() { Err(missing) } else { Ok(()) }
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

fn bind(address: SocketAddr) -> io::Result<(Listener, SocketAddr)> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // What is accepted has it from its listener.
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?.into_std()?;
    let address = listener.local_addr()?;
    #[cfg(target_os = "linux")]
    {
        // What is accepted has these from its listener, too.
        set(&listener, libc::TCP_DEFER_ACCEPT, DEFER_SECONDS);
        set(&listener, libc::TCP_NOTSENT_LOWAT, UNSENT_BYTES);
    }
    Ok((watch(TcpListener::from_std(listener))?, address))
}

/// tokio's own listener would put what it accepts into its poller, only for it to be taken out again.
#[expect(unsafe_code, reason = "there is no safe way; measured with `dormouse-loadtest idle`")]
fn watch(listener: TcpListener) -> io::Result<Listener> {
    // SAFETY: the listener owns its descriptor and keeps it until it is dropped, and nothing replaces it.
    Ok(unsafe { AsyncFd::register(listener) }?)
}

/// Sets an option of TCP. Where it can't be had, that only costs what it would save.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "no safe wrapper; measured with `dormouse-loadtest idle`")]
fn set(listener: &std::net::TcpListener, option: libc::c_int, value: libc::c_int) {
    use std::os::fd::AsRawFd as _;

    // SAFETY: the descriptor is open for as long as `listener` is borrowed, and the kernel reads the one integer.
    let failed = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if failed != 0 {
        tracing::debug!(error = %io::Error::last_os_error(), option, "an option of TCP is not there");
    }
}

/// An arrived connection.
enum Arrival {
    Accepted(TcpStream, IpAddr),
    /// A connection that was rejected, and why.
    SentAway(io::Error),
}

pub(super) struct Acceptor {
    pub(super) listener: Listener,
    pub(super) server: Server,
    pub(super) limiter: ConnectionLimiter,
    pub(super) reserve: ReserveDescriptor,
    pub(super) closing: Closing,
}

impl Acceptor {
    /// Accepts until the HTTP server closes; the listener is closed with it.
    pub(super) async fn run(mut self) {
        let mut closing = self.closing.clone();
        tokio::select! {
            biased;
            _ = closing.deadline() => {}
            () = self.accept_all() => {}
        }
    }

    async fn accept_all(&mut self) {
        let failing = LogThrottle::default();
        loop {
            let error = match self.accept().await {
                Ok(Arrival::Accepted(stream, peer)) => {
                    let Some((stream, peer)) = self.server.upgrade(stream, peer) else { continue };
                    let begins_tls = self.server.begins_tls(&stream);
                    let Some(permit) = self.limiter.enter(begins_tls).await else { return };
                    tokio::spawn(self.server.serve(stream, peer, permit, self.closing.clone()));
                    continue;
                }
                // A rejected connection frees the reserve descriptor for the next one, so no pause is needed.
                Ok(Arrival::SentAway(error)) => {
                    self.server.counts().cut(Rejection::Descriptors);
                    error
                }
                // The client was gone before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    sleep(PAUSE_AFTER_ERROR).await;
                    error
                }
            };
            self.server.counts().accept_errors.inc();
            if failing.is_due() {
                tracing::warn!(%error, "connections can't be accepted; trying on");
            }
        }
    }

    async fn accept(&mut self) -> io::Result<Arrival> {
        loop {
            // A storm must not keep all other tasks from this thread, nor the end of the HTTP server from being seen.
            consume_budget().await;
            let mut ready = self.listener.readable().await?;
            let reserve = &mut self.reserve;
            if let Ok(accepted) = ready.try_io(|listener| accept(listener.get_ref(), reserve)) {
                return accepted;
            }
        }
    }
}

/// Accepts a connection, or sends it away where the process has no descriptor for it.
fn accept(listener: &TcpListener, reserve: &mut ReserveDescriptor) -> io::Result<Arrival> {
    let send_away = || {
        // It fails if no connection waits: the system looks for a descriptor first.
        let (stream, _) = listener.accept()?;
        reject::tell(&stream.into(), Rejection::Descriptors);
        Ok(())
    };
    match listener.accept() {
        Ok((stream, peer)) => Ok(Arrival::Accepted(stream.into(), peer.ip())),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
            match reserve.lend(send_away) {
                Some(Ok(())) => Ok(Arrival::SentAway(error)),
                Some(Err(nobody)) => Err(nobody),
                None => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}
