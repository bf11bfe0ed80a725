//! A full disk is a bound like others: publishes are refused until there is room, and everything else goes on.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dormouse_protocol::{Encoding, ErrorCode};
use tempfile::TempDir;

use super::trouble::{all_else_goes_on, is_ready};
use super::{Disk, Word};
use crate::client::{Client, noise};
use crate::process::Program;
use crate::support::dormouse;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishes_are_refused_while_the_disk_is_full() {
    let disk = Disk::new();
    let program = disk.start(0, &[("DORMOUSE_LOG_MIN_FREE", "100MiB")]);
    let mut client = Client::connect(program.address, Encoding::Msgpack).await;
    let object = client.join_now("room/a").await;
    client.publish_once(object, 1, "one").await;

    disk.set(Word::FreeMib, 100);
    is_ready(program.internal, "disk_full").await;
    let id = client.send_publish(object, 2, Some("two")).await;
    assert_eq!(client.refusal(id).await.code, ErrorCode::DiskFull);
    assert!(client.publish_once(object, 1, "one").await.duplicate, "it takes no room");
    all_else_goes_on(program.address, "room/a", 1).await;
    let metrics = crate::server::metrics(program.internal).await;
    for line in [
        "dormouse_log_full 1\n",
        &format!("dormouse_log_free_bytes {}\n", 99 << 20),
        "dormouse_request_errors_total{code=\"disk_full\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    disk.is_logged("the disk is full: publishes are refused until there is room");

    disk.set(Word::FreeMib, 200);
    is_ready(program.internal, "ready").await;
    disk.is_logged("the disk has room again");
    assert_eq!(client.publish_once(object, 2, "two").await.offset, 2);
}

/// A file system of 24 MiB of its own for the program, which only it sees; `None` where the system allows none.
struct SmallDisk {
    program: Program,
    filler: PathBuf,
    _dir: TempDir,
}

impl SmallDisk {
    fn start(min_free: &str) -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let script = "mount -t tmpfs -o size=24m tmpfs \"$0\"";
        let unshared = ["-r", "-m", "sh", "-c"];
        let mut trial = Command::new("unshare");
        trial.args(unshared).arg(script).arg(dir.path()).stderr(Stdio::null());
        if !trial.status().is_ok_and(|status| status.success()) {
            eprintln!("skipped: no small file system can be mounted here");
            return None;
        }
        let program = dormouse(&["--listen", "127.0.0.1:0", "--internal", "127.0.0.1:0", "--data"]);
        let mut command = Command::new("unshare");
        command.args(unshared).arg(format!("{script} && exec \"$@\"")).arg(dir.path());
        command.arg(program.get_program()).args(program.get_args()).arg(dir.path());
        command.env("DORMOUSE_LOG_MIN_FREE", min_free);
        let program = Program::run(command);
        // The program is in a place where the file system is; so is its root directory.
        let root = format!("/proc/{}/root", program.child.id());
        let filler = Path::new(&root).join(dir.path().strip_prefix("/").unwrap()).join("filler");
        Some(Self { program, filler, _dir: dir })
    }

    /// Takes so many MiB of it, as far as they are there.
    fn take(&self, mib: usize) {
        let mut filler = File::create(&self.filler).unwrap();
        let pages = mib << 8;
        let _ = (0..pages).try_for_each(|_| filler.write_all(&[1; 4096]));
    }

    fn make_room(&self) {
        fs::remove_file(&self.filler).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_file_system_that_fills_up_is_outlived_without_a_restart() {
    let Some(disk) = SmallDisk::start("8MiB") else { return };
    let (address, internal) = (disk.program.address, disk.program.internal);
    let mut client = Client::connect(address, Encoding::Msgpack).await;
    let object = client.join_now("room/a").await;
    disk.take(8);
    // The server takes the rest itself.
    let text = noise(50_000);
    let mut stored = 0;
    let refusal = loop {
        let id = client.send_publish(object, &text, None).await;
        match client.reply(id).await {
            dormouse_protocol::ServerMessage::Published(published) => stored = published.offset,
            dormouse_protocol::ServerMessage::Error(error) => break error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refusal.code, ErrorCode::DiskFull);
    assert!(stored > 100, "{stored}");
    is_ready(internal, "disk_full").await;
    client.ping().await;
    disk.make_room();
    is_ready(internal, "ready").await;
    assert_eq!(client.publish(object, "again").await.offset, stored + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_file_system_is_outlived_where_no_room_is_kept() {
    let Some(mut disk) = SmallDisk::start("0B") else { return };
    let (address, internal) = (disk.program.address, disk.program.internal);
    let mut client = Client::connect(address, Encoding::Msgpack).await;
    let object = client.join_now("room/a").await;
    client.publish(object, 1).await;
    disk.take(100);
    // More than what is left of the journal's last page.
    let id = client.send_publish(object, noise(50_000), None).await;
    assert_eq!(client.refusal(id).await.code, ErrorCode::Unavailable);
    is_ready(internal, "log_failed").await;
    all_else_goes_on(address, "room/a", 1).await;

    disk.make_room();
    assert_eq!(client.closed().await, Some(3002));
    disk.program.restarted();
    let mut client = Client::connect(disk.program.address, Encoding::Msgpack).await;
    let object = client.join_now("room/a").await;
    let last = client.publish(object, 2).await.offset;
    assert!((2..=3).contains(&last), "the refused one may be there");
}
