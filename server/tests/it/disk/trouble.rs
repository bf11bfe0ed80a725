//! A disk that fails or hangs: nothing is acknowledged that it has not taken, everything else goes on, and the program comes back
//! by itself when the disk does.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use dormouse_protocol::{Encoding, ErrorCode, ServerMessage, Start};

use super::{Disk, EIO, ENOSPC, EROFS, Word};
use crate::client::{Client, history};
use crate::server::exchange;
use crate::support::PATIENCE;

pub(super) async fn readiness(internal: SocketAddr) -> String {
    let answer = exchange(internal, "GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    answer.rsplit("\r\n\r\n").next().unwrap().trim().into()
}

pub(super) async fn is_ready(internal: SocketAddr, wanted: &str) {
    let since = Instant::now();
    while readiness(internal).await != wanted {
        assert!(since.elapsed() < PATIENCE, "it does not become {wanted}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// All that needs no disk to write to: a new connection joins, reads, sends and hears signals, and says who it is.
pub(super) async fn all_else_goes_on(address: SocketAddr, object: &str, head: u64) {
    let mut other = Client::connect(address, Encoding::Json).await;
    let joined = other.join(object, Start::All).await;
    let read = other.caught_up(joined.object).await;
    assert_eq!((joined.head, read.len() as u64), (head, head));
    assert_eq!(other.history(history(joined.object, None, None)).await.events, read);
    other.signal(joined.object, "hello", None).await;
    other.find(|message| matches!(message, ServerMessage::Signals(_))).await;
    let id = other.id();
    let data = Some(crate::client::Payload::of(&"here").unwrap());
    let set = dormouse_protocol::PresenceSet { id, object: joined.object, data };
    other.send(&dormouse_protocol::ClientMessage::PresenceSet(set)).await;
    assert!(matches!(other.reply(id).await, ServerMessage::Done(_)));
    other.ping().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_disk_is_outlived() {
    for troubles in [
        &[(Word::SyncError, EIO)][..],
        &[(Word::WriteError, EIO)],
        &[(Word::WriteError, ENOSPC)],
        &[(Word::WriteError, EROFS), (Word::SyncError, EROFS), (Word::ChangeError, EROFS)],
    ] {
        let disk = Disk::new();
        let mut program = disk.start(0, &[]);
        let mut client = Client::connect(program.address, Encoding::Msgpack).await;
        let object = client.join_now("room/a").await;
        client.publish(object, 1).await;

        for (word, error) in troubles {
            disk.set(*word, *error);
        }
        let id = client.send_publish(object, 2, Some("two")).await;
        assert_eq!(client.refusal(id).await.code, ErrorCode::Unavailable);
        let id = client.send_publish(object, 3, Some("three")).await;
        assert_eq!(client.refusal(id).await.code, ErrorCode::Unavailable);
        is_ready(program.internal, "log_failed").await;
        all_else_goes_on(program.address, "room/a", 1).await;
        let metrics = crate::server::metrics(program.internal).await;
        assert!(metrics.contains("dormouse_log_failed 1\n"), "{metrics}");
        assert!(metrics.contains("dormouse_request_errors_total{code=\"unavailable\"} 2\n"));
        disk.is_logged("a commit failed: ");
        disk.is_logged(&format!("code: {}", troubles[0].1));

        for (word, _) in troubles {
            disk.set(*word, 0);
        }
        assert_eq!(client.closed().await, Some(3002));
        let pid = program.child.id();
        program.restarted();
        assert_eq!((program.child.id(), program.child.try_wait().unwrap()), (pid, None));
        is_ready(program.internal, "ready").await;
        let mut client = Client::resume(program.address, Encoding::Msgpack, client.token()).await;
        let object = client.join_now("room/a").await;
        let published = client.publish_once(object, 2, "two").await;
        assert_eq!(published.offset, 2);
        if troubles[0].0 == Word::SyncError {
            assert!(!published.duplicate, "what the system still had in memory counts for nothing");
        }
        assert_eq!(client.publish_once(object, 3, "three").await.offset, 3);
        all_else_goes_on(program.address, "room/a", 3).await;

        program.kill();
        let disk = disk.after_power_loss();
        let program = disk.start(0, &[]);
        all_else_goes_on(program.address, "room/a", 3).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_holds_up_nothing_but_acknowledgements() {
    let disk = Disk::new();
    let mut program = disk.start(0, &[("DORMOUSE_SHUTDOWN_TIMEOUT", "1s")]);
    let mut client = Client::connect(program.address, Encoding::Msgpack).await;
    let object = client.join_now("room/a").await;
    client.publish(object, 1).await;

    disk.set(Word::SyncWaits, 1);
    let id = client.send_publish(object, 2, None).await;
    disk.syncs_hang();
    all_else_goes_on(program.address, "room/a", 1).await;
    disk.is_logged("a commit is under way for 3s");
    all_else_goes_on(program.address, "room/a", 1).await;
    client.ping().await;
    assert!(!client.rest().iter().any(|message| matches!(message, ServerMessage::Published(_))));
    disk.set(Word::SyncWaits, 0);
    assert_eq!(client.published(id).await.offset, 2);
    disk.is_logged("the slow commit has ended");
    let metrics = crate::server::metrics(program.internal).await;
    assert!(metrics.contains("dormouse_log_slow_commits_total 1\n"), "{metrics}");

    // Nor does it hold up a stop.
    disk.set(Word::SyncWaits, 1);
    client.send_publish(object, 3, None).await;
    disk.syncs_hang();
    program.signal("TERM");
    assert_eq!(program.ended().code(), Some(0));
}

/// Makes an fsync fail, and lets the disk work again.
async fn fail_once(disk: &Disk, client: &mut Client, object: u64) {
    disk.set(Word::SyncError, EIO);
    let id = client.send_publish(object, "lost", None).await;
    assert_eq!(client.refusal(id).await.code, ErrorCode::Unavailable);
    disk.set(Word::SyncError, 0);
}

/// An upgrade removes or replaces the file of the program that runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_whose_file_was_removed_restarts() {
    let mut disk = Disk::new();
    let file = disk.own_program().to_owned();
    let mut program = disk.start(0, &[]);
    let mut client = Client::connect(program.address, Encoding::Msgpack).await;
    let object = client.join_now("room/a").await;
    fs::remove_file(file).unwrap();
    fail_once(&disk, &mut client, object).await;
    assert_eq!(client.closed().await, Some(3002));
    program.restarted();
    is_ready(program.internal, "ready").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_cannot_restart_goes_on_until_it_can() {
    let mut disk = Disk::new();
    let file = disk.own_program().to_owned();
    let mut program = disk.start(0, &[]);
    let mut client = Client::connect(program.address, Encoding::Msgpack).await;
    let object = client.join_now("room/a").await;
    client.publish(object, 1).await;
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    fail_once(&disk, &mut client, object).await;
    disk.is_logged("its file cannot be executed");
    all_else_goes_on(program.address, "room/a", 1).await;
    client.ping().await;

    fs::set_permissions(&file, Permissions::from_mode(0o700)).unwrap();
    assert_eq!(client.closed().await, Some(3002));
    program.restarted();
    is_ready(program.internal, "ready").await;
}

#[test]
fn a_clock_before_1970_is_an_error_of_the_start() {
    let disk = Disk::new();
    disk.set(Word::Before1970, 1);
    let mut program = disk.command(0, &[]).stdout(Stdio::null()).spawn().unwrap();
    assert_eq!(program.wait().unwrap().code(), Some(1));
    disk.is_logged("the system's clock stands before 1970");
    assert!(!disk.path("disk/some").exists(), "nothing was written");
}
