//! Promise 3, durable first: what can't be written is neither acknowledged nor delivered, and the program says so
//! and starts itself anew.

use std::io::Read as _;
use std::process::Stdio;

use dormouse_protocol::{ClientMessage, Encoding, ErrorCode, Event, ServerMessage, Start};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::client::{Client, Closed, ENCODINGS, noise, publish};
use crate::process::{Program, limited};
use crate::support::dormouse;

/// No file may be written beyond 8 MiB; the shell makes it an error instead of a signal.
const LIMITS: &str = "trap '' XFSZ; ulimit -f 16384";
const EVENT_CHARS: usize = 60_000;
const WINDOW: usize = 20;

/// What a publisher was told: acknowledged offsets with what stands there, and how many were refused.
#[derive(Default)]
struct Told {
    stored: Vec<(u64, String)>,
    refused: usize,
    code: Option<u16>,
}

/// Publishes until something is refused, and stays until the connection is closed.
async fn publish_on(mut client: Client, object: u64) -> Told {
    let mut told = Told::default();
    let mut waiting: Vec<(u32, String)> = Vec::new();
    let text = noise(EVENT_CHARS);
    let closed = loop {
        while waiting.len() < WINDOW && told.refused == 0 {
            let data: String = format!("{}{}", rand::random::<u64>(), &text);
            let id = client.id();
            // Once the server has closed it takes nothing more; why is read below.
            if client.try_send(&publish(id, object, &data, None)).await.is_err() {
                break;
            }
            waiting.push((id, data));
        }
        match client.arrive().await {
            Ok(ServerMessage::Published(published)) => {
                let index = waiting.iter().position(|(id, _)| *id == published.id).unwrap();
                told.stored.push((published.offset, waiting.remove(index).1));
            }
            Ok(ServerMessage::Error(error)) => {
                assert_eq!(error.code, ErrorCode::Unavailable, "{error:?}");
                waiting.retain(|(id, _)| Some(*id) != error.id);
                told.refused += 1;
            }
            Ok(_) => {}
            Err(Closed(code)) => break code,
        }
    };
    told.code = closed;
    told
}

async fn follow(mut client: Client) -> (Vec<Event>, Option<u16>) {
    let mut events = Vec::new();
    loop {
        match client.arrive().await {
            Ok(ServerMessage::Events(more)) => events.extend(more.events),
            Ok(_) => {}
            Err(Closed(code)) => return (events, code),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_written_is_not_promised() {
    let data = TempDir::new().unwrap();
    // The first start makes a larger file, which shrinks afterwards.
    Program::start(data.path(), 0, &[("RUST_LOG", "off")]).kill();
    let mut command = dormouse(&["--listen", "127.0.0.1:0"]);
    command.arg("--data").arg(data.path());
    let mut command = limited(LIMITS, &command);
    command.stderr(Stdio::piped());
    let mut program = Program::run(command);

    let (mut publishers, mut members) = (JoinSet::new(), JoinSet::new());
    for encoding in ENCODINGS {
        let mut member = Client::connect(program.address, encoding).await;
        member.join_now("room/full").await;
        members.spawn(follow(member));
    }
    let mut idle = Client::connect(program.address, Encoding::Json).await;
    let mut late = Client::connect(program.address, Encoding::Json).await;
    let (mut first, object) = {
        let mut client = Client::connect(program.address, Encoding::Msgpack).await;
        let object = client.join_now("room/full").await;
        (client, object)
    };
    first.publish(object, "first").await;
    publishers.spawn(publish_on(first, object));
    for encoding in ENCODINGS {
        let mut client = Client::connect(program.address, encoding).await;
        client.join_now("room/full").await;
        publishers.spawn(publish_on(client, object));
    }
    let told = publishers.join_all().await;
    let followed = members.join_all().await;
    assert_eq!(idle.closed().await, Some(3002));
    // Whoever asks now finds nobody.
    let _ = late.try_send(&ClientMessage::Ping(dormouse_protocol::Ping { id: 1 })).await;
    assert_eq!(late.closed().await, Some(3002));
    // Its disk works, as far as it can tell: small files can be written.
    program.restarted();
    program.kill();
    let mut text = String::new();
    program.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(text.contains("the log failed and takes no more events"), "{text}");
    assert!(text.contains("FileTooLarge"), "{text}");
    assert!(!text.contains("panicked"), "{text}");

    let program = Program::start(data.path(), 0, &[("RUST_LOG", "off")]);
    let mut reader = Client::connect(program.address, Encoding::Msgpack).await;
    let joined = reader.join("room/full", Start::All).await;
    let log = reader.caught_up(joined.object).await;
    assert_eq!(log.len() as u64, joined.head);
    assert!(told.iter().any(|told| told.refused > 0), "somebody was refused");
    for told in told {
        assert_eq!(told.code, Some(3002));
        assert!(!told.stored.is_empty());
        for (offset, data) in told.stored {
            assert_eq!(log[offset as usize - 1].data.read::<&str>().unwrap(), data);
        }
    }
    for (events, code) in followed {
        assert_eq!(code, Some(3002));
        assert!(log.starts_with(&events), "{} were delivered", events.len());
    }
    // The log goes on from there.
    let published = reader.publish(joined.object, "again").await;
    assert_eq!(published.offset, joined.head + 1);
}
