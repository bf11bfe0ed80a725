//! Promise 10, the log's part: after a `kill -9` at any instant what was acknowledged is there.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::*;

const DIR: &str = "DORMOUSE_TEST_KILLED";

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = [0; 3];
    for round in 1..=4 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "log::tests::survival::appends_until_killed", "--ignored"])
            .arg("--nocapture")
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // The child is killed in the middle of something, as its appends overlap.
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some((object, offset)) =
                line.strip_prefix("stored ").and_then(|l| l.split_once(' '))
            else {
                continue;
            };
            acknowledged[object.parse::<usize>().unwrap()] = offset.parse().unwrap();
            if acknowledged.iter().sum::<u64>() > round * 300 {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let log = open(dir.path());
        for (object, acknowledged) in acknowledged.iter().enumerate() {
            let Some(stored) = log.find(&name(&format!("room/{object}"))).unwrap() else {
                assert_eq!(*acknowledged, 0);
                continue;
            };
            assert!(stored.tail.offset >= *acknowledged);
            let page = log.page(&stored.identity, 0, ALL).unwrap();
            let offsets = page.events.iter().map(|entry| entry.decode().unwrap().offset);
            assert!(offsets.eq(1..=stored.tail.offset));
        }
        log.close();
    }
}

#[test]
#[ignore = "the child process of another test"]
fn appends_until_killed() {
    let log = open(Path::new(&env::var(DIR).unwrap()));
    let mut objects: Vec<_> = (0..3)
        .map(|object| {
            let object = format!("room/{object}");
            match log.find(&name(&object)).unwrap() {
                Some(_) => Object::find(&log, &object),
                None => Object::new(&log, &object),
            }
        })
        .collect();
    loop {
        for (index, object) in objects.iter_mut().enumerate() {
            let offset = object.tail.offset + 1;
            let append = object.prepare(&["some text"], 1, move |result| {
                result.unwrap();
                writeln!(std::io::stdout(), "stored {index} {offset}").unwrap();
            });
            wait(log.append(append));
        }
    }
}
