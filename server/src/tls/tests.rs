//! Sessions with clients whose bytes are damaged on the way.

use std::io;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::session::MIN_BUFFER;
use super::{MIN_WRITE_BUFFER, Session, Settings, Tls};
use crate::limits::Budget;

struct Peers {
    tls: Tls,
    budget: Budget,
    configs: [Arc<ClientConfig>; 2],
    _dir: tempfile::TempDir,
}

impl Peers {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (chain, key) = (dir.path().join("chain"), dir.path().join("key"));
        std::fs::write(&chain, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let files = format!("{}, {}", chain.display(), key.display()).parse().unwrap();
        let tls = Tls::start(Settings { certificates: vec![files], client_ca: None }).unwrap();
        let configs = [&TLS12, &TLS13].map(|version| {
            let mut roots = RootCertStore::empty();
            roots.add(made.cert.der().clone()).unwrap();
            let config = ClientConfig::builder_with_protocol_versions(&[version]);
            Arc::new(config.with_root_certificates(roots).with_no_client_auth())
        });
        Self { tls, budget: Budget::unlimited(), configs, _dir: dir }
    }
}

/// A session that reads what is put into `input` and writes to `output`.
struct Server {
    session: Box<Session>,
    input: Vec<u8>,
    output: Vec<u8>,
    plain: Vec<u8>,
}

impl Server {
    /// Reads all of the input, in pieces of at most `most` bytes.
    fn read(&mut self, most: usize) -> io::Result<()> {
        let (mut plain, mut records) = (vec![0; MIN_BUFFER], vec![0; MIN_BUFFER]);
        while !self.input.is_empty() {
            let mut socket = &self.input[..];
            let arrived = self.session.read(&mut socket, &mut plain, &mut records, most)?;
            self.input = socket.to_vec();
            self.plain.extend_from_slice(&plain[..arrived.bytes]);
            if arrived.ended {
                return Ok(());
            }
        }
        Ok(())
    }

    /// All that a connection may still ask of its session, whatever has happened.
    fn use_it(&mut self) {
        let mut buffer = vec![0; MIN_WRITE_BUFFER];
        let _ = self.session.flush(&mut self.output);
        let _ = self.session.write(&mut self.output, b"pong", &mut buffer);
        let _ = self.session.close(&mut self.output);
        let _ = self.session.close(&mut self.output);
        let _ = self.read(7);
        let _ = self.session.flush(&mut self.output);
    }
}

/// Changes bytes as a bad network, or a bad client, may.
fn damage(bytes: &mut Vec<u8>, random: &mut SmallRng) {
    let at = random.random_range(0..bytes.len());
    match random.random_range(0..6) {
        0 => bytes[at] ^= 1 << random.random_range(0..8),
        1 => bytes[at] = random.random(),
        2 => bytes.truncate(at),
        3 => bytes.insert(at, random.random()),
        4 => {
            let again = bytes[at..].to_vec();
            bytes.extend(again);
        }
        _ => _ = bytes.remove(at),
    }
}

/// For any bytes of a client, the session fails with an error or continues. It never panics: a panic would end all connections of the
/// server.
#[test]
fn a_session_survives_whatever_arrives() {
    let peers = Peers::new();
    let (mut failed, mut opened) = (0, 0);
    for seed in 0..1_500_u64 {
        let mut random = SmallRng::seed_from_u64(seed);
        let session = peers.tls.session(&peers.budget).unwrap();
        let (input, output, plain) = Default::default();
        let mut server = Server { session, input, output, plain };
        let config = peers.configs[random.random_range(0..2)].clone();
        let mut client = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
        let damaged = random.random_range(0..5);
        let most = if random.random() { MIN_BUFFER } else { random.random_range(1..64) };
        let mut result = Ok(());
        for flight in 0..5 {
            if !client.is_handshaking() {
                io::Write::write_all(&mut client.writer(), b"ping").unwrap();
                if client.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3) {
                    let _ = client.refresh_traffic_keys();
                }
            }
            let mut sent = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut sent).unwrap();
            }
            if flight == damaged && !sent.is_empty() {
                damage(&mut sent, &mut random);
            }
            server.input.extend(sent);
            result = server.read(most);
            let _ = server.session.flush(&mut server.output);
            let output = std::mem::take(&mut server.output);
            let mut output = &output[..];
            while !output.is_empty() && client.read_tls(&mut output).is_ok() {
                let _ = client.process_new_packets();
            }
            if result.is_err() {
                break;
            }
        }
        failed += u32::from(result.is_err());
        opened += u32::from(server.plain.starts_with(b"ping"));
        server.use_it();
    }
    assert!(failed > 300 && opened > 300, "{failed} sessions failed, {opened} carried messages");
    assert_eq!(peers.budget.in_use(), 0, "every permit has come back");
}
