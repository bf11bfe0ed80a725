//! What the kernel knows of a peer that our own frames can't reach.

use std::time::Duration;

use mio::net::TcpStream;

/// How long ago the peer's kernel last acknowledged anything, where this system tells.
///
/// A reader that takes nothing still acknowledges the probes of its closed window; a peer that is gone does not.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "no safe wrapper of TCP_INFO; asked only for sockets that take nothing"
)]
pub(super) fn silence(socket: &TcpStream) -> Option<Duration> {
    use std::os::fd::AsRawFd as _;

    // SAFETY: `tcp_info` is made of integers, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; `info` is `len` bytes of writable memory, and the
    // kernel writes at most that much.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut len,
        )
    };
    (failed == 0).then(|| Duration::from_millis(info.tcpi_last_ack_recv.into()))
}

/// Other systems don't tell.
#[cfg(not(target_os = "linux"))]
pub(super) fn silence(_socket: &TcpStream) -> Option<Duration> {
    None
}
