//! Whether the disk of a directory works: by trying it out.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

const EVERY: Duration = Duration::from_secs(1);

/// A disk that is about to fail may work now and then.
const IN_A_ROW: u32 = 2;

/// Waits until a file could be written, synced and removed in the directory twice in a row, a second apart. A disk that hangs
/// is waited for.
pub(crate) async fn disk_works(dir: &Path) {
    let mut in_a_row = 0;
    while in_a_row < IN_A_ROW {
        sleep(EVERY).await;
        let dir: PathBuf = dir.into();
        match spawn_blocking(move || try_out(&dir)).await {
            Ok(Ok(())) => in_a_row += 1,
            Ok(Err(error)) => {
                tracing::debug!(%error, "the disk does not work yet");
                in_a_row = 0;
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

fn try_out(dir: &Path) -> io::Result<()> {
    let path = dir.join("probe");
    let mut file = File::create(&path)?;
    file.write_all(&[0; 4096])?;
    file.sync_all()?;
    fs::remove_file(&path)?;
    File::open(dir)?.sync_all()
}
