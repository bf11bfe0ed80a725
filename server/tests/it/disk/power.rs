//! Promise 10 where the power goes: what was never synced is lost, and nothing else.

use std::cell::{Cell, RefCell};
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use dormouse_protocol::{Encoding, Event, Start};
use tokio::time::timeout;

use super::{Disk, Word};
use crate::client::{Client, number};
use crate::process::Program;
use crate::promise_10_crash::{VARIABLES, outlives};

const LOSSES: u64 = 12;
const ENDS: u64 = 10;
/// What retention removes in many steps.
const SURPLUS: u64 = 20_000;
const KEEPS_TEN: [(&str, &str); 1] = [("DORMOUSE_CLASSES_ROOM_RETENTION_MAX_EVENTS", "10")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_loss_after_power_loss_nothing_promised_is_lost() {
    let disk = Disk::new();
    let program = disk.start(0, &VARIABLES);
    let disk = RefCell::new(Some(disk));
    outlives(LOSSES, program, async |mut program| {
        tokio::time::sleep(Duration::from_micros(rand::random_range(0..20_000))).await;
        program.kill();
        let after = disk.take().unwrap().after_power_loss();
        let program = after.start(program.address.port(), &VARIABLES);
        disk.replace(Some(after));
        program
    })
    .await;
}

/// Stores 1 in `room/a`; 2 is written, and not synced when the program is killed.
async fn is_killed_before_a_sync(disk: &Disk) {
    let mut program = disk.start(0, &[]);
    let mut client = Client::connect(program.address, Encoding::Msgpack).await;
    let object = client.join_now("room/a").await;
    client.publish(object, 1).await;
    disk.set(Word::SyncWaits, 1);
    client.send_publish(object, 2, None).await;
    disk.syncs_hang();
    program.kill();
    disk.set(Word::SyncWaits, 0);
}

/// All of `room/a`.
async fn read(program: &Program) -> Vec<Event> {
    let mut reader = Client::connect(program.address, Encoding::Msgpack).await;
    let joined = reader.join("room/a", Start::All).await;
    reader.caught_up(joined.object).await
}

/// A kill between a write and its fsync leaves an event in the system's memory. Whoever was shown it after the restart must not
/// lose it again.
#[tokio::test]
async fn what_a_restarted_server_shows_survives_a_power_loss() {
    let disk = Disk::new();
    is_killed_before_a_sync(&disk).await;

    let mut program = disk.start(0, &[]);
    let shown = read(&program).await;
    assert_eq!(shown.iter().map(number).collect::<Vec<_>>(), [1, 2]);
    program.kill();

    let disk = disk.after_power_loss();
    let program = disk.start(0, &[]);
    assert_eq!(read(&program).await, shown);
}

/// The other way round, so that the test above means something: what was not synced is gone.
#[tokio::test]
async fn what_was_never_synced_is_lost_with_the_power() {
    let disk = Disk::new();
    is_killed_before_a_sync(&disk).await;

    let disk = disk.after_power_loss();
    let program = disk.start(0, &[]);
    let left = read(&program).await;
    assert_eq!(left.iter().map(number).collect::<Vec<_>>(), [1]);
}

/// The power goes at each sync of the very first start; then there is nothing or a log.
#[tokio::test]
async fn a_first_start_may_lose_the_power_at_any_sync() {
    let mut syncs = 0;
    loop {
        let disk = Disk::new();
        disk.set(Word::DiesAt, syncs + 1);
        let mut program = disk.command(0, &[]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
        program.kill().unwrap();
        program.wait().unwrap();
        if !line.is_empty() {
            break;
        }
        syncs += 1;

        let disk = disk.after_power_loss();
        let program = disk.start(0, &[]);
        let mut client = Client::connect(program.address, Encoding::Json).await;
        let object = client.join_now("room/a").await;
        assert_eq!(client.publish(object, 1).await.offset, 1);
    }
    assert!(syncs > 20, "{syncs}");
}

/// What retention removes goes in steps, beside publishes and not synced by itself. Wherever that stops, what is left is the end of the log,
/// without a hole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_while_retention_removes_leaves_the_end_of_the_log_whole() {
    let mut disk = Disk::new();
    let (mut head, mut left, mut parts) = (0, 0, 0);
    for round in 0..ENDS {
        if left < SURPLUS / 2 {
            let mut program = disk.start(0, &[]);
            let mut client = Client::connect(program.address, Encoding::Msgpack).await;
            let object = client.join_now("room/a").await;
            client.publish_all(object, head + 1..=head + SURPLUS).await;
            (head, left) = (head + SURPLUS, left + SURPLUS);
            program.kill();
        }

        // It begins to remove before it listens.
        let mut program = disk.start(0, &KEEPS_TEN);
        let moment = Duration::from_micros(rand::random_range(0..20_000));
        let acknowledged = Cell::new(head);
        let _ = timeout(moment, async {
            let mut client = Client::connect(program.address, Encoding::Msgpack).await;
            let object = client.join_now("room/a").await;
            loop {
                client.publish(object, acknowledged.get() + 1).await;
                acknowledged.set(acknowledged.get() + 1);
            }
        })
        .await;
        program.kill();
        if round % 2 == 0 {
            disk = disk.after_power_loss();
        }

        let mut program = disk.start(0, &[]);
        let events = read(&program).await;
        program.kill();
        let first = events[0].offset;
        assert!(events.iter().map(|event| event.offset).eq(first..first + events.len() as u64));
        assert!(events.iter().all(|event| number(event) == event.offset));
        // One may be there whose answer did not arrive.
        head = first + events.len() as u64 - 1;
        assert!((acknowledged.get()..=acknowledged.get() + 1).contains(&head), "up to {head}");
        assert!(events.len() >= 10, "{} are left", events.len());
        parts += u64::from((11..left).contains(&(events.len() as u64)));
        left = events.len() as u64;
    }
    assert!(parts > 0, "it never ended in the middle");
}
