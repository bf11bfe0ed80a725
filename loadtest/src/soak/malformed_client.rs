//! Malformed clients: each breaks one rule, and is to be answered as the protocol says, or to be cut off soon.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use dormouse_protocol::CloseCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::faults::Fault;
use super::stage::{MESSAGE_BYTES, Stage};
use crate::drive::frame::{self, Frame, Opcode};

/// How long the server may take to answer, or to lose patience.
const PATIENCE: Duration = Duration::from_secs(20);
/// The second byte of a frame that is masked and whose length follows in 2 bytes.
const MASKED_LENGTH_16: u8 = 0xfe;

/// What a malformed client does.
#[derive(Debug, Clone, Copy)]
enum Rudeness {
    /// Bytes that are no HTTP.
    Garbage,
    /// A request that never ends.
    HalfRequest,
    /// A request that never begins.
    Silence,
    /// A request for a WebSocket that is none.
    NoUpgrade,
    /// A session that was never given.
    BadToken,
    /// The head of a message that is too large.
    TooLarge,
    /// A frame that is not masked.
    Unmasked,
    /// Text where bytes are spoken.
    WrongKind,
    /// Text that is none.
    InvalidText,
    /// A message that is none.
    NoMessage,
    /// The beginning of a frame, and then the end.
    HalfFrame,
}

const ALL: [Rudeness; 11] = [
    Rudeness::Garbage,
    Rudeness::HalfRequest,
    Rudeness::Silence,
    Rudeness::NoUpgrade,
    Rudeness::BadToken,
    Rudeness::TooLarge,
    Rudeness::Unmasked,
    Rudeness::WrongKind,
    Rudeness::InvalidText,
    Rudeness::NoMessage,
    Rudeness::HalfFrame,
];

/// Plays one after another until the run is over, about so many a second.
pub(super) async fn run(stage: Arc<Stage>, per_second: f64) {
    let mut nth = 0;
    while stage.is_running() {
        let rudeness = ALL[nth % ALL.len()];
        nth += 1;
        let played = timeout(PATIENCE, play(&stage, rudeness)).await;
        let played = played.context("the server is too patient").flatten();
        if let Err(why) = played {
            stage.fault(Fault::MalformedClient, || format!("{rudeness:?}: {why:#}"));
        }
        stage.oracle().counts.malformed_clients += 1;
        stage.pause(0.0..2.0 / per_second).await;
    }
}

async fn play(stage: &Stage, rudeness: Rudeness) -> Result<()> {
    let mut socket = TcpStream::connect(stage.address).await?;
    let closes_with = match rudeness {
        Rudeness::Garbage => {
            socket.write_all(&[b'\x00'; 300]).await?;
            return ended(socket, "400").await;
        }
        Rudeness::HalfRequest => {
            socket.write_all(b"GET /v1/connect HTTP/1.1\r\nHost: localhost\r\n").await?;
            return ended(socket, "").await;
        }
        Rudeness::Silence => return ended(socket, "").await,
        Rudeness::NoUpgrade => {
            socket.write_all(b"GET /v1/connect HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
            return ended(socket, "426").await;
        }
        Rudeness::BadToken => {
            upgrade(&mut socket, "/v1/connect?session=nobody", "json").await?;
            CloseCode::BadToken
        }
        Rudeness::TooLarge => {
            upgrade(&mut socket, "/v1/connect", "json").await?;
            let length = (MESSAGE_BYTES as u16 + 1).to_be_bytes();
            socket.write_all(&[0x81, MASKED_LENGTH_16, length[0], length[1], 0, 0, 0, 0]).await?;
            CloseCode::TooLarge
        }
        Rudeness::Unmasked => {
            upgrade(&mut socket, "/v1/connect", "json").await?;
            socket.write_all(&[0x81, 2, b'{', b'}']).await?;
            CloseCode::ProtocolError
        }
        Rudeness::WrongKind => {
            upgrade(&mut socket, "/v1/connect", "msgpack").await?;
            send(&mut socket, Opcode::Text, b"{}").await?;
            CloseCode::UnsupportedData
        }
        Rudeness::InvalidText => {
            upgrade(&mut socket, "/v1/connect", "json").await?;
            send(&mut socket, Opcode::Text, b"\xff\xff").await?;
            CloseCode::InvalidUtf8
        }
        Rudeness::NoMessage => {
            upgrade(&mut socket, "/v1/connect", "json").await?;
            send(&mut socket, Opcode::Text, b"{\"shout\":{\"id\":1}}").await?;
            let told =
                receive(&mut socket, |frame| frame.payload.starts_with(b"{\"error\"")).await?;
            ensure!(told.windows(11).any(|part| part == b"bad_request"), "{told:?}");
            // What is refused changes nothing: the connection is as good as before.
            send(&mut socket, Opcode::Close, &1000_u16.to_be_bytes()).await?;
            CloseCode::Normal
        }
        Rudeness::HalfFrame => {
            upgrade(&mut socket, "/v1/connect", "json").await?;
            return Ok(socket.write_all(&[0x81, MASKED_LENGTH_16, 1]).await?);
        }
    };
    let told = receive(&mut socket, |frame| frame.opcode == Opcode::Close).await?;
    let code = told.first_chunk().map(|code| u16::from_be_bytes(*code));
    ensure!(code == Some(closes_with.number()), "closed with {code:?}, and not {closes_with:?}");
    Ok(())
}

/// The server ends the connection, after an answer with this status.
async fn ended(mut socket: TcpStream, status: &str) -> Result<()> {
    let mut answer = Vec::new();
    // Where it has not read all, the end is a reset.
    let _ = socket.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    ensure!(status.is_empty() || answer.contains(status), "answered {answer:?}, and not {status}");
    Ok(())
}

async fn upgrade(socket: &mut TcpStream, path: &str, encoding: &str) -> Result<()> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ZG9ybW91c2UtbG9hZHRlcw==\r\n\
         Sec-WebSocket-Protocol: dormouse.v1.{encoding}\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(socket.read_u8().await?);
    }
    let status = String::from_utf8_lossy(&answer);
    let status = status.lines().next().unwrap_or_default();
    ensure!(status.starts_with("HTTP/1.1 101"), "an upgrade was answered {status:?}");
    Ok(())
}

async fn send(socket: &mut TcpStream, opcode: Opcode, payload: &[u8]) -> Result<()> {
    let mut bytes = Vec::new();
    frame::write(&mut bytes, opcode, |out| out.extend_from_slice(payload));
    Ok(socket.write_all(&bytes).await?)
}

/// The payload of the first frame that is meant.
async fn receive(socket: &mut TcpStream, is_meant: impl Fn(&Frame<'_>) -> bool) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let mut rest = &bytes[..];
        while let Some((frame, end)) = frame::read(rest)? {
            if is_meant(&frame) {
                return Ok(frame.payload.to_vec());
            }
            rest = &rest[end..];
        }
        bytes = rest.to_vec();
        if socket.read_buf(&mut bytes).await? == 0 {
            bail!("the connection ended without a word");
        }
    }
}
