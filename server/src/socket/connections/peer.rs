//! What the kernel knows of a peer that our own frames can't reach.

use std::time::Duration;

use mio::net::TcpStream;

/// Whether the peer's kernel has acknowledged nothing for so long, though it was asked again and again. Where the system
/// does not tell, no peer is gone.
///
/// A reader that takes nothing still acknowledges the probes of its closed window, if at growing intervals.
#[cfg(target_os = "linux")]
pub(in crate::socket) fn is_gone(socket: &TcpStream, patience: Duration) -> bool {
    info(socket).is_some_and(|info| {
        let is_silent = Duration::from_millis(info.tcpi_last_ack_recv.into()) > patience;
        is_silent && (info.tcpi_retransmits > 0 || info.tcpi_probes > 1)
    })
}

#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "no safe wrapper of TCP_INFO; asked only for peers that don't answer"
)]
fn info(socket: &TcpStream) -> Option<libc::tcp_info> {
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
    (failed == 0).then_some(info)
}

/// Whether the peer's system has acknowledged everything that was written. Where the system does not tell, it has not.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "no safe wrapper of SIOCOUTQ; asked only while the server stops")]
pub(in crate::socket) fn has_everything(socket: &TcpStream) -> bool {
    use std::os::fd::AsRawFd as _;

    let mut unacknowledged: libc::c_int = 0;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, and the kernel writes one integer (tcp(7), SIOCOUTQ, which
    // has the number of TIOCOUTQ).
    let failed =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut unacknowledged) };
    failed == 0 && unacknowledged == 0
}

/// Other systems don't tell.
#[cfg(not(target_os = "linux"))]
pub(in crate::socket) fn has_everything(_socket: &TcpStream) -> bool {
    false
}

/// Other systems don't tell.
#[cfg(not(target_os = "linux"))]
pub(in crate::socket) fn is_gone(_socket: &TcpStream, _patience: Duration) -> bool {
    false
}
