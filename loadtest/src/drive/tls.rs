//! The client's side of TLS, for a server that was started with a certificate of its own.

use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// The certificates that are made are for this name.
pub(crate) const NAME: &str = "localhost";

/// What connections need to begin TLS. Clones share it.
#[derive(Clone)]
pub(super) struct Config(Arc<ClientConfig>);

impl Config {
    /// Trusts the certificate in a PEM file.
    pub(super) fn trusting(file: &Path) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(file);
        roots.add(certificate.with_context(|| format!("cannot read {}", file.display()))?)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions()?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        // Each connection is a client of its own.
        config.resumption = Resumption::disabled();
        Ok(Self(Arc::new(config)))
    }
}

/// The TLS of one connection.
pub(super) struct Tls(Box<ClientConnection>);

impl Tls {
    pub(super) fn new(config: &Config) -> Result<Self> {
        let connection = ClientConnection::new(config.0.clone(), ServerName::try_from(NAME)?)?;
        Ok(Self(Box::new(connection)))
    }

    /// Reads as from a socket.
    pub(super) fn read(
        &mut self,
        socket: &mut (impl Read + Write),
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        loop {
            match self.0.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
            if self.0.read_tls(socket)? == 0 {
                return Ok(0);
            }
            let processed = self.0.process_new_packets();
            processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            self.flush(socket)?;
        }
    }

    /// Writes as to a socket.
    pub(super) fn write(&mut self, socket: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
        self.flush(socket)?;
        let count = self.0.writer().write(bytes)?;
        self.flush(socket)?;
        if count == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }

    /// Sends what the socket takes of what waits.
    pub(super) fn flush(&mut self, socket: &mut impl Write) -> io::Result<()> {
        while self.0.wants_write() {
            match self.0.write_tls(socket) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                done => drop(done?),
            }
        }
        Ok(())
    }
}
