//! Reads every log from its start to its end: as a member that joins for the first time, and then as history.

use anyhow::Result;
use dormouse_protocol::{Encoding, Start};

use super::check::{Breach, ClientId, Fault, Room};
use super::stage::Stage;
use crate::client::{Client, Notice, Object};

/// Events that are asked for at once.
const PAGE: u32 = 500;

/// What is known of one log.
#[derive(Clone, Copy, Default)]
struct Log {
    head: u64,
    is_read: bool,
}

/// Reads all, tells the judge as this client, and gives the ends of the logs.
pub(super) async fn read(stage: &Stage, id: ClientId) -> Result<Vec<u64>> {
    let mut client = Client::new(&stage.url, Encoding::Msgpack);
    let rooms: Vec<Object> =
        (0..stage.rooms).map(|room| client.join(Stage::name(Room(room)), Start::All)).collect();
    let mut logs = vec![Log::default(); rooms.len()];
    while !logs.iter().all(|log| log.is_read) {
        let notice = client.next().await?;
        let object = notice.object();
        let Some(room) = rooms.iter().position(|room| *room == object) else { continue };
        stage.tell(id, Room(room), &notice);
        let log = &mut logs[room];
        match notice {
            Notice::Joined { joined, .. } => log.head = joined.head,
            Notice::CaughtUp { .. } if !log.is_read => client.history(object, 0, PAGE),
            Notice::History { after, page, .. } => {
                let last = page.events.last().map_or(after, |event| event.offset);
                if page.more {
                    client.history(object, last, PAGE);
                    continue;
                }
                log.is_read = true;
                if last != log.head {
                    let what = format!("history ends at {last}, and the log at {}", log.head);
                    let fault = Fault::new(Breach::Lost, what).room(Room(room)).offset(last + 1);
                    stage.judge().note(fault.client(id));
                }
            }
            _ => {}
        }
    }
    Ok(logs.iter().map(|log| log.head).collect())
}
