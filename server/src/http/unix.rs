//! The operators' address as a Unix socket: only the user that runs the server may connect to it.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

use super::Closing;
use super::connection::Server;
use super::connection_limiter::ConnectionLimiter;
use super::listener::{BACKLOG, PAUSE_AFTER_ERROR};

/// The socket; its file goes with it.
pub(super) struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl UnixSocket {
    /// Listens at a path. A socket that a server has left there which is gone is replaced.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        if is_abandoned(path) {
            fs::remove_file(path)?;
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // Before `listen`: no process can connect while the socket has other permissions.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        socket.listen(BACKLOG.cast_signed())?;
        socket.set_nonblocking(true)?;
        Ok(Self { listener: UnixListener::from_std(socket.into())?, path: path.to_owned() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Accepts until the HTTP server closes.
    pub(super) async fn run(
        self,
        server: Server,
        limiter: ConnectionLimiter,
        mut closing: Closing,
    ) {
        let accepted = closing.clone();
        tokio::select! {
            biased;
            _ = closing.deadline() => {}
            () = self.accept_all(&server, &limiter, &accepted) => {}
        }
    }

    async fn accept_all(&self, server: &Server, limiter: &ConnectionLimiter, closing: &Closing) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let Some(permit) = limiter.enter(false).await else { return };
                    tokio::spawn(server.serve_unix(stream, permit, closing.clone()));
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection of an operator can't be accepted");
                    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                }
            }
        }
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // It fails if another process has removed the file.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether the path is a socket on which no process listens.
fn is_abandoned(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let refused = || {
        net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    is_socket && refused()
}
