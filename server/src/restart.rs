//! How the program becomes a new process of itself.
//!
//! A server that has been shut down for a restart which then fails is lost. So the program tries its own file out first.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// The time between two trials.
const RETRY: Duration = Duration::from_secs(1);

/// Waits until this program's file can be executed, and says in the log that it cannot.
pub(crate) async fn possible() {
    let mut is_logged = false;
    loop {
        let error = match spawn_blocking(try_out).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        if !std::mem::replace(&mut is_logged, true) {
            tracing::error!(
                program = %program().display(),
                %error,
                "the program has to restart and its file cannot be executed: \
                 until it can, reads go on and publishes are refused"
            );
        }
        sleep(RETRY).await;
    }
}

/// Becomes a new process of the same program with the same arguments, in this one's place. Returns only if it cannot.
pub(crate) fn exec() -> io::Error {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "dormouse".into());
    Command::new(program()).arg0(name).args(arguments).exec()
}

/// Executes this program's file as far as it prints its version.
fn try_out() -> io::Result<()> {
    let mut command = Command::new(program());
    let status = command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("`--version` ends with {status}")))
    }
}

/// This program's file. On Linux this leads to the file that runs, even where an upgrade has replaced or removed it.
fn program() -> PathBuf {
    let own = Path::new("/proc/self/exe");
    if own.exists() { own.into() } else { std::env::current_exe().unwrap_or_default() }
}
