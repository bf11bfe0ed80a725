//! Plays a case against the server's echo.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::case::{Back, CLOSE, Case, End, Step, close_frame};
use crate::server::TestServer;
use crate::support::{PATIENCE, handshake};

/// The largest message of the suite, section 9.
const MESSAGE_BYTES: usize = 16 << 20;
/// Cases up to this size are played octet by octet, too.
const OCTETS: usize = 2 << 10;

/// A server with an echo.
pub(super) async fn echo_server(compression: bool) -> TestServer {
    TestServer::start(|config| {
        config.test_controls = true;
        config.compression = compression;
        config.limits.message_bytes = MESSAGE_BYTES;
        config.limits.outbound_bytes = 2 * MESSAGE_BYTES;
    })
    .await
}

/// A connection to the echo.
pub(super) struct Echo {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
    /// What the server has agreed on besides.
    pub(super) extensions: Option<String>,
}

/// A frame of the server.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) rsv: u8,
    pub(super) back: Back,
}

impl Echo {
    pub(super) async fn connect(address: SocketAddr, headers: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let headers = format!("Sec-WebSocket-Protocol: dormouse.test.echo\r\n{headers}");
        stream.write_all(handshake("", &headers).as_bytes()).await.unwrap();
        let (read, write) = stream.into_split();
        let mut read = BufReader::with_capacity(64 << 10, read);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, read.read_u8()).await.unwrap().unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let extension =
            |line: &str| Some(line.strip_prefix("sec-websocket-extensions: ")?.to_owned());
        Self { read, write, extensions: head.lines().find_map(extension) }
    }

    /// False if the server has closed the socket meanwhile.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> bool {
        timeout(PATIENCE, self.write.write_all(bytes)).await.expect("the server reads").is_ok()
    }

    /// The next frame; none at the end of the connection.
    pub(super) async fn receive(&mut self) -> Option<Received> {
        match timeout(PATIENCE, self.read_frame()).await.expect("a frame or the end comes in time")
        {
            Ok(frame) => Some(frame),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => panic!("{error}"),
        }
    }

    async fn read_frame(&mut self) -> io::Result<Received> {
        let first = self.read.read_u8().await?;
        let len = match self.read.read_u8().await? {
            126 => self.read.read_u16().await?.into(),
            127 => self.read.read_u64().await?,
            len => len.into(),
        };
        assert!(first & 0x80 != 0 && len <= 2 * MESSAGE_BYTES as u64, "{first:x}, {len} bytes");
        let mut payload = vec![0; len as usize];
        self.read.read_exact(&mut payload).await?;
        Ok(Received { rsv: first >> 4 & 7, back: Back { opcode: first & 0xF, payload } })
    }
}

/// Plays cases one after another, each on a connection of its own; small ones once more, octet by octet.
pub(super) async fn play_all(cases: Vec<Case>) {
    let server = echo_server(false).await;
    let mut failed = Vec::new();
    for case in cases {
        if let Err(why) = play(server.address, &case).await {
            failed.push(format!("{}: {why}", case.id));
        }
        if case.sent_bytes() <= OCTETS
            && let Err(why) = play(server.address, &case.octet_wise()).await
        {
            failed.push(format!("{}, octet by octet: {why}", case.id));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

async fn play(address: SocketAddr, case: &Case) -> Result<(), String> {
    let mut echo = Echo::connect(address, "").await;
    let mut back = case.back.iter();
    for step in &case.steps {
        match step {
            Step::Send(bytes) => {
                if !echo.send(bytes).await {
                    break;
                }
            }
            Step::Wait => comes_back(&mut echo, back.next()).await?,
        }
    }
    for wanted in back {
        comes_back(&mut echo, Some(wanted)).await?;
    }
    let codes = match case.end {
        End::Client => {
            echo.send(&close_frame(1000, b"")).await;
            &[1000]
        }
        End::Answered(codes) | End::Failed(codes) => codes,
    };
    match echo.receive().await {
        None => return Err("the socket is closed without a close frame".into()),
        Some(Received { rsv: 0, back: Back { opcode: CLOSE, payload } }) => {
            let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            if !code.is_some_and(|code| codes.contains(&code)) {
                return Err(format!("closed with {code:?} instead of {codes:?}"));
            }
        }
        Some(other) => return Err(format!("{other:?} instead of a close with {codes:?}")),
    }
    if matches!(case.end, End::Failed(_)) {
        echo.send(&close_frame(1000, b"")).await;
    }
    match echo.receive().await {
        None => Ok(()),
        Some(other) => Err(format!("{other:?} after the close")),
    }
}

async fn comes_back(echo: &mut Echo, wanted: Option<&Back>) -> Result<(), String> {
    let wanted = wanted.ok_or("the case waits for nothing")?;
    match echo.receive().await {
        Some(Received { rsv: 0, back }) if back == *wanted => Ok(()),
        other => Err(format!("{other:?} instead of {wanted:?}")),
    }
}
