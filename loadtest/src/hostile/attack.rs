//! What hostile peers do: for each attack what a peer says first, what it repeats, and whether it listens.

use std::fmt::{self, Display};

use clap::ValueEnum;
use flate2::{Compress, Compression, FlushCompress};
use serde::Serialize;

/// An attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Attack {
    /// None: what the figures vary by themselves.
    Nothing,
    /// Handshakes that come byte by byte and never end.
    Handshakes,
    /// Messages that come byte by byte and never end.
    Frames,
    /// Messages in empty fragments, without end.
    Fragments,
    /// Pings.
    Pings,
    /// Pongs that nobody asked for.
    Pongs,
    /// Joins and leaves, in the rooms of the others.
    Joins,
    /// Publishes.
    Publishes,
    /// Signals.
    Signals,
    /// Members of the rooms of the others that read nothing.
    Deaf,
    /// Members that neither read nor say anything.
    HalfOpen,
    /// Connections beyond the limit.
    Connects,
    /// Frames that claim exabytes, each on a connection of its own.
    Claims,
    /// Messages that are a thousand times as long once they are inflated.
    Bombs,
    /// HTTP requests for what only operators may read, and which the public address refuses.
    Questions,
}

/// What a peer's room is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Room {
    /// It joins none.
    None,
    /// One of its own.
    Own,
    /// One of those of the others.
    Theirs,
}

/// What a peer says again and again.
#[derive(Debug, Clone)]
pub(super) enum Refrain {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These requests, in JSON, given the number of its room and its name.
    Requests(fn(object: u64, room: &str) -> String),
}

/// How the peers of an attack behave.
#[derive(Debug, Clone)]
pub(super) struct Script {
    /// What each says as soon as it is connected.
    pub(super) greeting: Vec<u8>,
    pub(super) room: Room,
    pub(super) refrain: Refrain,
    /// Whether each takes what the server says.
    pub(super) reads: bool,
    /// How often anybody says its refrain, or connects, in a second.
    pub(super) rate: f64,
    /// Peers beyond those that were asked for.
    pub(super) more_peers: u32,
}

const HANDSHAKE: &[u8] =
    b"GET /v1/connect HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
/// The key of a mask that changes nothing.
const KEY: [u8; 4] = [0; 4];
/// More than any server of these tests allows.
const CROWD: u32 = 264;
/// What a bomb is once it is inflated: more than a message may be.
const BOMB_BYTES: usize = 8 << 20;

impl Attack {
    pub(super) fn script(self) -> Script {
        let quiet = Script {
            greeting: HANDSHAKE.to_vec(),
            room: Room::None,
            refrain: Refrain::Bytes(Vec::new()),
            reads: true,
            rate: 1_000.0,
            more_peers: 0,
        };
        let bytes = |parts: &[&[u8]]| parts.concat();
        let frames = |first: u8| Script {
            refrain: Refrain::Bytes(bytes(&[&[first, 0x80], &KEY])),
            rate: 20_000.0,
            ..quiet.clone()
        };
        let requests = |requests| Script {
            room: Room::Own,
            refrain: Refrain::Requests(requests),
            rate: 20_000.0,
            ..quiet.clone()
        };
        match self {
            Self::Nothing => Script { greeting: Vec::new(), rate: 0.0, ..quiet },
            Self::Handshakes => Script {
                greeting: b"GET /v1/connect HTTP/1.1\r\nHost: localhost\r\nX-Slow: ".to_vec(),
                refrain: Refrain::Bytes(b"x".to_vec()),
                ..quiet
            },
            Self::Frames => Script {
                // 60,000 bytes of text are to follow.
                greeting: bytes(&[HANDSHAKE, &[0x81, 0xFE, 0xEA, 0x60], &KEY]),
                refrain: Refrain::Bytes(b" ".to_vec()),
                ..quiet
            },
            Self::Fragments => {
                Script { greeting: bytes(&[HANDSHAKE, &[0x01, 0x80], &KEY]), ..frames(0x00) }
            }
            Self::Pings => frames(0x89),
            Self::Pongs => frames(0x8A),
            // Of rooms in which something is stored: they keep their numbers when everybody has left.
            Self::Joins => Script {
                room: Room::Theirs,
                ..requests(|object, room| {
                    let leave = format!("{{\"leave\":{{\"id\":1,\"object\":{object}}}}}");
                    format!("{leave}\n{{\"join\":{{\"id\":1,\"object\":\"{room}\"}}}}")
                })
            },
            Self::Publishes => requests(|object, _| {
                format!("{{\"publish\":{{\"id\":1,\"object\":{object},\"data\":\"x\"}}}}")
            }),
            Self::Signals => requests(|object, _| {
                format!("{{\"signal\":{{\"object\":{object},\"data\":\"x\"}}}}")
            }),
            Self::Deaf => Script { room: Room::Theirs, reads: false, ..quiet },
            Self::HalfOpen => Script { room: Room::Own, reads: false, ..quiet },
            Self::Connects => Script { more_peers: CROWD, ..quiet },
            Self::Claims => Script {
                greeting: bytes(&[HANDSHAKE, &[0x81, 0xFF, 0x0F], &[0xFF; 7], &KEY]),
                ..quiet
            },
            Self::Bombs => Script { refrain: Refrain::Bytes(bomb()), ..quiet },
            Self::Questions => Script {
                greeting: b"GET /v1/objects?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n"
                    .to_vec(),
                ..quiet
            },
        }
    }
}

/// A text of zeros, deflated (RFC 7692, section 7.2.1).
fn bomb() -> Vec<u8> {
    let mut deflated = Vec::with_capacity(BOMB_BYTES / 100);
    let mut deflate = Compress::new(Compression::best(), false);
    // Into memory that suffices, which can't fail.
    let _ = deflate.compress_vec(&vec![0; BOMB_BYTES], &mut deflated, FlushCompress::Sync);
    deflated.truncate(deflated.len() - 4);
    let length = u16::try_from(deflated.len()).unwrap_or(u16::MAX);
    [&[0xC1, 0xFE][..], &length.to_be_bytes(), &KEY, &deflated].concat()
}

impl Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}
