//! A server with TLS, and clients that speak it.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use dormouse::config::Config;
use dormouse_protocol::Encoding;
use rcgen::generate_simple_self_signed;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::Client;
use crate::server::TestServer;
use crate::support::PATIENCE;

pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// Writes a certificate for these names and its key, and returns the setting that names them.
pub(crate) fn certificate(dir: &Path, file: &str, names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let made = generate_simple_self_signed(names).unwrap();
    let (chain, key) = (dir.join(format!("{file}.pem")), dir.join(format!("{file}.key")));
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    format!("{}, {}", chain.display(), key.display())
}

/// A server with a certificate for `localhost`, in `c.pem`.
pub(crate) struct Encrypted {
    pub(crate) server: TestServer,
    pub(crate) dir: tempfile::TempDir,
}

impl Encrypted {
    pub(crate) async fn start(change: impl FnOnce(&mut Config, &Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = TestServer::start(|config| {
            let setting = certificate(dir.path(), "c", &["localhost"]);
            config.tls.certificates = vec![setting.parse().unwrap()];
            change(config, dir.path());
        })
        .await;
        Self { server, dir }
    }

    /// What a client trusts: the certificate in a file, as it is now.
    pub(crate) fn roots(&self, file: &str) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let file = self.dir.path().join(format!("{file}.pem"));
        roots.add(CertificateDer::from_pem_file(file).unwrap()).unwrap();
        roots
    }

    pub(crate) fn client_config(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let builder = ClientConfig::builder_with_protocol_versions(versions);
        builder.with_root_certificates(self.roots("c")).with_no_client_auth()
    }

    pub(crate) async fn open(&self, config: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
        open(self.server.address, Arc::new(config), "localhost").await
    }

    pub(crate) async fn client(&self, encoding: Encoding) -> Client {
        let stream = self.open(self.client_config(&VERSIONS)).await.unwrap();
        over(stream, encoding).await
    }

    pub(crate) async fn cut(&self, reason: &str) -> u64 {
        let metric = format!("dormouse_http_cut_total{{reason=\"{reason}\"}}");
        self.server.metric(&metric).await
    }

    pub(crate) async fn is_cut(&self, reason: &str, count: u64) {
        let metric = format!("dormouse_http_cut_total{{reason=\"{reason}\"}}");
        self.server.metric_is(&metric, |now| now == count).await;
    }
}

pub(crate) async fn open(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    name: &'static str,
) -> io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let name = ServerName::try_from(name).unwrap();
    let connected = TlsConnector::from(config).connect(name, socket);
    timeout(PATIENCE, connected).await.expect("the server shakes hands in time")
}

pub(crate) async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    encoding: Encoding,
) -> Client {
    Client::try_connect_over(Box::new(stream), encoding, "", |_| ()).await.unwrap()
}

pub(crate) async fn read_to_end(mut stream: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the end comes in time")?;
    Ok(bytes)
}
