//! Signals: who sent them sent them, to these members, and they arrive once or not at all.

use std::collections::{HashMap, HashSet};

use dormouse_protocol::Payload;
use serde::{Deserialize, Serialize};

use super::{Breach, ClientId, Fault, Room, Violations};

/// What signals carry.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(in crate::crash) struct Sign {
    /// Which of its sender's.
    pub(in crate::crash) number: u64,
    /// How often the server had been killed when it was sent, as its sender knew it.
    pub(in crate::crash) kills: u64,
}

/// All signals.
#[derive(Default)]
pub(super) struct Signals {
    sent: HashMap<(ClientId, u64), Room>,
    received: HashSet<(ClientId, ClientId, u64)>,
}

impl Signals {
    pub(super) fn sent(&mut self, client: ClientId, room: Room, number: u64) {
        self.sent.insert((client, number), room);
    }

    pub(super) fn received(
        &mut self,
        by: ClientId,
        room: Room,
        sender: Option<ClientId>,
        data: &Payload,
        out: &mut Violations,
    ) {
        let mut note = |what| out.add(Fault::new(Breach::Signal, what).room(room).client(by));
        let (Some(sender), Ok(sign)) = (sender, data.read::<Sign>()) else {
            return note(format!("nobody has sent the signal {data:?}"));
        };
        let Sign { number, kills } = sign;
        if self.sent.get(&(sender, number)) != Some(&room) {
            note(format!("signal {number} of {sender} was not sent here"));
        }
        if !self.received.insert((by, sender, number)) {
            note(format!("signal {number} of {sender} comes again"));
        }
        // Its sender may not have noticed one kill yet, and who receives it not the same one.
        if out.kill >= kills + 2 {
            let what = format!("signal {number} of {sender} was sent after kill {kills}");
            out.add(Fault::new(Breach::Signal, what).room(room).client(by));
        }
    }
}
